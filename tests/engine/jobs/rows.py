"""A JobStore in memory that remembers every state it was told, in order."""

from __future__ import annotations

import threading
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from engine.errors import BusyError, NotFoundError
from storage.records import JobRecord, JobStatus

DEADLINE_S = 20.0


class MemoryJobStore:
    """Rows in a dictionary. `broken` makes every write fail, as a full disk does."""

    def __init__(self) -> None:
        self.rows: dict[str, JobRecord] = {}
        self.history: dict[str, list[JobStatus]] = {}
        self.broken = False
        self._lock = threading.Lock()

    def add(self, kind: str = "test") -> JobRecord:
        """A queued job's row."""
        with self._lock:
            job = JobRecord(
                id=uuid.uuid4().hex,
                seq=len(self.rows) + 1,
                owner_id="owner",
                kind=kind,
                status="queued",
                idempotency_key=None,
                request={},
                progress={},
                result=None,
                error=None,
                attempts=0,
                created_at=datetime.now(UTC),
                started_at=None,
                finished_at=None,
            )
            self.rows[job.id] = job
            self.history[job.id] = ["queued"]
        return job

    def mark(self, job_id: str, status: JobStatus, **changes: Any) -> None:
        if self.broken:
            raise BusyError("The disk is full; nothing was changed.")
        with self._lock:
            self.rows[job_id] = replace(self.rows[job_id], status=status, **changes)
            if self.history[job_id][-1] != status:
                self.history[job_id].append(status)

    def get(self, owner_id: str, job_id: str) -> JobRecord:
        if job_id not in self.rows:
            raise NotFoundError("Nothing with this id.")
        return self.rows[job_id]
