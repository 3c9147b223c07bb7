"""Runs jobs in lanes and keeps what the page follows: the one place where a job's state begins, changes and ends.

Knows threads, lanes and the JobStore it writes states through; knows no database, no model and no page. A job's row exists
before it comes here. Whatever a body does, its job ends in a final state, first in the store, then for the followers.
"""

from __future__ import annotations

import logging
import math
import threading
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from engine.errors import BusyError, CancelledError, StudioError
from engine.jobs.follow import LiveJob
from engine.jobs.job import CancelToken, JobSnapshot, StopReason, can_follow, failure_fields
from storage.records import JobRecord, JobStatus, Json

log = logging.getLogger(__name__)

LaneName: TypeAlias = Literal["interactive", "batch", "background", "training"]
LANE_LIMITS: Mapping[LaneName, int] = {"interactive": 16, "batch": 1, "background": 2, "training": 1}
KEEP_S = 60.0
"""How long a finished job stays in memory; after that its row answers."""
PROGRESS_ROW_S = 1.0
"""How often progress goes to the row."""


class JobStore(Protocol):
    """Where jobs' rows are."""

    def mark(self, job_id: str, status: JobStatus, **changes: Any) -> None:
        """Write a state (and `progress`, `result`, `error`) to the row."""

    def get(self, owner_id: str, job_id: str) -> JobRecord:
        """The row. Raises NotFoundError."""


class JobContext:
    """What a job's body gets: its id, the token it must ask at every step, and how to say how far it is."""

    def __init__(self, live: LiveJob, store: JobStore) -> None:
        self.job_id = live.snapshot.job_id
        self.cancel = live.cancel
        self._live = live
        self.moving = threading.RLock()
        """Held by whoever decides the job's next state, so that nothing is written to the row after its end."""
        self._store = store
        self._row_at_s = time.monotonic()

    def publish(self, data: Json) -> None:
        """Replace the snapshot's data and wake the followers. Cheap: no row is written. The mapping must not be changed later."""
        self._live.change(data=data)

    def progress(self, step: float, total: float, *, note: str = "", phase: str = "", eta_s: float | None = None) -> None:
        """Say that `step` of `total` is done; also goes to the row, once a second at most."""
        progress = {"step": step, "total": total, "eta_s": eta_s, "note": note, "phase": phase}
        self._live.change(progress=progress)
        now_s = time.monotonic()
        if now_s - self._row_at_s < PROGRESS_ROW_S:
            return
        self._row_at_s = now_s
        with self.moving:
            if self._live.snapshot.status != "running" or self._live.cancel.is_left:
                return
            try:
                self._store.mark(self.job_id, "running", progress=progress)
            except StudioError as error:  # followers have it; the next one may reach the row again
                log.warning("progress of job %s was not written: %s", self.job_id, error)


Body: TypeAlias = Callable[[JobContext], Json | None]
OnEnd: TypeAlias = Callable[[JobContext, JobStatus, str | None], None]


class Lane:
    """At most `limit` pieces of work at once, first come first served, on daemon threads that end when there is nothing to do."""

    def __init__(self, name: str, limit: int) -> None:
        self.name = name
        self.limit = limit
        self._waiting: deque[Callable[[], None]] = deque()
        self._workers = 0
        self._idle_since_s = -math.inf
        self._changed = threading.Condition()

    @property
    def idle_s(self) -> float:
        """Seconds since the last work ended; 0 while there is some, infinite before the first."""
        with self._changed:
            return 0.0 if self._workers else time.monotonic() - self._idle_since_s

    def submit(self, work: Callable[[], None]) -> None:
        """Run `work` on a thread of this lane as soon as one is free."""
        with self._changed:
            self._waiting.append(work)
            if self._workers >= self.limit:
                return
            self._workers += 1
        threading.Thread(target=self._run, name=f"{self.name}-lane", daemon=True).start()

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait until nothing runs or waits; returns whether that came true in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._workers == 0, timeout_s)

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._waiting:
                    self._retire()
                    return
                work = self._waiting.popleft()
            try:
                work()
            except BaseException:
                with self._changed:
                    self._retire()
                raise

    def _retire(self) -> None:
        """This thread ends. `_changed` is held."""
        self._workers -= 1
        self._idle_since_s = time.monotonic()
        self._changed.notify_all()


