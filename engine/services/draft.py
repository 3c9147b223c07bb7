"""Answers while they are being written: what each has so far, and the one thread that brings it to the rows.

Knows TextEvents, rows and the database; knows no model and no page. The job's thread fills drafts and never waits for the
disk; every 0.8 s all drafts that changed, of all jobs, are written in one transaction.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.errors import StudioError
from engine.jobs.job import FINAL
from engine.services.edge import storage_errors
from engine.text.model import TextEvent
from storage.database import Database
from storage.records import CreationRecord, JobStatus, Json

log = logging.getLogger(__name__)

WRITE_INTERVAL_S = 0.8
"""A killed server loses at most this much of an answer (a second, with the time the write takes)."""


@dataclass(slots=True)
class Draft:
    """One Creation in the making. The job's thread changes it; others only read."""

    creation_id: str
    seed: int | None
    text: str = ""
    status: JobStatus = "queued"
    tokens: int = 0
    prompt_tokens: int | None = None
    ttft_s: float | None = None
    duration_s: float | None = None
    finish_reason: str | None = None
    error: str | None = None
    path: Json = field(default_factory=dict)
    params: Json = field(default_factory=dict)
    changes: int = 0
    written: int = 0

    def begin(self, params: Json) -> None:
        """The model starts on it, with these resolved parameters."""
        self.status = "running"
        self.params = params
        self.changes += 1

    def note(self, **params: object) -> None:
        """Add what became known about it to its parameters."""
        self.params = {**self.params, **params}
        self.changes += 1

    def take(self, event: TextEvent, elapsed_s: float, stopped: JobStatus) -> None:
        """Add what the model wrote; `stopped` is the state of a row that ends because somebody asked for it."""
        if self.status in FINAL:
            return
        self.text += storable(event.delta)
        self.tokens = event.tokens
        self.prompt_tokens = event.prompt_tokens
        self.ttft_s = event.ttft_s
        self.duration_s = elapsed_s
        if event.path is not None:
            self.path = event.path
        if event.finish_reason is not None:
            self.finish_reason = event.finish_reason
            self.status = stopped if event.finish_reason == "cancelled" else "done"
        self.changes += 1

    def end(self, status: JobStatus, error: str | None) -> None:
        """The job is over; a row that has its own end keeps it."""
        if self.status in FINAL:
            return
        self.status = status
        self.error = error
        if self.finish_reason is None and status == "cancelled":
            self.finish_reason = "cancelled"
        self.changes += 1

    def row(self) -> dict[str, Any]:
        """The row's fields as they are now."""
        return {
            "output": self.text,
            "status": self.status,
            "error": self.error,
            "finish_reason": self.finish_reason,
            "prompt_tokens": self.prompt_tokens,
            "output_tokens": self.tokens,
            "ttft_s": self.ttft_s,
            "duration_s": self.duration_s,
            "path": self.path,
            "params": self.params,
        }

    def view(self) -> dict[str, Any]:
        """As a job's data show it."""
        decode_s = (self.duration_s or 0.0) - (self.ttft_s or 0.0)
        return {
            "id": self.creation_id,
            "text": self.text,
            "status": self.status,
            "tokens": self.tokens,
            "prompt_tokens": self.prompt_tokens,
            "ttft_s": self.ttft_s,
            "tokens_per_s": (self.tokens - 1) / decode_s if self.tokens > 1 and decode_s > 0 else None,
            "seed": self.seed,
            "finish_reason": self.finish_reason,
            "error": self.error,
        }


def storable(text: str) -> str:
    """What a model or a server said, without what no database keeps: NULs are dropped, lone surrogates become U+FFFD."""
    if "\0" in text:
        text = text.replace("\0", "")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def view_of(creation: CreationRecord) -> dict[str, Any]:
    """The same view of a row, for jobs that memory no longer has."""
    return {
        "id": creation.id,
        "text": creation.output,
        "status": creation.status,
        "tokens": creation.output_tokens or 0,
        "prompt_tokens": creation.prompt_tokens,
        "ttft_s": creation.ttft_s,
        "tokens_per_s": creation.tokens_per_s,
        "seed": creation.seed,
        "finish_reason": creation.finish_reason,
        "error": creation.error,
    }


class DraftWriter:
    """Writes drafts to their rows while they grow, and once more when they are finished. Thread-safe."""

    def __init__(self, database: Database, *, interval_s: float = WRITE_INTERVAL_S) -> None:
        self._database = database
        self._interval_s = interval_s
        self._kept: dict[str, tuple[str, Draft]] = {}
        self._has_thread = False
        self._lock = threading.Lock()
        self._writing = threading.Lock()

    def keep(self, owner_id: str, drafts: Sequence[Draft]) -> None:
        """Write these from now on whenever they changed."""
        with self._lock:
            self._kept.update({draft.creation_id: (owner_id, draft) for draft in drafts})
            if self._has_thread:
                return
            self._has_thread = True
        threading.Thread(target=self._run, name="draft-writer", daemon=True).start()

    def finish(self, owner_id: str, drafts: Sequence[Draft]) -> None:
        """Write these now, for the last time. Raises StudioError when the library cannot take them."""
        with self._lock:
            for draft in drafts:
                self._kept.pop(draft.creation_id, None)
        with self._writing:  # after a write under way, so that nothing older follows
            self._write([(owner_id, draft) for draft in drafts])

    def _run(self) -> None:
        while True:
            time.sleep(self._interval_s)
            with self._writing:
                with self._lock:
                    kept = tuple(self._kept.values())
                    if not kept:
                        self._has_thread = False
                        return
                try:
                    self._write([(owner_id, draft) for owner_id, draft in kept if draft.changes != draft.written])
                except StudioError as error:  # the drafts stay changed: the next round tries again, the last one reports
                    log.warning("unfinished answers were not written: %s", error)

    def _write(self, changed: Sequence[tuple[str, Draft]]) -> None:
        if not changed:
            return
        counts = [draft.changes for _, draft in changed]
        with storage_errors(), self._database.write() as uow:
            for owner_id, draft in changed:
                uow.creations.update(owner_id, draft.creation_id, **draft.row())
            uow.commit()
        for (_, draft), count in zip(changed, counts, strict=True):
            draft.written = count
