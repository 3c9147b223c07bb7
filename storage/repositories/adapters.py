"""Adapters: what Runs made, and which of what they learned from was taken back since.

Knows rows and marks; knows no weights. What is promoted is in storage/repositories/promotions.py.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Row, delete, insert, select, update

from storage.records import AdapterRecord, Kind
from storage.repositories import rows, sources
from storage.repositories.rows import Repository
from storage.tables import adapter_marks, adapters, dataset_sources, datasets

_ADDABLE = frozenset(
    {"task", "name", "base_model_id", "base_sha256", "run_id", "dataset_id", "method", "recipe", "sha256", "size_bytes"}
    | {"metrics", "created_at", "removed_at"}
)
_CHANGEABLE = frozenset({"name", "removed_at", "metrics"})


class AdapterRepository(Repository):
    """All adapters of all owners; every method sees one owner's."""

    def add(self, owner_id: str, *, id: str | None = None, **fields: Any) -> AdapterRecord:
        """A new adapter; any field of AdapterRecord but `seq`, `owner_id` and `marks` (run_id and dataset_id may be missing).

        What its Dataset was made of and was taken back since marks it at once.
        Raises RecordNotFoundError when the Dataset is not this owner's.
        """
        given = rows.checked(fields, _ADDABLE, "adapter")
        dataset_id = given.get("dataset_id")
        if dataset_id is not None:
            self._owned(datasets, owner_id, dataset_id, "dataset")
        values = {
            "run_id": None,
            "dataset_id": None,
            "metrics": {},
            "created_at": rows.now(),
            **given,
            "id": rows.checked_id(id),
            "owner_id": owner_id,
        }
        row = self._connection.execute(insert(adapters).values(**values).returning(adapters)).one()
        if dataset_id is not None:
            learned = select(dataset_sources.c.source_id).where(dataset_sources.c.dataset_id == dataset_id).distinct()
            self._refresh(owner_id, self._connection.execute(learned).scalars().all())
        return self._records([row])[0]

    def get(self, owner_id: str, id: str) -> AdapterRecord:
        """The adapter, removed or not. Raises RecordNotFoundError."""
        return self._records([self._owned(adapters, owner_id, id, "adapter")])[0]

    def list(
        self, owner_id: str, *, task: Kind | None = None, base_model_id: str | None = None, removed: bool = False
    ) -> tuple[AdapterRecord, ...]:
        """The owner's, newest first; those that were removed only with `removed`."""
        statement = select(adapters).where(adapters.c.owner_id == owner_id).order_by(adapters.c.seq.desc())
        if task is not None:
            statement = statement.where(adapters.c.task == task)
        if base_model_id is not None:
            statement = statement.where(adapters.c.base_model_id == base_model_id)
        if not removed:
            statement = statement.where(adapters.c.removed_at.is_(None))
        return self._records(self._connection.execute(statement).all())

    def update(self, owner_id: str, id: str, **changes: Any) -> AdapterRecord:
        """Change name, removed_at or metrics. Raises RecordNotFoundError."""
        values = rows.checked(changes, _CHANGEABLE, "adapter")
        row = self._owned(adapters, owner_id, id, "adapter")
        if values:
            statement = update(adapters).where(adapters.c.seq == row.seq).values(**values).returning(adapters)
            row = self._connection.execute(statement).one()
        return self._records([row])[0]

    def ids(self) -> frozenset[str]:
        """Ids of every owner's adapters: whose files a sweep must keep."""
        return frozenset(self._connection.execute(select(adapters.c.id)).scalars())

    def refresh_marks(self, owner_id: str, creation_ids: Iterable[str]) -> int:
        """Mark the adapters that learned from these Creations, or from ratings and choices of them, where these were taken
        back (storage/repositories/sources.py), and unmark where they hold again; the number of marks that changed.

        Call it after each such change.
        """
        if self._connection.execute(select(adapters.c.seq).where(adapters.c.owner_id == owner_id).limit(1)).first() is None:
            return 0
        return self._refresh(owner_id, sources.about(self._connection, dict.fromkeys(creation_ids)))

    def _refresh(self, owner_id: str, source_ids: Sequence[str]) -> int:
        changed = 0
        for batch in rows.batches(source_ids):
            gone = sources.taken_back(self._connection, batch)
            mine = select(adapters.c.id).where(adapters.c.owner_id == owner_id)
            marked = (adapter_marks.c.source_id.in_(batch), adapter_marks.c.adapter_id.in_(mine))
            learned = (
                select(adapters.c.id, dataset_sources.c.source_id)
                .join(dataset_sources, dataset_sources.c.dataset_id == adapters.c.dataset_id)
                .where(adapters.c.owner_id == owner_id, dataset_sources.c.source_id.in_(batch))
                .distinct()
            )
            wanted = {(row.id, row.source_id) for row in self._connection.execute(learned) if row.source_id in gone}
            there = {(row.adapter_id, row.source_id) for row in self._connection.execute(select(adapter_marks).where(*marked))}
            for adapter_id, source_id in sorted(there - wanted):
                pair = (adapter_marks.c.adapter_id == adapter_id, adapter_marks.c.source_id == source_id)
                self._connection.execute(delete(adapter_marks).where(*pair))
            new = [{"adapter_id": adapter_id, "source_id": source_id} for adapter_id, source_id in sorted(wanted - there)]
            if new:
                self._connection.execute(insert(adapter_marks), new)
            changed += len(there ^ wanted)
        return changed

    def _records(self, found: Sequence[Row[Any]]) -> tuple[AdapterRecord, ...]:
        marks: defaultdict[str, list[str]] = defaultdict(list)
        for batch in rows.batches(row.id for row in found):
            statement = select(adapter_marks).where(adapter_marks.c.adapter_id.in_(batch)).order_by(adapter_marks.c.seq)
            for row in self._connection.execute(statement):
                marks[row.adapter_id].append(row.source_id)
        return tuple(AdapterRecord(**row._mapping, marks=tuple(marks[row.id])) for row in found)
