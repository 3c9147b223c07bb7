"""Events of training Runs, as the process that trains numbered them.

Knows that a number is kept once; does not know what an event means, nor whose the job is: ask the jobs' repository first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sqlalchemy import func, insert, select

from storage.records import RunEventRecord
from storage.repositories import rows
from storage.repositories.rows import Repository
from storage.tables import run_events


class RunEventRepository(Repository):
    """All events of all Runs."""

    def add(self, job_id: str, events: Iterable[RunEventRecord]) -> int:
        """Keep those whose number is not there yet; how many that were. The first of two with one number stays."""
        added = 0
        for batch in rows.batches({event.n: event for event in reversed(tuple(events))}.values()):
            numbers = [event.n for event in batch]
            known = select(run_events.c.n).where(run_events.c.job_id == job_id, run_events.c.n.in_(numbers))
            there = set(self._connection.execute(known).scalars())
            new = [
                {"job_id": job_id, "n": event.n, "kind": event.kind, "body": dict(event.body)}
                for event in sorted(batch, key=lambda event: event.n)
                if event.n not in there
            ]
            if new:
                self._connection.execute(insert(run_events), new)
            added += len(new)
        return added

    def list(self, job_id: str, *, after: int = 0, kinds: Collection[str] | None = None) -> tuple[RunEventRecord, ...]:
        """Events with a number above `after`, of these kinds if given, by number."""
        statement = select(run_events).where(run_events.c.job_id == job_id, run_events.c.n > after).order_by(run_events.c.n)
        if kinds is not None:
            statement = statement.where(run_events.c.kind.in_(sorted(kinds)))
        return tuple(RunEventRecord(row.job_id, row.n, row.kind, row.body) for row in self._connection.execute(statement))

    def last_n(self, job_id: str) -> int:
        """The highest number, 0 when there is none."""
        statement = select(func.max(run_events.c.n)).where(run_events.c.job_id == job_id)
        return self._connection.execute(statement).scalar() or 0
