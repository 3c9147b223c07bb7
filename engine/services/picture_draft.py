"""One picture in the making: how far it is, and what its row and its followers are told.

Knows steps, rows and views; knows no model, no file and no page.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from engine.jobs.job import FINAL, CancelToken
from engine.services.image_parts import final_size, preview_url
from storage.records import CreationRecord, JobStatus, Json

if TYPE_CHECKING:
    from engine.image.model import ImageStep

SKIPPED = "skipped"


class SkipToken(CancelToken):
    """Cancelled when its picture is skipped, or when the whole job is."""

    def __init__(self, job: CancelToken) -> None:
        super().__init__()
        self._job = job

    @property
    def cancelled(self) -> bool:
        """Whether the picture should end."""
        return super().cancelled or self._job.cancelled

    def check(self) -> None:
        """Raises CancelledError when it should."""
        self._job.check()
        super().check()

    def wait(self, timeout_s: float) -> bool:
        """Sleep; a skip wakes it at once, the job's end at the latest after `timeout_s`."""
        super().wait(timeout_s)
        return self.cancelled


@dataclass(slots=True)
class PictureDraft:
    """The job's thread changes it; `skip` may be called from any."""

    creation: CreationRecord
    status: JobStatus = "queued"
    step: int = 0
    total: int = 0
    preview: str | None = None
    media_name: str | None = None
    media_sha256: str | None = None
    duration_s: float | None = None
    finish_reason: str | None = None
    error: str | None = None
    path: Json = field(default_factory=dict)
    token: CancelToken | None = None
    _is_skipped: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def id(self) -> str:
        """The Creation's."""
        return self.creation.id

    @property
    def is_skipped(self) -> bool:
        """Whether somebody wants to go on without it."""
        return self._is_skipped

    @property
    def is_final(self) -> bool:
        """Whether it has its end."""
        return self.status in FINAL

    def skip(self) -> bool:
        """Ask for the next one instead. False when it has ended already."""
        with self._lock:
            if self.is_final:
                return False
            self._is_skipped = True
            if self.token is not None:
                self.token.cancel()
            return True

    def begin(self, job: CancelToken) -> CancelToken:
        """The model starts on it; the token says when it should stop."""
        token = SkipToken(job)
        with self._lock:
            self.status = "running"
            self.token = token
            if self._is_skipped:
                token.cancel()
        return token

    def take(self, step: ImageStep) -> None:
        """A step of the model is done."""
        self.step, self.total = step.step, step.total
        if step.preview is not None:
            self.preview = preview_url(step.preview)

    def finish(self, media_name: str, media_sha256: str, duration_s: float, path: Json) -> None:
        """Its file is on the disk."""
        self.media_name, self.media_sha256, self.path = media_name, media_sha256, path
        self.duration_s = duration_s
        self._close("done", "stop", None)

    def leave(self) -> None:
        """It was skipped."""
        self._close("cancelled", SKIPPED, None)

    def end(self, status: JobStatus, error: str | None) -> None:
        """The job is over; what has its own end keeps it."""
        if not self.is_final:
            self._close(status, "cancelled" if status == "cancelled" else None, error)

    def row(self) -> dict[str, Any]:
        """The row's fields as they are now."""
        made = {"media_name": self.media_name, "media_sha256": self.media_sha256, "path": self.path} if self.media_name else {}
        return {
            "status": self.status,
            "error": self.error,
            "finish_reason": self.finish_reason,
            "duration_s": self.duration_s,
            **made,
        }

    def view(self) -> dict[str, Any]:
        """As a job's data show it."""
        return {
            **view_of(self.creation),
            "status": self.status,
            "step": self.step,
            "total": self.total,
            "preview": self.preview,
            "media_sha256": self.media_sha256,
            "duration_s": self.duration_s,
            "finish_reason": self.finish_reason,
            "error": self.error,
        }

    def _close(self, status: JobStatus, reason: str | None, error: str | None) -> None:
        with self._lock:
            self.status, self.finish_reason, self.error, self.preview = status, reason, error, None


def view_of(creation: CreationRecord) -> dict[str, Any]:
    """The same view of a row, for jobs that memory no longer has."""
    width, height = final_size(creation.params)
    steps = expected_steps(creation.params)
    return {
        "id": creation.id,
        "seed": creation.seed,
        "status": creation.status,
        "step": steps if creation.status == "done" else 0,
        "total": steps,
        "preview": None,
        "media_sha256": creation.media_sha256,
        "width": width,
        "height": height,
        "duration_s": creation.duration_s,
        "finish_reason": creation.finish_reason,
        "error": creation.error,
    }


def expected_steps(params: Json) -> int:
    """How many steps a picture takes, before the model says so itself."""
    steps, strength = int(params.get("steps") or 1), params.get("strength")
    return max(1, int(steps * float(strength))) if strength else steps
