"""What a job is while it lives: its states, which may follow which, its numbered snapshots, and the token that stops it.

Knows no thread, no database and no page. Cancelling is not an error: a cancelled job ends in a state of its own.

    queued ──► running ──► done | failed | cancelled | interrupted
       └─────────────────► failed | cancelled | interrupted

A final state ends an attempt. Jobs of the kinds in RESUMABLE may begin another one, as the same job: they are queued again, by
somebody's click. Work in a process of its own goes on when the studio closes: its job is left as it is, for the next start.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from engine.errors import CancelledError
from storage.records import JobRecord, JobStatus, Json

TRANSITIONS: Final[Mapping[JobStatus, frozenset[JobStatus]]] = {
    "queued": frozenset({"running", "failed", "cancelled", "interrupted"}),
    "running": frozenset({"done", "failed", "cancelled", "interrupted"}),
    "done": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
    "interrupted": frozenset(),
}
FINAL: Final[frozenset[JobStatus]] = frozenset(status for status, after in TRANSITIONS.items() if not after)
RESUMABLE: Final[Mapping[str, frozenset[JobStatus]]] = {
    "train": frozenset({"interrupted", "failed"}),
    "evaluate": frozenset({"interrupted", "cancelled", "failed"}),
    "imagine": frozenset({"interrupted", "cancelled", "failed"}),
    "upscale": frozenset({"interrupted", "cancelled", "failed"}),
    "summarize": frozenset({"interrupted", "cancelled", "failed"}),
}
"""By kind, the final states after which a job may be queued again; it goes on with what it has."""

StopReason = Literal["cancelled", "interrupted"]


class CancelToken:
    """Asked at every step by whoever works; set once by whoever wants it to end. Thread-safe."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._reason: StopReason | None = None
        self._is_left = False

    def cancel(self, reason: StopReason = "cancelled") -> None:
        """Ask the work to end; `reason` is the state it ends in. The first call counts, but a cancel may follow a stop."""
        if reason == "cancelled" or self._reason is None:
            self._reason = reason
        self._event.set()

    def leave(self) -> None:
        """Ask whoever watches work in another process to let go of it and return; the job keeps its state."""
        self._is_left = True
        self._event.set()

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked the work to end."""
        return self._event.is_set()

    @property
    def reason(self) -> StopReason:
        """The state the work ends in once `cancelled` is true."""
        return self._reason or "cancelled"

    @property
    def is_asked(self) -> bool:
        """Whether somebody asked for the end, rather than this process only letting go of the work."""
        return self._reason is not None

    @property
    def is_left(self) -> bool:
        """Whether the work goes on without this process."""
        return self._is_left

    def check(self) -> None:
        """Raise engine.errors.CancelledError when somebody asked the work to end."""
        if self._event.is_set():
            raise CancelledError("This was stopped.", key="error.cancelled")

    def wait(self, timeout_s: float) -> bool:
        """Sleep at most `timeout_s` seconds, less when cancelled; returns `cancelled`."""
        return self._event.wait(timeout_s)


@dataclass(frozen=True, slots=True)
class JobSnapshot:
    """A job at one moment. `seq` grows with every change, so that a follower can say what it has seen."""

    job_id: str
    seq: int
    kind: str
    status: JobStatus
    progress: Json
    """{step, total, eta_s, note, phase}, or empty."""
    data: Json
    """What the job's kind shows while it runs; always the whole of it, never a difference."""
    result: Json | None
    error_code: str | None
    error: str | None
    """One English sentence."""
    error_key: str = ""
    """The same sentence in assets/i18n, with `error_values`."""
    error_values: Json = field(default_factory=dict)

    @property
    def is_final(self) -> bool:
        """Whether no other snapshot will follow."""
        return self.status in FINAL

    @property
    def can_resume(self) -> bool:
        """Whether the same job may be queued again."""
        return can_resume(self.kind, self.status)


def can_follow(before: JobStatus, after: JobStatus) -> bool:
    """Whether a job may go from one state to the other."""
    return after in TRANSITIONS[before]


def can_resume(kind: str, status: JobStatus) -> bool:
    """Whether a job of this kind that ended so may be queued again."""
    return status in RESUMABLE.get(kind, ())


def failure_fields(code: str, key: str, values: Mapping[str, object]) -> dict[str, Any]:
    """What a failed job's row keeps as its result, so that its error can be said in any language later."""
    plain = {name: value if isinstance(value, str | int | float | bool) else str(value) for name, value in values.items()}
    return {"error_code": code, "error_key": key, "error_values": plain}


def snapshot_of(job: JobRecord, *, seq: int, data: Json | None = None) -> JobSnapshot:
    """The snapshot a row stands for, once memory no longer knows the job."""
    failed = job.status == "failed"
    details = (job.result or {}) if failed else {}
    return JobSnapshot(
        job_id=job.id,
        seq=seq,
        kind=job.kind,
        status=job.status,
        progress=job.progress,
        data=data or {},
        result=None if failed else job.result,
        error_code=details.get("error_code", "error") if failed else None,
        error=job.error,
        error_key=details.get("error_key", ""),
        error_values=details.get("error_values", {}),
    )
