"""Votes: one rater's choices in Matches, with their history.

Knows that nothing is overwritten; does not ask whether the rater may see the Match.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Row, insert, select, update

from storage.errors import RecordNotFoundError
from storage.records import Choice, VoteRecord
from storage.repositories import rows
from storage.repositories.rows import Repository
from storage.tables import matches, votes


class VoteRepository(Repository):
    """All votes; every method sees one rater's."""

    def set(self, rater_id: str, match_id: str, choice: Choice | None, left_sha256: str, right_sha256: str) -> VoteRecord:
        """Vote, change the vote, or take it back (choice None); the ones before stay as history, the same again adds none.

        Raises RecordNotFoundError.
        """
        if self._connection.execute(select(matches.c.seq).where(matches.c.id == match_id)).first() is None:
            raise RecordNotFoundError("match", match_id)
        mine = (votes.c.rater_id == rater_id, votes.c.match_id == match_id, votes.c.is_current)
        row = self._connection.execute(select(votes).where(*mine)).first()
        if row is not None:
            if (row.choice, row.left_sha256, row.right_sha256) == (choice, left_sha256, right_sha256):
                return _record(row)
            self._connection.execute(update(votes).where(votes.c.seq == row.seq).values(is_current=False))
        values = {
            "id": rows.new_id(),
            "match_id": match_id,
            "rater_id": rater_id,
            "choice": choice,
            "left_sha256": left_sha256,
            "right_sha256": right_sha256,
            "is_current": True,
            "created_at": rows.now(),
        }
        return _record(self._connection.execute(insert(votes).values(**values).returning(votes)).one())

    def current(self, rater_id: str, match_ids: Iterable[str]) -> dict[str, VoteRecord]:
        """The vote in force of each Match that has one; those taken back are left out."""
        found: dict[str, VoteRecord] = {}
        for batch in rows.batches(dict.fromkeys(match_ids)):
            mine = (votes.c.rater_id == rater_id, votes.c.match_id.in_(batch), votes.c.is_current, votes.c.choice.is_not(None))
            found.update({row.match_id: _record(row) for row in self._connection.execute(select(votes).where(*mine))})
        return found


def _record(row: Row[Any]) -> VoteRecord:
    return VoteRecord(**row._mapping)
