"""The real program that trains, on a tiny model, under the service: killed at any moment it goes on and ends with an adapter."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from engine.services.training_job import CHILD
from engine.training.artifact import verify
from tests.engine.services.training_parts import OWNER, TrainingStudio, training_studio
from tests.engine.training.runs import tiny_settings
from tests.tiny import make_model

KILLS = int(os.environ.get("TRAINING_KILLS", "2"))
"""Runs that are killed once each, at a random moment."""
PATIENCE_S = 600.0


@pytest.mark.integration
def test_kill_9_at_random_moments_loses_no_run_and_no_half_adapter_is_seen(tmp_path: Path) -> None:
    random_moment = random.Random(7)
    model = make_model(tmp_path / "tiny")
    settings = tiny_settings("dpo", epochs=8.0, patience=100).to_json()
    made = set()
    with training_studio(tmp_path, module=CHILD, model=model) as studio:
        for _ in range(KILLS):
            started = time.monotonic()
            run_id = studio.train(recipe="dpo", settings=settings)
            events = wait_for_steps(studio, run_id)
            time.sleep(random_moment.uniform(0, 0.2 * (time.monotonic() - started)))
            if not studio.runner.snapshot(run_id).is_final:  # type: ignore[union-attr]
                kill(studio, run_id)
            assert finished(studio, run_id) in ("interrupted", "done")
            view = studio.training.run(OWNER, run_id)
            if view.adapter is None:
                assert not (studio.folder / "adapters" / view.request.adapter_id).exists() or view.can_resume
                studio.training.resume(OWNER, run_id)
                assert finished(studio, run_id) == "done", studio.runner.snapshot(run_id)
            view = studio.training.run(OWNER, run_id)
            assert view.adapter is not None
            assert verify(studio.folder / "adapters" / view.adapter.id).sha256 == view.adapter.sha256
            made.add(view.adapter.sha256)
            known = [event for event in studio.events(run_id) if event.n <= events[-1].n]
            assert known == events, "what was told stays told"
            assert (studio.folder / "runs" / run_id / "tensorboard").is_dir()
    assert len(made) == 1, "wherever a run was killed, it ends with the same weights"


def wait_for_steps(studio: TrainingStudio, run_id: str) -> list:  # type: ignore[type-arg]
    deadline_s = time.monotonic() + PATIENCE_S
    while not (events := studio.events(run_id)) or not any(event.body.get("step") for event in events):
        assert time.monotonic() < deadline_s
        time.sleep(0.1)
    return events


def finished(studio: TrainingStudio, run_id: str) -> str:
    snapshot = studio.runner.wait(run_id, PATIENCE_S)
    assert snapshot is not None and snapshot.is_final, snapshot
    return snapshot.status


def kill(studio: TrainingStudio, run_id: str) -> None:
    pid = json.loads((studio.folder / "runs" / run_id / "pid.json").read_text())["pid"]
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:  # it was done already
        return