@dataclass(frozen=True, slots=True)
class _Task:
    """A job given to the runner: its live state, its body, and what must happen when it ends."""

    live: LiveJob
    context: JobContext
    body: Body
    on_end: OnEnd | None
    outlives: bool


class JobRunner:
    """Starts, follows and cancels jobs. Thread-safe."""

    def __init__(
        self,
        store: JobStore,
        lanes: Mapping[LaneName, Lane] | None = None,
        *,
        keep_s: float = KEEP_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._lanes = lanes or {name: Lane(name, limit) for name, limit in LANE_LIMITS.items()}
        self._keep_s = keep_s
        self._clock = clock
        self._tasks: dict[str, _Task] = {}
        self._lock = threading.Lock()
        self._is_closing = False

    def start(
        self,
        job: JobRecord,
        body: Body,
        *,
        lane: LaneName,
        data: Json | None = None,
        on_end: OnEnd | None = None,
        outlives: bool = False,
    ) -> None:
        """Queue a job whose row exists and is `queued`.

        `body` runs on the lane's thread; what it returns is the job's result. Raising CancelledError ends it as the token's
        reason says, a StudioError as failed with its code and sentence, anything else as failed with an id that the log has.
        `on_end(context, status, error)` is called exactly once before the final state is written, also when the body never
        ran; it may publish the last data. Raises BusyError while the studio closes.

        With `outlives` the work goes on in a process of its own when the studio closes: the body is told "left", and the row
        keeps its state for the next start, as does one that still waits.
        """
        before = self.snapshot(job.id)
        snapshot = JobSnapshot(
            job_id=job.id,
            seq=before.seq + 1 if before else 1,
            kind=job.kind,
            status="queued",
            progress=job.progress,
            data=data or {},
            result=None,
            error_code=None,
            error=None,
        )
        live = LiveJob(snapshot, CancelToken())
        task = _Task(live, JobContext(live, self._store), body, on_end, outlives)
        with self._lock:
            if self._is_closing:
                raise BusyError("The studio is closing; what you wrote is kept.", key="error.closing")
            self._forget_old()
            self._tasks[job.id] = task
        self._lanes[lane].submit(lambda: self._run(task))

    def cancel(self, job_id: str, reason: Literal["cancelled", "interrupted"] = "cancelled") -> bool:
        """Ask a job to end as `reason`; a waiting one ends at once. Returns False when it is not alive here."""
        task = self._find(job_id)
        if task is None or task.live.snapshot.is_final:
            return False
        self._stop(task, reason)
        return True

    def idle_s(self, lane: LaneName) -> float:
        """Seconds since the last work of a lane ended; 0 while there is some."""
        return self._lanes[lane].idle_s

    def snapshot(self, job_id: str) -> JobSnapshot | None:
        """The newest state, or None when memory does not have the job (any more)."""
        task = self._find(job_id)
        return task.live.snapshot if task else None

    def wait(self, job_id: str, timeout_s: float) -> JobSnapshot | None:
        """Block until the job has ended, at most `timeout_s` seconds; its newest state, or None when memory does not have it."""
        task = self._find(job_id)
        if task is None:
            return None
        task.live.ended.wait(timeout_s)
        return task.live.snapshot

    async def follow(self, job_id: str, after: int = 0, *, interval_s: float = 0.06) -> AsyncIterator[JobSnapshot]:
        """Yield the newest state past number `after` now and whenever it changed, at most every `interval_s`; ends after the
        final one, at once when memory does not have the job. Closing it never touches the job.
        """
        task = self._find(job_id)
        if task is None:
            return
        async for snapshot in task.live.follow(after, interval_s):
            yield snapshot

    def active(self) -> tuple[JobSnapshot, ...]:
        """Jobs that wait or run, oldest first."""
        with self._lock:
            snapshots = [task.live.snapshot for task in self._tasks.values()]
        return tuple(snapshot for snapshot in snapshots if not snapshot.is_final)

    def shutdown(self, grace_s: float) -> None:
        """End all jobs as interrupted, with what they have; bodies get `grace_s` seconds to return. No job starts afterwards.

        Jobs that outlive the studio keep their state.
        """
        with self._lock:
            self._is_closing = True
            tasks = tuple(self._tasks.values())
        for task in tasks:
            if task.outlives:
                with task.context.moving:
                    task.live.leave()
            else:
                self._stop(task, "interrupted")
        deadline_s = time.monotonic() + grace_s
        for lane in self._lanes.values():
            lane.wait_idle(max(0.0, deadline_s - time.monotonic()))
        for task in tasks:  # a body that did not return in time
            if not task.outlives:
                self._end(task, "interrupted")

    def _find(self, job_id: str) -> _Task | None:
        with self._lock:
            self._forget_old()
            return self._tasks.get(job_id)

    def _forget_old(self) -> None:
        now_s = self._clock()
        old = [
            job_id
            for job_id, task in self._tasks.items()
            if task.live.ended_at_s is not None and now_s - task.live.ended_at_s > self._keep_s
        ]
        for job_id in old:
            del self._tasks[job_id]

    def _stop(self, task: _Task, reason: StopReason) -> None:
        task.live.cancel.cancel(reason)
        with task.context.moving:
            if task.live.snapshot.status == "queued":
                self._finish(task, reason)

    def _run(self, task: _Task) -> None:
        if not self._begin(task):
            return
        try:
            result = task.body(task.context)
        except CancelledError:
            self._end(task, task.live.cancel.reason)
        except StudioError as error:
            self._end(task, "failed", error=error)
        except Exception:
            fault = _Fault(task)
            log.exception(fault.log_line)
            self._end(task, "failed", error=fault.error)
        else:
            self._end(task, "done", result=result)
        finally:  # whatever left the body, the job does not stay "running"
            self._end(task, "failed", error=_Fault(task).error)

    def _begin(self, task: _Task) -> bool:
        with task.context.moving:
            if task.live.snapshot.is_final or task.live.cancel.is_left:
                return False  # stopped while it waited
            try:
                self._store.mark(task.context.job_id, "running")
            except StudioError as error:
                self._finish(task, "failed", error=error)
                return False
            task.live.change(status="running")
            return True

    def _end(self, task: _Task, status: JobStatus, *, result: Json | None = None, error: StudioError | None = None) -> None:
        with task.context.moving:
            if not task.live.cancel.is_left and can_follow(task.live.snapshot.status, status):
                self._finish(task, status, result=result, error=error)

    def _finish(self, task: _Task, status: JobStatus, *, result: Json | None = None, error: StudioError | None = None) -> None:
        """Run the job's own end, then write the state, then tell the followers. `moving` is held."""
        try:
            if task.on_end is not None:
                task.on_end(task.context, status, str(error) if error else None)
        except StudioError as raised:
            status, result, error = "failed", None, raised
        except Exception:
            fault = _Fault(task)
            log.exception(fault.log_line)
            status, result, error = "failed", None, fault.error
        details = failure_fields(error.code, error.message_key, error.values) if error else {}
        sentence = str(error) if error else None
        progress = task.live.snapshot.progress
        try:
            self._store.mark(task.context.job_id, status, result=details or result, error=sentence, progress=progress)
        except Exception:
            log.exception(
                "the end of job %s (%s) was not written; the next start marks it interrupted", task.context.job_id, status
            )
        task.live.ended_at_s = self._clock()
        task.live.change(status=status, result=result, error=sentence, **details)


class _Fault:
    """An error nobody foresaw: an id that the user's sentence and the log share."""

    def __init__(self, task: _Task) -> None:
        fault_id = uuid.uuid4().hex[:8]
        self.log_line = f"fault {fault_id} in job {task.context.job_id} ({task.live.snapshot.kind})"
        self.error = StudioError(
            f"Something went wrong inside (fault {fault_id}); what was made so far is kept. Try again; the log says more.",
            key="error.fault",
            fault=fault_id,
        )
