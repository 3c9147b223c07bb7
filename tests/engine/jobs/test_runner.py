"""Whatever a body does, its job ends; lanes keep their limits; cancelling and closing are states of their own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pytest

from engine.errors import BusyError, CancelledError, NoModelError
from engine.jobs.runner import JobContext, JobRunner, Lane
from storage.records import JobRecord, JobStatus, Json
from tests.engine.jobs.rows import DEADLINE_S, MemoryJobStore


class Rig:
    """A runner over rows in memory."""

    def __init__(self, **options: object) -> None:
        self.store = MemoryJobStore()
        self.runner = JobRunner(self.store, **options)  # type: ignore[arg-type]

    def start(self, body: Callable[[JobContext], Json | None], lane: str = "interactive", **options: object) -> JobRecord:
        job = self.store.add()
        self.runner.start(job, body, lane=lane, **options)  # type: ignore[arg-type]
        return job

    def end(self, job: JobRecord) -> JobStatus:
        snapshot = self.runner.wait(job.id, DEADLINE_S)
        assert snapshot is not None and snapshot.is_final
        assert self.store.rows[job.id].status == snapshot.status
        return snapshot.status


@pytest.fixture
def rig() -> Rig:
    return Rig()


def wait_for_cancel(context: JobContext) -> None:
    assert context.cancel.wait(DEADLINE_S)
    context.cancel.check()


def test_a_job_runs_and_its_row_has_the_result(rig: Rig) -> None:
    job = rig.start(lambda context: {"answer": 42})
    assert rig.end(job) == "done"
    assert rig.store.rows[job.id].result == {"answer": 42}
    assert rig.store.history[job.id] == ["queued", "running", "done"]


def test_what_the_studio_foresaw_is_said_with_its_code(rig: Rig) -> None:
    def body(context: JobContext) -> Json:
        raise NoModelError("Get a model first.", key="error.model", name="m")

    job = rig.start(body)
    assert rig.end(job) == "failed"
    snapshot = rig.runner.snapshot(job.id)
    assert snapshot is not None
    assert (snapshot.error_code, snapshot.error, snapshot.error_key) == ("no_model", "Get a model first.", "error.model")
    assert rig.store.rows[job.id].error == "Get a model first."


def test_what_nobody_foresaw_is_logged_under_the_id_that_the_user_sees(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    def body(context: JobContext) -> Json:
        raise ValueError("secret detail")

    with caplog.at_level(logging.ERROR):
        job = rig.start(body)
        assert rig.end(job) == "failed"
    snapshot = rig.runner.snapshot(job.id)
    assert snapshot is not None and snapshot.error is not None
    assert "secret detail" not in snapshot.error
    fault = snapshot.error_values["fault"]
    assert fault in snapshot.error
    assert fault in caplog.text
    assert "ValueError: secret detail" in caplog.text


def test_a_body_that_leaves_its_thread_does_not_stay_running(rig: Rig) -> None:
    thrown: list[BaseException] = []

    def body(context: JobContext) -> Json:
        raise SystemExit

    before = threading.excepthook
    threading.excepthook = lambda args: thrown.append(args.exc_value)  # type: ignore[arg-type, return-value]
    try:
        job = rig.start(body, lane="batch")
        assert rig.end(job) == "failed"
        after = rig.start(lambda context: None, lane="batch")  # and the lane goes on
        assert rig.end(after) == "done"
    finally:
        threading.excepthook = before


def test_cancelling_is_no_error(rig: Rig) -> None:
    started = threading.Event()

    def body(context: JobContext) -> None:
        started.set()
        wait_for_cancel(context)

    job = rig.start(body)
    assert started.wait(DEADLINE_S)
    assert rig.runner.cancel(job.id)
    assert rig.end(job) == "cancelled"
    snapshot = rig.runner.snapshot(job.id)
    assert snapshot is not None and snapshot.error is None and snapshot.error_code is None
    assert not rig.runner.cancel(job.id)


def test_a_result_that_was_complete_beats_a_cancel(rig: Rig) -> None:
    started, go = threading.Event(), threading.Event()

    def body(context: JobContext) -> Json:
        started.set()
        assert go.wait(DEADLINE_S)
        return {"done": True}

    job = rig.start(body)
    assert started.wait(DEADLINE_S)
    rig.runner.cancel(job.id)
    go.set()
    assert rig.end(job) == "done"


def test_a_waiting_job_is_cancelled_at_once_and_never_runs(rig: Rig) -> None:
    go, ran = threading.Event(), threading.Event()
    first = rig.start(lambda context: None if go.wait(DEADLINE_S) else None, lane="batch")
    ends: list[tuple[JobStatus, str | None]] = []
    second = rig.start(
        lambda context: ran.set(), lane="batch", on_end=lambda context, status, error: ends.append((status, error))
    )
    assert rig.runner.cancel(second.id)
    assert rig.end(second) == "cancelled"
    go.set()
    assert rig.end(first) == "done"
    third = rig.start(lambda context: None, lane="batch")
    assert rig.end(third) == "done"
    assert not ran.is_set()
    assert ends == [("cancelled", None)]


@pytest.mark.parametrize(("lane", "limit"), [("interactive", 16), ("batch", 1), ("background", 2)])
def test_a_lane_runs_its_limit_and_no_more(rig: Rig, lane: str, limit: int) -> None:
    lock, go = threading.Lock(), threading.Event()
    running = peak = 0
    full = threading.Event()

    def body(context: JobContext) -> None:
        nonlocal running, peak
        with lock:
            running += 1
            peak = max(peak, running)
            if running == limit:
                full.set()
        assert go.wait(DEADLINE_S)
        with lock:
            running -= 1

    jobs = [rig.start(body, lane=lane) for _ in range(limit + 3)]
    assert full.wait(DEADLINE_S)
    waiting = [snapshot for snapshot in rig.runner.active() if snapshot.status == "queued"]
    assert len(waiting) == 3
    go.set()
    assert {rig.end(job) for job in jobs} == {"done"}
    assert peak == limit


def test_a_lane_of_one_keeps_the_order(rig: Rig) -> None:
    order: list[int] = []
    jobs = [rig.start(lambda context, n=n: order.append(n), lane="batch") for n in range(20)]  # type: ignore[misc]
    for job in jobs:
        rig.end(job)
    assert order == list(range(20))


def test_the_end_is_run_once_and_may_publish_the_last_data(rig: Rig) -> None:
    ends: list[JobStatus] = []

    def end(context: JobContext, status: JobStatus, error: str | None) -> None:
        ends.append(status)
        context.publish({"last": True})

    job = rig.start(lambda context: None, on_end=end)
    assert rig.end(job) == "done"
    snapshot = rig.runner.snapshot(job.id)
    assert snapshot is not None and snapshot.data == {"last": True}
    assert ends == ["done"]


def test_a_job_whose_end_fails_is_not_done(rig: Rig) -> None:
    def end(context: JobContext, status: JobStatus, error: str | None) -> None:
        raise BusyError("The disk is full; nothing was changed.")

    job = rig.start(lambda context: {"ok": True}, on_end=end)
    assert rig.end(job) == "failed"
    snapshot = rig.runner.snapshot(job.id)
    assert snapshot is not None and snapshot.result is None and snapshot.error_code == "busy"


def test_a_row_that_cannot_be_written_still_ends_for_followers(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    def body(context: JobContext) -> None:
        rig.store.broken = True

    job = rig.start(body)
    snapshot = rig.runner.wait(job.id, DEADLINE_S)
    assert snapshot is not None and snapshot.is_final
    assert job.id in caplog.text


def test_progress_reaches_the_followers_at_once(rig: Rig) -> None:
    def body(context: JobContext) -> None:
        context.progress(3, 10, phase="download", eta_s=1.5)

    job = rig.start(body)
    rig.end(job)
    snapshot = rig.runner.snapshot(job.id)
    assert snapshot is not None
    assert snapshot.progress == {"step": 3, "total": 10, "eta_s": 1.5, "note": "", "phase": "download"}
    assert rig.store.rows[job.id].progress == snapshot.progress  # the last one is in the row


def test_closing_interrupts_what_runs_and_what_waits(rig: Rig) -> None:
    started = threading.Event()
    ends: list[tuple[str, JobStatus]] = []

    def body(context: JobContext) -> None:
        started.set()
        wait_for_cancel(context)

    running = rig.start(body, lane="batch", on_end=lambda c, status, e: ends.append(("running", status)))
    waiting = rig.start(body, lane="batch", on_end=lambda c, status, e: ends.append(("waiting", status)))
    assert started.wait(DEADLINE_S)
    rig.runner.shutdown(5.0)
    assert rig.end(running) == rig.end(waiting) == "interrupted"
    assert sorted(ends) == [("running", "interrupted"), ("waiting", "interrupted")]
    with pytest.raises(BusyError):
        rig.start(lambda context: None)


def test_closing_does_not_wait_for_a_body_that_will_not_end(rig: Rig) -> None:
    started, go = threading.Event(), threading.Event()

    def body(context: JobContext) -> Json:
        started.set()
        assert go.wait(DEADLINE_S)
        return {"too": "late"}

    job = rig.start(body)
    assert started.wait(DEADLINE_S)
    rig.runner.shutdown(0.05)
    assert rig.end(job) == "interrupted"
    go.set()
    assert rig.store.rows[job.id].status == "interrupted"
    assert rig.store.history[job.id] == ["queued", "running", "interrupted"]


def test_a_finished_job_is_forgotten_after_a_minute() -> None:
    now_s = 100.0
    rig = Rig(clock=lambda: now_s)
    job = rig.start(lambda context: None)
    rig.end(job)
    now_s += 59
    assert rig.runner.snapshot(job.id) is not None
    now_s += 2
    assert rig.runner.snapshot(job.id) is None
    assert not rig.runner.cancel(job.id)


def test_a_cancelled_body_may_say_so_itself(rig: Rig) -> None:
    def body(context: JobContext) -> None:
        raise CancelledError("This was stopped.")

    assert rig.end(rig.start(body)) == "cancelled"


def test_a_lane_leaves_no_thread_behind() -> None:
    lane = Lane("short", 4)
    together = threading.Barrier(4)
    for _ in range(3):
        lane.submit(lambda: together.wait(DEADLINE_S) and None)
    threads = [thread for thread in threading.enumerate() if thread.name == "short-lane"]
    together.wait(DEADLINE_S)
    assert lane.wait_idle(DEADLINE_S)
    for thread in threads:
        thread.join(DEADLINE_S)
    assert not any(thread.is_alive() for thread in threads)


def test_work_that_outlives_the_studio_keeps_its_state(rig: Rig) -> None:
    started, left = threading.Event(), threading.Event()

    def body(context: JobContext) -> None:
        started.set()
        context.cancel.wait(DEADLINE_S)
        assert context.cancel.is_left
        left.set()
        context.progress(1, 2)
        context.cancel.check()

    running = rig.start(body, lane="training", outlives=True)
    waiting = rig.start(body, lane="training", outlives=True)
    other = rig.start(wait_for_cancel)
    assert started.wait(DEADLINE_S)
    rig.runner.shutdown(DEADLINE_S)
    assert left.is_set()
    assert rig.store.history[running.id] == ["queued", "running"]
    assert rig.store.history[waiting.id] == ["queued"]
    assert rig.store.rows[other.id].status == "interrupted"
    assert rig.runner.wait(running.id, 0) is not None  # nobody waits for it any more


def test_work_that_does_not_let_go_in_time_cannot_change_its_row(rig: Rig) -> None:
    started, go, over = threading.Event(), threading.Event(), threading.Event()

    def body(context: JobContext) -> Json:
        started.set()
        assert go.wait(DEADLINE_S)
        return {"late": True}

    job = rig.start(body, lane="training", outlives=True, on_end=lambda *_: over.set())
    assert started.wait(DEADLINE_S)
    rig.runner.shutdown(0.01)
    go.set()
    assert not over.wait(0.1)
    assert rig.store.rows[job.id].status == "running"


def test_a_job_that_starts_again_goes_on_counting_its_snapshots(rig: Rig) -> None:
    job = rig.start(lambda context: None)
    rig.end(job)
    before = rig.runner.snapshot(job.id)
    rig.runner.start(job, lambda context: {"again": True}, lane="interactive")
    assert rig.end(job) == "done"
    after = rig.runner.snapshot(job.id)
    assert before is not None and after is not None and after.seq > before.seq


def test_a_lane_knows_how_long_it_has_been_idle(rig: Rig) -> None:
    assert rig.runner.idle_s("interactive") == float("inf")
    started = threading.Event()

    def body(context: JobContext) -> None:
        started.set()
        wait_for_cancel(context)

    job = rig.start(body)
    assert started.wait(DEADLINE_S)
    assert rig.runner.idle_s("interactive") == 0
    rig.runner.cancel(job.id)
    rig.end(job)
    assert rig.runner.idle_s("background") == float("inf")
