"""States, the token and what a row stands for."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from engine.errors import CancelledError
from engine.jobs.job import FINAL, TRANSITIONS, CancelToken, can_follow, failure_fields, snapshot_of
from tests.engine.jobs.rows import MemoryJobStore


def test_every_state_is_reached_from_queued_and_ends() -> None:
    reached, todo = set(), {"queued"}
    while todo:
        status = todo.pop()
        reached.add(status)
        todo |= {after for after in TRANSITIONS[status] if after not in reached}  # type: ignore[index]
    assert reached == set(TRANSITIONS)
    assert {"done", "failed", "cancelled", "interrupted"} == FINAL


@pytest.mark.parametrize("end", sorted(FINAL))
def test_nothing_follows_an_end(end: str) -> None:
    assert not any(can_follow(end, after) for after in TRANSITIONS)  # type: ignore[arg-type]


def test_done_needs_running() -> None:
    assert not can_follow("queued", "done")
    assert can_follow("running", "done")


def test_a_token_raises_only_once_cancelled() -> None:
    token = CancelToken()
    token.check()
    assert not token.cancelled
    token.cancel("interrupted")
    assert token.cancelled and token.reason == "interrupted"
    token.cancel("cancelled")
    token.cancel("interrupted")
    assert token.reason == "cancelled"  # the heavier one counts
    with pytest.raises(CancelledError):
        token.check()


def test_letting_go_is_not_asking_for_the_end_and_does_not_hide_who_asked() -> None:
    left, asked = CancelToken(), CancelToken()
    left.leave()
    assert left.cancelled and left.is_left and not left.is_asked
    asked.cancel("interrupted")
    asked.leave()
    assert asked.is_left and asked.is_asked and asked.reason == "interrupted"


def test_a_wait_ends_when_another_thread_cancels() -> None:
    token = CancelToken()
    assert not token.wait(0.01)
    threading.Timer(0.02, token.cancel).start()
    assert token.wait(10.0)


def test_a_failed_row_says_its_error_again() -> None:
    row = MemoryJobStore().add()
    kept = failure_fields("no_model", "error.missing", {"model": "m", "size": 3, "path": object})
    failed = replace(row, status="failed", error="No model.", result=kept)
    snapshot = snapshot_of(failed, seq=7)
    assert (snapshot.seq, snapshot.status, snapshot.error_code, snapshot.error) == (7, "failed", "no_model", "No model.")
    assert snapshot.error_key == "error.missing"
    assert snapshot.error_values["size"] == 3
    assert isinstance(snapshot.error_values["path"], str)
    assert snapshot.result is None


def test_a_finished_row_keeps_its_result() -> None:
    row = replace(MemoryJobStore().add(), status="done", result={"n": 1})
    assert snapshot_of(row, seq=1).result == {"n": 1}
    assert snapshot_of(row, seq=1).error_code is None
