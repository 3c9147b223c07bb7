"""Matches: the blind comparisons of an evaluation. Knows rows; does not know who wins."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, insert, select

from storage.records import MatchRecord
from storage.repositories import rows
from storage.repositories.rows import Repository
from storage.tables import matches

_ADDABLE = frozenset(matches.c.keys()) - {"seq", "id", "owner_id", "created_at"}


class MatchRepository(Repository):
    """All Matches of all owners; every method sees one owner's."""

    def add(self, owner_id: str, *, id: str | None = None, **fields: Any) -> MatchRecord:
        """A new Match; every field of MatchRecord but `seq`, `owner_id` and `created_at`.

        The one that is there already when the evaluation has one of that ordinal: an evaluation that goes on after a stop
        repeats nothing.
        """
        given = rows.checked(fields, _ADDABLE, "match")
        place = (matches.c.evaluation_id == given["evaluation_id"], matches.c.ordinal == given["ordinal"])
        row = self._connection.execute(select(matches).where(matches.c.owner_id == owner_id, *place)).first()
        if row is None:
            given["messages"] = [dict(message) for message in given["messages"]]
            given["metrics"] = dict(given["metrics"])
            values = {**given, "id": rows.checked_id(id), "owner_id": owner_id, "created_at": rows.now()}
            row = self._connection.execute(insert(matches).values(**values).returning(matches)).one()
        return _record(row)

    def get(self, owner_id: str, id: str) -> MatchRecord:
        """The Match. Raises RecordNotFoundError."""
        return _record(self._owned(matches, owner_id, id, "match"))

    def list(self, owner_id: str, evaluation_id: str) -> tuple[MatchRecord, ...]:
        """The Matches of an evaluation by ordinal."""
        mine = (matches.c.owner_id == owner_id, matches.c.evaluation_id == evaluation_id)
        statement = select(matches).where(*mine).order_by(matches.c.ordinal)
        return tuple(_record(row) for row in self._connection.execute(statement))


def _record(row: Row[Any]) -> MatchRecord:
    values = dict(row._mapping)
    values["messages"] = tuple(values["messages"])
    return MatchRecord(**values)
