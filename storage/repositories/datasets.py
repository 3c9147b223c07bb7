"""Datasets: frozen rows, what they were made of, and which prompts are held out for good.

Knows that a Dataset and the side of a prompt never change; does not know how rows are made of ratings.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Row, insert, select

from storage.records import DatasetRecord, DatasetRow, Kind, Split
from storage.repositories import rows, sources
from storage.repositories.rows import Repository
from storage.tables import dataset_rows, dataset_sources, datasets, prompt_splits

_FIELDS = frozenset({"task", "method", "name", "sha256", "filter", "counts"})


class DatasetRepository(Repository):
    """All Datasets of all owners; every method sees one owner's."""

    def add(self, owner_id: str, *, rows: Sequence[DatasetRow], id: str | None = None, **fields: Any) -> DatasetRecord:
        """Freeze `rows`; `fields` are task, method, name, sha256 (of the content), filter and counts.

        When the owner has one of the same method and content already, that one is returned and nothing is written.
        """
        same = (datasets.c.sha256 == fields["sha256"], datasets.c.method == fields["method"])
        found = self._connection.execute(select(datasets).where(datasets.c.owner_id == owner_id, *same)).first()
        if found is not None:
            return _record(found)
        values = _dataset_values(owner_id, id, fields)
        record = _record(self._connection.execute(insert(datasets).values(**values).returning(datasets)).one())
        self._add_rows(record.id, rows)
        return record

    def get(self, owner_id: str, id: str) -> DatasetRecord:
        """The Dataset. Raises RecordNotFoundError."""
        return _record(self._owned(datasets, owner_id, id, "dataset"))

    def list(self, owner_id: str, task: Kind | None = None) -> tuple[DatasetRecord, ...]:
        """All of the owner's, of one task if given, newest first."""
        statement = select(datasets).where(datasets.c.owner_id == owner_id).order_by(datasets.c.seq.desc())
        if task is not None:
            statement = statement.where(datasets.c.task == task)
        return tuple(_record(row) for row in self._connection.execute(statement))

    def rows(self, owner_id: str, id: str, split: Split | None = None) -> Iterator[DatasetRow]:
        """The rows in their order, of one side of the split if given, a few hundred in memory at a time.

        Raises RecordNotFoundError, at the first row.
        """
        self._owned(datasets, owner_id, id, "dataset")
        after = -1
        while True:
            statement = select(dataset_rows).where(dataset_rows.c.dataset_id == id, dataset_rows.c.ordinal > after)
            if split is not None:
                statement = statement.where(dataset_rows.c.split == split)
            found = self._connection.execute(statement.order_by(dataset_rows.c.ordinal).limit(rows.IN_BATCH)).all()
            made_of = self._sources(id, [row.ordinal for row in found])
            for row in found:
                yield DatasetRow(row.ordinal, row.split, row.row, tuple(made_of.get(row.ordinal, ())))
            if len(found) < rows.IN_BATCH:
                return
            after = found[-1].ordinal

    def using(self, owner_id: str, source_ids: Iterable[str]) -> tuple[str, ...]:
        """Ids of the owner's Datasets that any of these ratings, preferences or Creations went into, oldest first."""
        found: dict[int, str] = {}
        joined = datasets.join(dataset_sources, dataset_sources.c.dataset_id == datasets.c.id)
        for batch in rows.batches(dict.fromkeys(source_ids)):
            mine = (datasets.c.owner_id == owner_id, dataset_sources.c.source_id.in_(batch))
            statement = select(datasets.c.seq, datasets.c.id).select_from(joined).where(*mine).distinct()
            found.update({row.seq: row.id for row in self._connection.execute(statement)})
        return tuple(found[seq] for seq in sorted(found))

    def taken_back(self, source_ids: Iterable[str]) -> set[str]:
        """Those of these ratings, preferences and Creations that do not hold any more."""
        return sources.taken_back(self._connection, source_ids)

    def splits(self, owner_id: str, task: Kind, prompt_sha256s: Iterable[str]) -> dict[str, Split]:
        """The side of each of these prompts that has one."""
        found: dict[str, Split] = {}
        table = prompt_splits.c
        for batch in rows.batches(dict.fromkeys(prompt_sha256s)):
            mine = (table.owner_id == owner_id, table.task == task, table.prompt_sha256.in_(batch))
            statement = select(table.prompt_sha256, table.split).where(*mine)
            found.update({row.prompt_sha256: row.split for row in self._connection.execute(statement)})
        return found

    def set_splits(self, owner_id: str, task: Kind, mapping: Mapping[str, Split]) -> None:
        """Give prompts a side for good; one that has a side keeps it."""
        known = self.splits(owner_id, task, mapping)
        new = [
            {"owner_id": owner_id, "task": task, "prompt_sha256": prompt_sha256, "split": split}
            for prompt_sha256, split in mapping.items()
            if prompt_sha256 not in known
        ]
        for batch in rows.batches(new):
            self._connection.execute(insert(prompt_splits), batch)

    def all_splits(self, owner_id: str, task: Kind) -> dict[str, Split]:
        """Every prompt of the task that has a side, in the order in which they got it."""
        mine = (prompt_splits.c.owner_id == owner_id, prompt_splits.c.task == task)
        statement = select(prompt_splits).where(*mine).order_by(prompt_splits.c.seq)
        return {row.prompt_sha256: row.split for row in self._connection.execute(statement)}

    def _add_rows(self, dataset_id: str, given: Sequence[DatasetRow]) -> None:
        for batch in rows.batches(given):
            values = [
                {"dataset_id": dataset_id, "ordinal": row.ordinal, "split": row.split, "row": dict(row.row)} for row in batch
            ]
            self._connection.execute(insert(dataset_rows), values)
            made_of = [
                {"dataset_id": dataset_id, "ordinal": row.ordinal, "source_id": source_id}
                for row in batch
                for source_id in dict.fromkeys(row.source_ids)
            ]
            if made_of:
                self._connection.execute(insert(dataset_sources), made_of)

    def _sources(self, dataset_id: str, ordinals: Sequence[int]) -> Mapping[int, Sequence[str]]:
        found: defaultdict[int, list[str]] = defaultdict(list)
        table = dataset_sources.c
        statement = select(table.ordinal, table.source_id).where(table.dataset_id == dataset_id, table.ordinal.in_(ordinals))
        for row in self._connection.execute(statement.order_by(table.seq)):
            found[row.ordinal].append(row.source_id)
        return found


def _dataset_values(owner_id: str, id: str | None, fields: Mapping[str, Any]) -> dict[str, Any]:
    given = rows.checked(fields, _FIELDS, "dataset")
    given["filter"], given["counts"] = dict(given["filter"] or {}), dict(given["counts"])
    return {"id": rows.checked_id(id), "owner_id": owner_id, "created_at": rows.now(), **given}


def _record(row: Row[Any]) -> DatasetRecord:
    return DatasetRecord(**row._mapping)
