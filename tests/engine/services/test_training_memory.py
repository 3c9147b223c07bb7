"""A training's memory is counted while its process lives, whoever started it; without room it waits, or is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.errors import NoMemoryError
from engine.jobs.process import attach, resident_bytes
from engine.memory import Machine
from tests.engine.services.fakes import wait_for
from tests.engine.services.training_parts import CPU, OWNER, TrainingStudio, training_studio


class Counting(Machine):
    """An arbiter that says what it counts, and refuses as often as it is told to."""

    def __init__(self, *refusals: bool) -> None:
        super().__init__(CPU)
        self.refusals = list(refusals)
        """Whether each passes."""
        self.counted: dict[str, tuple[int, Callable[[], int], bool]] = {}

    @contextmanager
    def child(
        self,
        name: str,
        need_bytes: int,
        resident: Callable[[], int],
        *,
        is_running: bool = False,
        give_way: Callable[[], None] | None = None,
    ) -> Iterator[None]:
        """Count it for the length of the block."""
        if self.refusals:
            raise NoMemoryError("No.", needs_bytes=need_bytes, have_bytes=7 * 10**6, passes=self.refusals.pop(0))
        self.counted[name] = (need_bytes, resident, is_running)
        try:
            yield
        finally:
            del self.counted[name]


def test_a_run_is_counted_while_its_process_lives_and_again_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN", json.dumps({"step_s": 0.2, "steps": 200}))
    first, second = Counting(), Counting()
    with training_studio(tmp_path, arbiter=first) as studio:
        run_id = studio.train(name="Short")
        studio.wait_for_step(run_id, 2)
        need, resident, is_running = first.counted["Short"]
        assert need == studio.training.run(OWNER, run_id).request.estimate["memory_bytes"] and not is_running
        assert 5 * 10**6 < resident() < need
    assert first.counted == {}
    with training_studio(tmp_path, arbiter=second) as studio:
        wait_for(lambda: "Short" in second.counted)
        assert second.counted["Short"][0] == need and second.counted["Short"][2]
        child = attach(tmp_path / "runs" / run_id)
        assert child is not None
        child.kill()
        assert studio.end(run_id).status == "interrupted"
        assert second.counted == {} and resident_bytes(tmp_path / "runs" / run_id) == 0


def is_short(studio: TrainingStudio, run_id: str) -> bool:
    snapshot = studio.runner.snapshot(run_id)
    return snapshot is not None and bool(snapshot.data.get("is_short"))


def test_a_run_waits_for_what_is_at_work_and_is_refused_when_that_cannot_help(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.services.training_job.MEMORY_WAIT_S", 0.3)
    arbiter = Counting(True, True)
    with training_studio(tmp_path, arbiter=arbiter) as studio:
        run_id = studio.train()
        wait_for(lambda: is_short(studio, run_id))
        assert studio.end(run_id).status == "done" and arbiter.refusals == []
        arbiter.refusals = [True, False]
        failed = studio.end(studio.train())
        assert (failed.status, failed.error_code) == ("failed", "no_model")
        assert "needs about" in str(failed.error) and "have 7 MB" in str(failed.error)
        assert studio.end(studio.train()).status == "done"
