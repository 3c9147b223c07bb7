"""Jobs as pages and the API see them: one state, from memory while it lives there, from its row before and after.

Knows the runner and the rows; knows no job's work and no page.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from engine.jobs.job import FINAL, JobSnapshot, snapshot_of
from engine.jobs.runner import JobRunner
from engine.services.draft import view_of
from engine.services.edge import storage_errors
from engine.services.image_records import IMAGE_KINDS, ImagineStarted, image_data
from engine.services.picture_draft import view_of as picture_view
from engine.services.prompt import ranking_of
from engine.services.runs import run_data
from engine.services.summary_records import SUMMARIZE, started_of, summary_data
from engine.services.writing import WriteStarted, write_data
from storage.database import Database
from storage.records import JobRecord, JobStatus, Json
from storage.unit_of_work import UnitOfWork

START_WAIT_S = 5.0
"""A row is committed a moment before the runner has its job; whoever follows in between waits for it, at most this long."""
_RESULTS = ("reproduce", "redraw", "expand", "read", "judge")
"""Kinds whose result is what they showed at last."""
CANCEL_WAIT_S = 0.5
"""How long a cancel waits for the job's end, so that it can usually name it."""


class RowJobStore:
    """The runner's JobStore over the jobs table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @storage_errors()
    def mark(self, job_id: str, status: JobStatus, **changes: Any) -> None:
        """Write a state; the first "running" is the start, a final state the end."""
        with self._database.write() as uow:
            before = uow.jobs.update(job_id)
            now = datetime.now(UTC)
            if status == "running" and before.started_at is None:
                changes = {**changes, "started_at": now, "attempts": before.attempts + 1}
            if status in FINAL:
                changes = {**changes, "finished_at": now}
            uow.jobs.update(job_id, status=status, **changes)
            uow.commit()

    @storage_errors()
    def get(self, owner_id: str, job_id: str) -> JobRecord:
        """The row. Raises NotFoundError."""
        with self._database.read() as uow:
            return uow.jobs.get(owner_id, job_id)


class JobsService:
    """Get, follow and cancel jobs of one owner."""

    def __init__(self, database: Database, runner: JobRunner, *, interrupted: Iterable[JobRecord] = ()) -> None:
        self._database = database
        self._runner = runner
        self._interrupted = tuple(interrupted)

    @storage_errors()
    def get(self, owner_id: str, job_id: str) -> JobSnapshot:
        """The job's state now. Raises NotFoundError, also for somebody else's job."""
        with self._database.read() as uow:
            job = uow.jobs.get(owner_id, job_id)
            return self._runner.snapshot(job_id) or _snapshot(uow, job, seq=1)

    async def follow(self, owner_id: str, job_id: str, after: int = 0, *, interval_s: float = 0.06) -> AsyncIterator[JobSnapshot]:
        """Yield the newest state past number `after`, then whenever it changed; ends after the final one.

        Any number of followers see the same; closing one never touches the job. Raises NotFoundError.
        """
        deadline_s = time.monotonic() + START_WAIT_S
        while True:
            snapshot = await asyncio.to_thread(self.get, owner_id, job_id)
            if self._runner.snapshot(job_id) is not None:
                async for live in self._runner.follow(job_id, after, interval_s=interval_s):
                    yield live
                return
            if snapshot.is_final or time.monotonic() > deadline_s:
                yield replace(snapshot, seq=max(snapshot.seq, after + 1))
                return
            await asyncio.sleep(0.05)

    def cancel(self, owner_id: str, job_id: str) -> JobStatus:
        """Ask the job to end; returns its status, which is final unless the work needs more than half a second to stop.

        Raises NotFoundError. A job that has ended keeps its end.
        """
        snapshot = self.get(owner_id, job_id)
        if self._runner.cancel(job_id):
            self._runner.wait(job_id, CANCEL_WAIT_S)
            snapshot = self.get(owner_id, job_id)
        return snapshot.status

    @storage_errors()
    def active(self, owner_id: str) -> tuple[JobSnapshot, ...]:
        """Jobs that wait or run, oldest first."""
        with self._database.read() as uow:
            return tuple(self._runner.snapshot(job.id) or _snapshot(uow, job, seq=1) for job in uow.jobs.active(owner_id))

    @storage_errors()
    def interrupted(self, owner_id: str) -> tuple[JobSnapshot, ...]:
        """Jobs that the studio's last stop cut off, oldest first: what a page may offer to resume."""
        with self._database.read() as uow:
            return tuple(_snapshot(uow, job, seq=1) for job in self._interrupted if job.owner_id == owner_id)


def _snapshot(uow: UnitOfWork, job: JobRecord, *, seq: int) -> JobSnapshot:
    return snapshot_of(job, seq=seq, data=_data(uow, job))


def _data(uow: UnitOfWork, job: JobRecord) -> Json:
    """What the job showed while it ran, from what it left in the rows."""
    if job.kind == "train":
        return run_data(uow, job)
    if job.kind == "write":
        started = WriteStarted.from_json(job.id, job.request)
        creations = uow.creations.get_many(job.owner_id, started.creation_ids)
        known: list[Json] = [notice.as_json() for notice in started.notices]
        notices = next((creation.params["notices"] for creation in creations if "notices" in creation.params), known)
        ranking = ranking_of((creation.id, creation.params) for creation in creations)
        return write_data(started, [view_of(creation) for creation in creations], notices, ranking)
    if job.kind in IMAGE_KINDS:
        return _image_data(uow, job)
    if job.kind == SUMMARIZE:
        return _summary_data(uow, job)
    return dict(job.result) if job.kind in _RESULTS and job.status == "done" and job.result else {}


def _summary_data(uow: UnitOfWork, job: JobRecord) -> Json:
    creations = uow.creations.get_many(job.owner_id, started_of(job).creation_ids)
    return summary_data(creations, job.request["notices"]) if creations else {}


def _image_data(uow: UnitOfWork, job: JobRecord) -> Json:
    started = ImagineStarted.from_json(job.id, job.request)
    creations = uow.creations.get_many(job.owner_id, started.creation_ids)
    prompt, style = (creations[0].prompt, creations[0].params.get("style")) if creations else ("", None)
    return image_data(started, prompt, style, [picture_view(creation) for creation in creations])
