"""A closed or killed studio leaves its training at work; the next start takes hold of it, or of what it left, and the queue."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.jobs.process import attach, read_events
from tests.engine.services.fakes import wait_for
from tests.engine.services.training_parts import OWNER, training_studio

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def does(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Say what the stand-in does."""
    return lambda **what: monkeypatch.setenv("STAND_IN", json.dumps(what))


def child_ended(folder: Path, run_id: str) -> bool:
    return attach(folder / "runs" / run_id) is None


def steps(studio: Any, run_id: str) -> list[int]:
    return [event.body["step"] for event in studio.events(run_id, "metrics")]


def test_closing_the_studio_leaves_the_training_at_work_and_the_next_start_takes_hold_of_it(tmp_path: Path, does: Any) -> None:
    does(step_s=0.2, steps=30)
    with training_studio(tmp_path) as studio:
        run_id = studio.train(name="Short")
        studio.wait_for_step(run_id, 2)
        (sentence,) = studio.training.going_on()
        assert '"Short" (step ' in sentence and "goes on by itself" in sentence
    assert not child_ended(tmp_path, run_id)
    with training_studio(tmp_path) as studio:
        assert studio.row(run_id).status == "running"
        studio.wait_for_step(run_id, len(steps(studio, run_id)) + 2)
        assert studio.end(run_id).status == "done"
        assert steps(studio, run_id) == list(range(1, 31))
        assert studio.training.run(OWNER, run_id).adapter is not None
        assert studio.training.going_on() == ()


def test_a_training_that_ended_meanwhile_has_its_adapter_at_the_next_start(tmp_path: Path, does: Any) -> None:
    does(step_s=0.4)
    with training_studio(tmp_path) as studio:
        run_id = studio.train()
        studio.wait_for_step(run_id, 2)
    wait_for(lambda: child_ended(tmp_path, run_id))
    with training_studio(tmp_path) as studio:
        assert studio.end(run_id).status == "done"
        assert steps(studio, run_id) == list(range(1, 13))
        assert studio.training.run(OWNER, run_id).adapter is not None
    with training_studio(tmp_path) as studio:
        assert studio.row(run_id).status == "done"


def test_a_studio_that_died_between_adapter_and_job_ends_the_job_later(tmp_path: Path) -> None:
    with training_studio(tmp_path) as studio:
        run_id = studio.train()
        adapter = studio.end(run_id).result
        with studio.database.write() as uow:  # as if the job's end had not been written
            uow.jobs.update(run_id, status="running", result=None, finished_at=None)
            uow.commit()
    with training_studio(tmp_path) as studio:
        snapshot = studio.end(run_id)
        assert snapshot.status == "done" and snapshot.result is not None and adapter is not None
        assert snapshot.result["adapter_id"] == adapter["adapter_id"]


def test_kill_9_of_the_studio_loses_neither_the_training_nor_the_queue(tmp_path: Path, does: Any) -> None:
    does(step_s=0.3, steps=20)
    command = [sys.executable, "-m", "tests.engine.services.training_server", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            first, second = json.loads(server.stdout.readline())
        finally:
            server.kill()
        assert server.wait(20) == -signal.SIGKILL
    with training_studio(tmp_path) as studio:
        assert studio.row(second).status == "queued"
        for run_id in (first, second):
            assert studio.end(run_id).status == "done"
            assert steps(studio, run_id) == list(range(1, 21))


def test_a_process_that_died_without_the_studio_is_interrupted_and_goes_on_by_a_click(tmp_path: Path, does: Any) -> None:
    does(step_s=0.4, die_at=9)
    with training_studio(tmp_path) as studio:
        run_id = studio.train()
        studio.wait_for_step(run_id, 2)
    wait_for(lambda: child_ended(tmp_path, run_id))
    does()
    with training_studio(tmp_path) as studio:
        assert studio.end(run_id).status == "interrupted"
        assert steps(studio, run_id) == list(range(1, 9))
        studio.training.resume(OWNER, run_id)
        assert studio.end(run_id).status == "done"
        assert "from step 8" in studio.training.run(OWNER, run_id).logs[-1]


def test_closing_right_after_stop_still_ends_as_stopped(tmp_path: Path, does: Any) -> None:
    does(step_s=0.5)
    with training_studio(tmp_path) as studio:
        run_id = studio.train()
        studio.wait_for_step(run_id, 1)
        studio.training.stop(OWNER, run_id)
    wait_for(lambda: child_ended(tmp_path, run_id))
    with training_studio(tmp_path) as studio:
        assert studio.end(run_id).status == "interrupted"
        assert studio.training.run(OWNER, run_id).can_resume


def test_closing_while_the_training_gives_way_does_not_hold_it_up(tmp_path: Path, does: Any) -> None:
    does(step_s=0.05, steps=100)
    with training_studio(tmp_path) as studio:
        run_id = studio.train()
        studio.wait_for_step(run_id, 1)
        with studio.somebody_writing():
            wait_for(lambda: studio.events(run_id, "waiting"))
            studio.runner.shutdown(5.0)
    wait_for(lambda: child_ended(tmp_path, run_id))
    events, _ = read_events(tmp_path / "runs" / run_id / "events.jsonl")
    assert events[-1]["kind"] == "done"


def test_after_a_restored_backup_without_the_runs_folder_numbers_go_on(tmp_path: Path, does: Any) -> None:
    does(step_s=0.3)
    with training_studio(tmp_path) as studio:
        run_id = studio.train()
        studio.wait_for_step(run_id, 3)
        studio.training.stop(OWNER, run_id)
        studio.end(run_id)
        shutil.rmtree(tmp_path / "runs" / run_id)
        before = studio.events(run_id)
        studio.training.resume(OWNER, run_id)
        assert studio.end(run_id).status == "done"
        events = studio.events(run_id)
        assert events[: len(before)] == before and events[-1].kind == "done"
        assert [event.body["step"] for event in events[len(before) :] if event.kind == "metrics"] == list(range(1, 13))


def test_a_training_that_no_row_knows_any_more_is_stopped(tmp_path: Path, does: Any) -> None:
    does(step_s=0.05, steps=2000)
    with training_studio(tmp_path) as studio:
        run_id = studio.train()
        studio.wait_for_step(run_id, 1)
    for path in tmp_path.glob("tastemaker.db*"):
        path.unlink()
    with training_studio(tmp_path) as studio:
        wait_for(lambda: child_ended(tmp_path, run_id))
        assert studio.training.runs(OWNER) == ()
    events, _ = read_events(tmp_path / "runs" / run_id / "events.jsonl")
    assert events[-1]["kind"] == "interrupted"
