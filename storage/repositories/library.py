"""Lists of Creations: filter, search, count, page, stream.

Knows CreationFilter and the indexes that serve it; changes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, false, func, select

from storage import search
from storage.records import CreationFilter, CreationRecord, LibraryItem, Origin, Page
from storage.repositories import rows
from storage.repositories.rows import Repository
from storage.tables import creation_tags, creations, ratings


class LibraryQueries(Repository):
    """The reading half of the Creations' repository."""

    def search(self, owner_id: str, rater_id: str, filter: CreationFilter, *, page: int = 1, page_size: int = 50) -> Page:
        """One page, newest first, with the rater's scores. Pages count from 1; one past the end is empty."""
        conditions = self._conditions(owner_id, rater_id, filter)
        if conditions is None:
            return Page((), 0, page, page_size)
        total = self._connection.execute(select(func.count()).select_from(creations).where(*conditions)).scalar_one()
        # Only seqs first: they come from an index; the wide rows of this page alone are read after.
        wanted = (
            select(creations.c.seq)
            .where(*conditions)
            .order_by(creations.c.seq.desc())
            .limit(page_size)
            .offset((max(page, 1) - 1) * page_size)
        )
        seqs = list(self._connection.execute(wanted).scalars())
        statement = select(creations).where(creations.c.seq.in_(seqs)).order_by(creations.c.seq.desc())
        found = self._connection.execute(statement).all() if seqs else []
        return Page(self._items(rater_id, found), total, page, page_size)

    def each(
        self, owner_id: str, rater_id: str, filter: CreationFilter, *, origin: Origin | None = None
    ) -> Iterator[LibraryItem]:
        """All that match, of one origin if given, oldest first, a few hundred in memory at a time."""
        conditions = self._conditions(owner_id, rater_id, filter)
        if conditions is None:
            return
        if origin is not None:
            conditions.append(creations.c.origin == origin)
        after = 0
        while True:
            statement = select(creations).where(*conditions, creations.c.seq > after).order_by(creations.c.seq)
            found = self._connection.execute(statement.limit(rows.IN_BATCH)).all()
            yield from self._items(rater_id, found)
            if len(found) < rows.IN_BATCH:
                return
            after = found[-1].seq

    def facets(self, owner_id: str) -> dict[str, list[str]]:
        """What the owner's Creations outside the trash can be filtered by: models, adapters and tags, each sorted."""
        live = (creations.c.owner_id == owner_id, creations.c.trashed_at.is_(None))
        pairs = self._connection.execute(select(creations.c.model_id, creations.c.adapter_id).where(*live).distinct()).all()
        tagged = creation_tags.join(creations, creations.c.seq == creation_tags.c.creation_seq)
        tags = select(creation_tags.c.tag).select_from(tagged).where(*live).distinct()
        return {
            "models": sorted({pair.model_id for pair in pairs}),
            "adapters": sorted({pair.adapter_id for pair in pairs}),
            "tags": sorted(self._connection.execute(tags).scalars()),
        }

    def _conditions(self, owner_id: str, rater_id: str, filter: CreationFilter) -> list[ColumnElement[bool]] | None:
        """WHERE of a filter; None when nothing can match."""
        table = creations.c
        conditions: list[ColumnElement[bool]] = [table.owner_id == owner_id]
        conditions.append(table.trashed_at.is_not(None) if filter.trashed else table.trashed_at.is_(None))
        equal = ((table.kind, filter.kind), (table.model_id, filter.model_id), (table.adapter_id, filter.adapter_id))
        for column, value in equal:
            if value is not None:
                conditions.append(column == value)
        if filter.starred is not None:
            conditions.append(table.starred.is_(filter.starred))
        if filter.created_from is not None:
            conditions.append(table.created_at >= filter.created_from)
        if filter.created_to is not None:
            conditions.append(table.created_at <= filter.created_to)
        if filter.tag is not None:
            tagged = (creation_tags.c.owner_id == owner_id, creation_tags.c.tag == filter.tag)
            conditions.append(table.seq.in_(select(creation_tags.c.creation_seq).where(*tagged)))
        conditions.extend(_score_conditions(rater_id, filter))
        if filter.query.strip():
            matching = search.matching(self._connection, filter.query)
            if matching is None:
                return None
            conditions.append(table.seq.in_(matching))
        return conditions

    def _items(self, rater_id: str, found: Sequence[Row[Any]]) -> tuple[LibraryItem, ...]:
        records = self._records(found)
        scores: dict[str, float | None] = {}
        for batch in rows.batches(record.id for record in records):
            statement = select(ratings.c.creation_id, ratings.c.score).where(
                ratings.c.rater_id == rater_id, ratings.c.is_current, ratings.c.creation_id.in_(batch)
            )
            scores.update({row.creation_id: row.score for row in self._connection.execute(statement)})
        return tuple(LibraryItem(record, scores.get(record.id)) for record in records)

    def _records(self, found: Sequence[Row[Any]]) -> list[CreationRecord]:
        """Rows of `creations` → records with their tags, order kept."""
        tags: defaultdict[int, list[str]] = defaultdict(list)
        for batch in rows.batches(row.seq for row in found):
            statement = select(creation_tags.c.creation_seq, creation_tags.c.tag)
            for row in self._connection.execute(statement.where(creation_tags.c.creation_seq.in_(batch))):
                tags[row.creation_seq].append(row.tag)
        return [rows.creation(row, tags.get(row.seq, ())) for row in found]


def _score_conditions(rater_id: str, filter: CreationFilter) -> list[ColumnElement[bool]]:
    scored = and_(ratings.c.rater_id == rater_id, ratings.c.is_current, ratings.c.score.is_not(None))
    if filter.rated is False:
        if filter.min_score is not None or filter.max_score is not None:
            return [false()]  # no score is in a range
        return [creations.c.seq.not_in(select(ratings.c.creation_seq).where(scored))]
    if filter.rated is None and filter.min_score is None and filter.max_score is None:
        return []
    if filter.min_score is not None:
        scored = and_(scored, ratings.c.score >= filter.min_score)
    if filter.max_score is not None:
        scored = and_(scored, ratings.c.score <= filter.max_score)
    return [creations.c.seq.in_(select(ratings.c.creation_seq).where(scored))]
