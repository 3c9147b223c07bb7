"""Sources: the ratings, preferences and Creations that something was learned from, and which of them were taken back since.

Knows what "taken back" means for each; knows no dataset and no adapter.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import ColumnElement, Connection, Select, case, exists, or_, select

from storage.repositories import rows
from storage.tables import creations, preferences, ratings


def taken_back(connection: Connection, source_ids: Iterable[str]) -> set[str]:
    """Those of these ids that do not hold any more.

    A Creation does not while it is in the trash; a rating when the rater has none of the same sign in force; a choice when the
    same one is not in force.
    """
    gone: set[str] = set()
    for batch in rows.batches(source_ids):
        statements = (
            select(creations.c.id).where(creations.c.id.in_(batch), creations.c.trashed_at.is_not(None)),
            _ratings_taken_back().where(ratings.c.id.in_(batch)),
            _choices_taken_back().where(preferences.c.id.in_(batch)),
        )
        gone.update(id for statement in statements for id in connection.execute(statement).scalars())
    return gone


def about(connection: Connection, creation_ids: Iterable[str]) -> tuple[str, ...]:
    """These Creations and everything that was ever said about them: ids of ratings and choices, those out of force too."""
    found: dict[str, None] = {}
    for batch in rows.batches(creation_ids):
        touches = or_(preferences.c.chosen_id.in_(batch), preferences.c.rejected_id.in_(batch))
        found.update(dict.fromkeys(batch))
        for statement in (select(ratings.c.id).where(ratings.c.creation_id.in_(batch)), select(preferences.c.id).where(touches)):
            found.update(dict.fromkeys(connection.execute(statement).scalars()))
    return tuple(found)


def _ratings_taken_back() -> Select[tuple[str]]:
    now = ratings.alias("now")
    same = (now.c.rater_id == ratings.c.rater_id, now.c.creation_id == ratings.c.creation_id, now.c.is_current)
    return select(ratings.c.id).where(~exists().where(*same, _sign(now.c.score) == _sign(ratings.c.score)))


def _sign(score: ColumnElement[float | None]) -> ColumnElement[int]:
    """-1, 0 or 1; NULL, which equals nothing, for no score."""
    return case((score > 0, 1), (score < 0, -1), (score == 0, 0))


def _choices_taken_back() -> Select[tuple[str]]:
    now = preferences.alias("now")
    pair = (now.c.chosen_id == preferences.c.chosen_id, now.c.rejected_id == preferences.c.rejected_id)
    same = (now.c.rater_id == preferences.c.rater_id, now.c.outcome == preferences.c.outcome, now.c.is_current)
    return select(preferences.c.id).where(~exists().where(*pair, *same))
