"""A training as a row and as a monitor: state, progress, result and the step that makes sense next."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from engine.jobs.job import snapshot_of
from engine.services.adapters import AdapterView
from engine.services.runs import RunRequest, RunView
from storage.records import AdapterRecord, DatasetRecord, JobRecord
from ui.i18n import LANGUAGES, translator
from ui.view_run import fixed_view, live_view, next_step, row_view

T = translator("en")
MADE = datetime(2026, 11, 3, 12, tzinfo=UTC)
REQUEST = RunRequest(
    task="text", recipe="dpo", preset="quick", name="Taste 1", adapter_id="a" * 32, base_model_id="m", base_sha256="b" * 64,
    dataset_id="d" * 32, dataset_sha256="c" * 64, device="cpu", settings={"lora_rank": 16, "target_modules": ["all-linear"]},
    samples=(), estimate={}, work=1.0, overrides={"lora_rank": 16},
)  # fmt: skip
ADAPTER = AdapterRecord(
    "a" * 32, 1, "owner", "text", "Taste 1", "m", "b" * 64, "j" * 32, "d" * 32, "dpo", "dpo", "e" * 64, 9, {}, (), MADE, None
)
DATASET = DatasetRecord("d" * 32, 1, "owner", "text", "dpo", "", "cd" * 32, {}, {"train": 30, "held_out": 6}, MADE)


def run(status: str, *, result: Any = None, data: Any = None, **progress: Any) -> RunView:
    job = JobRecord("j" * 32, 1, "owner", "train", status, None, REQUEST.to_json(), progress, result, None, 1, MADE, MADE, None)  # type: ignore[arg-type]
    return RunView(job, snapshot_of(job, seq=1, data=data or {}), REQUEST, DATASET, None)


def adapter(result: Any = None, *, state: Any = "candidate", marks: tuple[str, ...] = ()) -> AdapterView:
    return AdapterView(replace(ADAPTER, marks=marks), state, result, "e" * 32 if result else None)


def result(passed: bool | None, **found: Any) -> dict[str, Any]:
    return {"gate": {"pass": passed}, "wins": None, "votes": 12, "needed": 30, "automatic_only": False, **found}


@pytest.mark.parametrize(
    ("status", "made", "step"),
    [
        ("queued", None, None),
        ("running", None, "stop"),
        ("interrupted", None, "resume"),
        ("cancelled", None, None),
        ("done", None, None),
        ("done", adapter(), "evaluate"),
        ("done", adapter(result(None, automatic_only=True)), "evaluate"),
        ("done", adapter(result(None)), "arena"),
        ("done", adapter(result(True, wins=22)), "promote"),
        ("done", adapter(result(False, wins=9)), "evaluate"),
        ("done", adapter(result(True, wins=22), state="promoted"), None),
    ],
)
def test_the_next_step(status: str, made: AdapterView | None, step: str | None) -> None:
    assert next_step(run(status).snapshot, made) == step


def test_a_row_says_what_came_of_it() -> None:
    done = run("done", result={"duration_s": 90})
    judged = row_view(done, adapter(result(True, wins=22, votes=30), marks=("x",)), [0.5, 0.8], 0.8, T)
    assert judged["result"] == "won 22 of 30" and judged["marks"] == 1 and judged["examples"] == 36
    assert row_view(done, adapter(result(None)), [], 0.8, T)["result"] == "12 of 30 votes"
    assert row_view(done, adapter(), [], 0.815, T)["result"] == "held out 82 %"
    assert row_view(run("running", phase="train", step=21, total=50), None, [], None, T)["done"] == "42 %"
    assert row_view(run("running", phase="prepare", step=21, total=50), None, [], None, T)["done"] == ""
    json.dumps(judged)


def test_a_look_between_two_steps_is_training() -> None:
    looking = live_view(run("running", phase="evaluate", step=4, total=9).snapshot, None, None, T)
    assert looking["phase"] == "train" and looking["is_looking"]
    last = live_view(run("running", phase="evaluate", step=9, total=9).snapshot, None, None, T)
    assert last["phase"] == "evaluate" and not last["is_looking"]


def test_waiting_and_the_machine_are_shown_only_while_it_lives() -> None:
    data = {"is_waiting": True, "machine": {"cpu_percent": 93.0, "memory_bytes": 6e9, "memory_total_bytes": 8e9}}
    live = live_view(run("running", data=data).snapshot, None, None, T)
    assert live_view(run("running", data={"is_short": True}).snapshot, None, None, T)["short"] and not live["short"]
    assert live["waiting"] and live["machine"] == "machine 93 % busy, 2.0 GB free"
    over = live_view(run("interrupted", data=data).snapshot, None, None, T)
    assert not over["waiting"] and not over["machine"] and over["actions"] == ["resume"]


def test_what_stops_says_so_and_can_only_be_discarded() -> None:
    shown = run("running", data={"is_stopping": True})
    assert live_view(shown.snapshot, None, None, T)["stopping"]
    assert live_view(shown.snapshot, None, None, T)["actions"] == ["cancel"] and next_step(shown.snapshot, None) is None
    assert not live_view(run("interrupted", data={"is_stopping": True}).snapshot, None, None, T)["stopping"]


def test_what_would_start_it_again_is_what_it_was() -> None:
    view = fixed_view(run("done"), "Model", "/data/runs/j/tensorboard", T)
    assert view["form"]["settings"] == {"lora_rank": 16, "target_modules": ["all-linear"]}
    assert view["form"]["preset"] == "quick" and view["form"]["recipe"] == "dpo"
    assert "dataset" not in view["form"]  # the same settings, for the ratings as they are now
    assert {"label": "TensorBoard folder", "text": "/data/runs/j/tensorboard", "is_path": True} in view["facts"]
    json.dumps(view)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("status", ["queued", "running", "done", "failed", "cancelled", "interrupted"])
def test_every_state_has_its_words(language: str, status: str) -> None:
    t = translator(language)
    shown = run(status, result={"stopped_early": True} if status == "done" else None)
    views = [row_view(shown, None, [], None, t), live_view(shown.snapshot, None, None, t), fixed_view(shown, "m", "/f", t)]
    assert "train." not in json.dumps(views)
    assert t(f"train.status.{status}") != f"train.status.{status}"
