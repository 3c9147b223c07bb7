"""Jobs: what takes longer than a click, and how far it is.

Knows rows and idempotency keys; the legal changes of status are the job runner's business.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import insert, select, update

from storage.errors import RecordNotFoundError
from storage.records import JobRecord, Json
from storage.repositories import rows
from storage.repositories.creations import CreationRepository
from storage.repositories.rows import Repository
from storage.tables import creations, jobs

UNFINISHED = ("queued", "running")
_CHANGEABLE = frozenset({"status", "request", "progress", "result", "error", "attempts", "started_at", "finished_at"})


class JobRepository(Repository):
    """All jobs of all owners."""

    def add(
        self, owner_id: str, *, kind: str, request: Json, idempotency_key: str | None = None, id: str | None = None
    ) -> tuple[JobRecord, bool]:
        """A new queued job and True; or the owner's job with the same key and False."""
        if idempotency_key is not None:
            same = select(jobs).where(jobs.c.owner_id == owner_id, jobs.c.idempotency_key == idempotency_key)
            row = self._connection.execute(same).first()
            if row is not None:
                return rows.job(row), False
        statement = insert(jobs).values(
            id=rows.checked_id(id),
            owner_id=owner_id,
            kind=kind,
            status="queued",
            idempotency_key=idempotency_key,
            request=dict(request),
            progress={},
            attempts=0,
            created_at=rows.now(),
        )
        return rows.job(self._connection.execute(statement.returning(jobs)).one()), True

    def get(self, owner_id: str, id: str, kind: str | None = None) -> JobRecord:
        """The job, of this kind if given. Raises RecordNotFoundError."""
        job = rows.job(self._owned(jobs, owner_id, id, "job"))
        if kind is not None and job.kind != kind:
            raise RecordNotFoundError("job", id)
        return job

    def list(self, owner_id: str, kind: str | None = None, limit: int = 100) -> tuple[JobRecord, ...]:
        """The owner's newest jobs, of one kind if given, newest first."""
        statement = select(jobs).where(jobs.c.owner_id == owner_id).order_by(jobs.c.seq.desc()).limit(limit)
        if kind is not None:
            statement = statement.where(jobs.c.kind == kind)
        return tuple(rows.job(row) for row in self._connection.execute(statement))

    def newest(self, owner_id: str, kinds: Collection[str], *, limit: int, before_id: str | None = None) -> tuple[JobRecord, ...]:
        """The owner's newest jobs of these kinds, newest first; older than one of them if given. Raises RecordNotFoundError."""
        statement = select(jobs).where(jobs.c.owner_id == owner_id, jobs.c.kind.in_(sorted(kinds)))
        if before_id is not None:
            statement = statement.where(jobs.c.seq < self.get(owner_id, before_id).seq)
        return tuple(rows.job(row) for row in self._connection.execute(statement.order_by(jobs.c.seq.desc()).limit(limit)))

    def update(self, id: str, **changes: Any) -> JobRecord:
        """Change status, request, progress, result, error, attempts, started_at or finished_at; for the runner, whoever owns it.

        Raises RecordNotFoundError.
        """
        values = rows.checked(changes, _CHANGEABLE, "job")
        if not values:
            row = self._connection.execute(select(jobs).where(jobs.c.id == id)).first()
        else:
            row = self._connection.execute(update(jobs).where(jobs.c.id == id).values(**values).returning(jobs)).first()
        if row is None:
            raise RecordNotFoundError("job", id)
        return rows.job(row)

    def interrupt_unfinished(self, *, but: Collection[str] = ()) -> tuple[JobRecord, ...]:
        """At a start nobody holds a job: every queued or running one becomes interrupted, and so do their Creations.

        `but` are kinds whose work goes on without the studio. What was written so far stays. Returns the jobs that changed,
        oldest first.
        """
        unfinished = (jobs.c.status.in_(UNFINISHED), jobs.c.kind.not_in(sorted(but)))
        statement = update(jobs).where(*unfinished).values(status="interrupted", finished_at=rows.now()).returning(jobs)
        interrupted = [rows.job(row) for row in self._connection.execute(statement)]
        CreationRepository(self._connection).interrupt_unfinished()
        return tuple(sorted(interrupted, key=lambda job: job.seq))

    def unfinished(self, kind: str) -> tuple[JobRecord, ...]:
        """Every owner's queued and running jobs of a kind, oldest first: what a start goes on with."""
        statement = select(jobs).where(jobs.c.status.in_(UNFINISHED), jobs.c.kind == kind).order_by(jobs.c.seq)
        return tuple(rows.job(row) for row in self._connection.execute(statement))

    def active(self, owner_id: str, *, conversation_id: str | None = None, kind: str | None = None) -> tuple[JobRecord, ...]:
        """The owner's queued and running jobs, oldest first; of one conversation (by its Creations, or by the request)."""
        statement = select(jobs).where(jobs.c.owner_id == owner_id, jobs.c.status.in_(UNFINISHED)).order_by(jobs.c.seq)
        if kind is not None:
            statement = statement.where(jobs.c.kind == kind)
        found = [rows.job(row) for row in self._connection.execute(statement)]
        if conversation_id is None or not found:
            return tuple(found)
        mine = select(creations.c.job_id).where(
            creations.c.conversation_id == conversation_id, creations.c.job_id.in_([job.id for job in found])
        )
        ids = set(self._connection.execute(mine).scalars())
        return tuple(job for job in found if job.id in ids or job.request.get("conversation_id") == conversation_id)
