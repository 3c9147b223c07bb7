"""The training child with tiny models: it learns, goes on after a kill as if nothing had been, and never leaves half a thing."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from engine.jobs.process import Child
from engine.models.adapters import load_lora
from engine.training import artifact, checkpoints
from tests.engine.training.runs import curve, kinds, make_job, tiny_settings, train
from tests.tiny import make_model

PHASES = ["load", "prepare", "train", "evaluate", "train", "evaluate", "train", "evaluate", "save"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"), context_length=2048)


@pytest.fixture(scope="module")
def finished(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], list[dict[str, Any]]]:
    """One dpo run from start to end: (job folder, job, events)."""
    root = tmp_path_factory.mktemp("finished")
    job = make_job(root, folder, tiny_settings("dpo", epochs=3.0, lora_dropout=0.1))
    return root / "job", job, train(root / "job", job)


def phases(events: list[dict[str, Any]]) -> list[str]:
    names = [event["phase"] for event in events if event["kind"] == "phase"]
    return [name for number, name in enumerate(names) if number == 0 or names[number - 1] != name]


def test_a_run_learns_and_leaves_an_adapter_that_the_text_engine_reads(
    finished: tuple[Path, dict[str, Any], list[dict[str, Any]]],
) -> None:
    job_dir, job, events = finished
    assert kinds(events)[-1] == "done", (job_dir / "child.log").read_text()
    assert set(phases(events)) == {"load", "prepare", "train", "evaluate", "save"} and phases(events)[-1] == "save"
    assert curve(events, "loss")[-1] < curve(events, "loss")[0]
    assert curve(events, "held_out_accuracy")[-1] == 1.0 and curve(events, "held_out_margin")[-1] > 1
    assert all(rate > 0 for rate in curve(events, "tokens_per_s")) and all(size > 1e6 for size in curve(events, "rss_bytes"))
    samples = [event for event in events if event["kind"] == "sample"]
    assert samples[0]["step"] == 0 < samples[-1]["step"] and samples[0]["prompt"] == samples[-1]["prompt"]
    assert samples[0]["seed"] == samples[-1]["seed"] == 3
    looks = [event["step"] for event in events if event["kind"] == "metrics" and "held_out_loss" in event]
    assert [event["step"] for event in samples] == [0, *looks], "before, at each look, and of what is kept"

    manifest = artifact.verify(Path(job["output_dir"]))
    done = events[-1]
    assert done["adapter"]["sha256"] == manifest.sha256 and done["adapter"]["size_bytes"] == manifest.size_bytes
    assert manifest.settings == job["settings"] and manifest.base_sha256 == job["base_sha256"]
    assert manifest.metrics["held_out_accuracy"] == 1.0 and done["metrics"] == manifest.metrics
    lora = load_lora(Path(job["output_dir"]), manifest.sha256)
    assert len(lora.modules) == 2 * 7  # every linear layer of two Llama blocks, and not the head

    assert (job_dir / "run.png").read_bytes().startswith(b"\x89PNG")
    assert list((job_dir / "tensorboard").glob("events.out.tfevents.*"))
    assert not (job_dir / "checkpoints").exists()
    assert [path.name for path in Path(job["output_dir"]).parent.iterdir()] == ["adapter"]


def test_killed_with_a_broken_newest_checkpoint_it_ends_with_the_same_weights(
    folder: Path, tmp_path: Path, finished: tuple[Path, dict[str, Any], list[dict[str, Any]]]
) -> None:
    job = {**finished[1], "output_dir": str(tmp_path / "adapters" / "adapter")}
    job_dir = tmp_path / "job"

    def kill(child: Child, event: dict[str, Any]) -> None:
        if event["kind"] == "checkpoint" and event["step"] == 4:
            child.kill()

    before = train(job_dir, job, kill)
    assert kinds(before)[-1] not in ("done", "failed", "interrupted")
    newest, _ = checkpoints.newest(job_dir / "checkpoints")
    assert newest is not None and newest.step >= 4 and not Path(job["output_dir"]).exists()
    broken = newest.folder.with_name(f"checkpoint-{newest.step + 1}")
    shutil.copytree(newest.folder, broken, ignore=shutil.ignore_patterns(checkpoints.MARKER))
    (broken / "optimizer.pt").write_bytes(b"half")

    events = train(job_dir, {**job, "resume": True})[len(before) :]
    assert kinds(events)[-1] == "done", (job_dir / "child.log").read_text()
    logs = " ".join(event["text"] for event in events if event["kind"] == "log")
    assert broken.name in logs and f"after step {newest.step}" in logs
    steps = [event["step"] for event in events if event["kind"] == "metrics" and "loss" in event]
    assert steps[0] == newest.step + 1
    assert events[-1]["adapter"]["sha256"] == finished[2][-1]["adapter"]["sha256"]


def test_sigterm_saves_and_a_resumed_run_goes_on(folder: Path, tmp_path: Path) -> None:
    job = make_job(tmp_path, folder, tiny_settings("sft", save_steps=1000, eval_steps=1000, epochs=4.0))
    job_dir = tmp_path / "job"
    stopped_at: list[int] = []

    def stop(child: Child, event: dict[str, Any]) -> None:
        if event["kind"] == "metrics" and event["step"] == 3 and not stopped_at:
            stopped_at.append(event["step"])
            assert child._process is not None
            os.kill(child._process.pid, signal.SIGTERM)

    before = train(job_dir, job, stop)
    assert kinds(before)[-1] == "interrupted"
    saved = [event["step"] for event in before if event["kind"] == "checkpoint"]
    trained = [event["step"] for event in before if event["kind"] == "metrics"]
    assert len(saved) == 1 and saved[0] == trained[-1] < 12  # nothing was lost, and it did not go on to the end
    events = train(job_dir, {**job, "resume": True})[len(before) :]
    assert kinds(events)[-1] == "done"
    steps = [event["step"] for event in events if event["kind"] == "metrics" and "loss" in event]
    assert steps == list(range(saved[0] + 1, 13))
    assert events[-1]["metrics"]["held_out_loss"] < curve(before, "loss")[0]


def test_an_adapter_that_was_published_before_the_kill_is_announced_again(
    finished: tuple[Path, dict[str, Any], list[dict[str, Any]]],
) -> None:
    job_dir, job, events = finished
    again = train(job_dir.with_name("again"), {**job, "resume": True})
    assert kinds(again) == ["done"] and again[-1]["adapter"]["sha256"] == events[-1]["adapter"]["sha256"]


def test_it_waits_for_people_and_a_cancelled_run_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    job = make_job(tmp_path, folder, tiny_settings("kto", epochs=50.0))
    job_dir = tmp_path / "job"
    seen: list[tuple[bool, int]] = []

    def interfere(child: Child, event: dict[str, Any]) -> None:
        if event["kind"] == "metrics" and event["step"] == 2:
            child.ask("wait")  # once: it counts for five seconds, as if the studio had died
        if event["kind"] == "waiting":
            seen.append((event["on"], len(child.events())))
        if event["kind"] == "metrics" and len(seen) == 2:
            child.ask("cancel")

    events = train(job_dir, job, interfere)
    assert kinds(events)[-1] == "cancelled"
    assert [on for on, _ in seen[:2]] == [True, False]
    waits = [event for event in events if event["kind"] == "waiting"]
    assert waits[1]["n"] == waits[0]["n"] + 1 and waits[1]["t"] - waits[0]["t"] > 1  # nothing happened in between
    assert not (job_dir / "checkpoints").exists() and not Path(job["output_dir"]).exists()


def test_a_run_that_breaks_the_language_stops_and_softens_what_it_saves(folder: Path, tmp_path: Path) -> None:
    settings = tiny_settings("dpo", epochs=20.0, fluency_limit=0.001, sft_weight=0.0, eval_steps=2, save_steps=50)
    job = make_job(tmp_path, folder, settings)
    events = train(tmp_path / "job", job)
    assert kinds(events)[-1] in ("done", "failed")
    alarms = [event for event in events if event["kind"] == "alarm"]
    assert alarms and alarms[0]["name"] == "fluency" and "suffers" in alarms[0]["message"]
    assert max(event["step"] for event in events if event["kind"] == "metrics") < 60
    if kinds(events)[-1] == "done":
        assert events[-1]["metrics"]["perplexity_growth"] <= 0.001 and events[-1]["metrics"]["strength"] <= 1.0
    else:
        assert events[-1]["error"]["key"] == "error.training_not_fluent" and not Path(job["output_dir"]).exists()


def test_what_cannot_be_trained_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    job = make_job(tmp_path, folder, tiny_settings("dpo", max_length=16))
    events = train(tmp_path / "job", job)
    assert kinds(events)[-1] == "failed"
    assert events[-1]["error"]["code"] == "not_enough_data" and events[-1]["error"]["key"] == "error.training_rows"
    assert not Path(job["output_dir"]).exists()
