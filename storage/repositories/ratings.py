"""Ratings: one rater's scores, with their history.

Knows that nothing is overwritten; does not ask whether the rater may see the Creation.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import case, func, insert, select, update

from storage.errors import ConflictError, RecordNotFoundError
from storage.records import RatingRecord
from storage.repositories import rows
from storage.repositories.rows import Repository
from storage.tables import creations, ratings


class RatingRepository(Repository):
    """All ratings; every method sees one rater's."""

    def set(
        self, rater_id: str, creation_id: str, score: float | None, reasons: Iterable[str] = (), comment: str = ""
    ) -> RatingRecord:
        """Rate, change the rating, or withdraw it (score None). The rows before stay as history; saying the same again adds none.

        Raises RecordNotFoundError, and ConflictError for a score outside -1 … +1.
        """
        if score is not None and not -1 <= score <= 1:
            raise ConflictError("A score must be a number from -1 to 1.")
        rated = self._connection.execute(select(creations.c.seq).where(creations.c.id == creation_id)).first()
        if rated is None:
            raise RecordNotFoundError("creation", creation_id)
        mine = (ratings.c.rater_id == rater_id, ratings.c.creation_id == creation_id, ratings.c.is_current)
        row = self._connection.execute(select(ratings).where(*mine)).first()
        new_reasons = tuple(reasons)
        if row is not None:
            current = rows.rating(row)
            if (current.score, current.reasons, current.comment) == (score, new_reasons, comment):
                return current
            self._connection.execute(update(ratings).where(ratings.c.seq == row.seq).values(is_current=False))
        statement = insert(ratings).values(
            id=rows.new_id(),
            creation_id=creation_id,
            creation_seq=rated.seq,
            rater_id=rater_id,
            score=score,
            reasons=list(new_reasons),
            comment=comment,
            is_current=True,
            created_at=rows.now(),
        )
        return rows.rating(self._connection.execute(statement.returning(ratings)).one())

    def current(self, rater_id: str, creation_ids: Iterable[str]) -> dict[str, RatingRecord]:
        """The rating in force of each Creation that has one; withdrawn ones are left out."""
        found: dict[str, RatingRecord] = {}
        for batch in rows.batches(dict.fromkeys(creation_ids)):
            statement = select(ratings).where(
                ratings.c.rater_id == rater_id,
                ratings.c.creation_id.in_(batch),
                ratings.c.is_current,
                ratings.c.score.is_not(None),
            )
            found.update({row.creation_id: rows.rating(row) for row in self._connection.execute(statement)})
        return found

    def history(self, rater_id: str, creation_id: str) -> tuple[RatingRecord, ...]:
        """All ratings this rater gave this Creation, withdrawals too, oldest first."""
        statement = select(ratings).where(ratings.c.rater_id == rater_id, ratings.c.creation_id == creation_id)
        return tuple(rows.rating(row) for row in self._connection.execute(statement.order_by(ratings.c.seq)))

    def counts(self, rater_id: str) -> dict[str, dict[str, int]]:
        """For each kind: ratings in force, those above 0 and those below. Creations in the trash do not count."""
        statement = (
            select(
                creations.c.kind,
                func.count().label("ratings"),
                func.sum(case((ratings.c.score > 0, 1), else_=0)).label("positive"),
                func.sum(case((ratings.c.score < 0, 1), else_=0)).label("negative"),
            )
            .select_from(ratings.join(creations, creations.c.seq == ratings.c.creation_seq))
            .where(
                ratings.c.rater_id == rater_id,
                ratings.c.is_current,
                ratings.c.score.is_not(None),
                creations.c.trashed_at.is_(None),
            )
            .group_by(creations.c.kind)
        )
        return {
            row.kind: {"ratings": row.ratings, "positive": int(row.positive), "negative": int(row.negative)}
            for row in self._connection.execute(statement)
        }
