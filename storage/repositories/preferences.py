"""Preferences: one rater's choices between two Creations.

Knows that a pair has one current choice and that explicit ones override inferred ones; does not ask if the two share a prompt.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sqlalchemy import func, insert, or_, select, update

from storage.errors import ConflictError, RecordNotFoundError
from storage.records import Outcome, PreferenceRecord, PreferenceSource
from storage.repositories import rows
from storage.repositories.rows import Repository
from storage.tables import creations, preferences


class PreferenceRepository(Repository):
    """All preferences; every method sees one rater's."""

    def set(
        self,
        rater_id: str,
        chosen_id: str,
        rejected_id: str,
        *,
        outcome: Outcome = "win",
        source: PreferenceSource,
        is_explicit: bool,
    ) -> PreferenceRecord:
        """The choice now in force between the two, which is not always the given one: an inferred choice never replaces an
        explicit one, and the same choice again adds no row. Another choice supersedes the one before, which stays as history.

        Raises RecordNotFoundError, and ConflictError when the two are one.
        """
        if chosen_id == rejected_id:
            raise ConflictError("A creation cannot be compared with itself.")
        self._check_exist(chosen_id, rejected_id)
        low, high = sorted((chosen_id, rejected_id))
        pair = (preferences.c.rater_id == rater_id, preferences.c.pair_low == low, preferences.c.pair_high == high)
        row = self._connection.execute(select(preferences).where(*pair, preferences.c.is_current)).first()
        if row is not None:
            current = rows.preference(row)
            same = current.outcome == outcome and (outcome != "win" or current.chosen_id == chosen_id)
            if (current.is_explicit and not is_explicit) or (same and current.is_explicit == is_explicit):
                return current
            self._connection.execute(update(preferences).where(preferences.c.seq == row.seq).values(is_current=False))
        statement = insert(preferences).values(
            id=rows.new_id(),
            rater_id=rater_id,
            chosen_id=chosen_id,
            rejected_id=rejected_id,
            outcome=outcome,
            source=source,
            is_explicit=is_explicit,
            is_current=True,
            created_at=rows.now(),
            pair_low=low,
            pair_high=high,
        )
        return rows.preference(self._connection.execute(statement.returning(preferences)).one())

    def withdraw(self, rater_id: str, id: str) -> PreferenceRecord:
        """Put a choice out of force. Raises RecordNotFoundError."""
        statement = (
            update(preferences)
            .where(preferences.c.id == id, preferences.c.rater_id == rater_id)
            .values(is_current=False)
            .returning(preferences)
        )
        row = self._connection.execute(statement).first()
        if row is None:
            raise RecordNotFoundError("preference", id)
        return rows.preference(row)

    def current(self, rater_id: str, creation_ids: Iterable[str]) -> tuple[PreferenceRecord, ...]:
        """The choices in force that one of these Creations is part of, oldest first."""
        found: dict[int, PreferenceRecord] = {}
        for batch in rows.batches(dict.fromkeys(creation_ids)):
            statement = select(preferences).where(
                preferences.c.rater_id == rater_id,
                preferences.c.is_current,
                or_(preferences.c.chosen_id.in_(batch), preferences.c.rejected_id.in_(batch)),
            )
            found.update({row.seq: rows.preference(row) for row in self._connection.execute(statement)})
        return tuple(found[seq] for seq in sorted(found))

    def each(self, rater_id: str) -> Iterator[PreferenceRecord]:
        """All choices in force, oldest first, a few hundred in memory at a time."""
        after = 0
        while True:
            statement = select(preferences).where(
                preferences.c.rater_id == rater_id, preferences.c.is_current, preferences.c.seq > after
            )
            found = self._connection.execute(statement.order_by(preferences.c.seq).limit(rows.IN_BATCH)).all()
            yield from (rows.preference(row) for row in found)
            if len(found) < rows.IN_BATCH:
                return
            after = found[-1].seq

    def counts(self, rater_id: str, *, outcome: Outcome | None = None) -> dict[str, int]:
        """For each kind the choices in force, of one outcome if given. Pairs with a Creation in the trash do not count."""
        chosen, rejected = creations.alias("chosen"), creations.alias("rejected")
        statement = (
            select(chosen.c.kind, func.count().label("total"))
            .select_from(
                preferences.join(chosen, chosen.c.id == preferences.c.chosen_id).join(
                    rejected, rejected.c.id == preferences.c.rejected_id
                )
            )
            .where(
                preferences.c.rater_id == rater_id,
                preferences.c.is_current,
                chosen.c.trashed_at.is_(None),
                rejected.c.trashed_at.is_(None),
            )
            .group_by(chosen.c.kind)
        )
        if outcome is not None:
            statement = statement.where(preferences.c.outcome == outcome)
        return {row.kind: row.total for row in self._connection.execute(statement)}

    def _check_exist(self, *creation_ids: str) -> None:
        found = set(self._connection.execute(select(creations.c.id).where(creations.c.id.in_(creation_ids))).scalars())
        for creation_id in creation_ids:
            if creation_id not in found:
                raise RecordNotFoundError("creation", creation_id)
