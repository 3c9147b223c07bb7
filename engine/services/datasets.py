"""Datasets: ratings, choices and edits frozen into rows with a hash and a split by prompt, and what is missing for one.

Knows storage, TRL's rows and files; knows no model and no page.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.errors import BadOptionError, NotEnoughDataError
from engine.safety.limits import clean_text
from engine.services.edge import storage_errors
from engine.services.examples import examples_of
from engine.services.library import filter_from_json
from engine.training.dataset import (
    Example,
    Missing,
    assign_splits,
    content_sha256,
    counts_of,
    frozen_rows,
    missing,
    prompt_key,
    prompt_of,
    replayed,
    suggested,
    without_duplicates,
)
from engine.types import DatasetOptions
from storage.database import Database
from storage.records import CreationFilter, DatasetRecord, DatasetRow, Json, Kind, Method, Split
from storage.unit_of_work import UnitOfWork

METHODS: tuple[Method, ...] = ("dpo", "kto", "sft")
EXAMPLES_SHOWN = 5
NAME_MAX_CHARS = 200
SPLITS: tuple[Split, ...] = ("train", "held_out")


@dataclass(frozen=True, slots=True)
class DatasetPreview:
    """What freezing now would give. Nothing is written, so the split of prompts that have no side yet may still change."""

    task: Kind
    method: Method
    """The given one, else the one that the ratings support best."""
    suggested: Method
    counts: Mapping[Method, Json]
    """Of each method {"train", "held_out", "prompts", "held_out_prompts", "positive", "negative", "duplicates", "by_source"}."""
    missing: tuple[str, ...]
    """What `method` still needs, one English sentence each; () = enough."""
    missing_keys: tuple[tuple[str, Json], ...]
    """The same for other languages: (key, values)."""
    held_out_prompts: int
    duplicates: int
    balance: Json
    """{"positive", "negative"}: answers rated above and below 0, whatever the method."""
    examples: tuple[Json, ...]
    """The newest rows of `method`, up to EXAMPLES_SHOWN, in TRL's format."""

    @property
    def is_ready(self) -> bool:
        """Whether `method` can be trained."""
        return not self.missing


@dataclass(frozen=True, slots=True)
class _Draft:
    """Rows that could be frozen, and the sides of prompts that have none yet."""

    rows: tuple[DatasetRow, ...]
    counts: Json
    new_splits: Mapping[str, Split]


class DatasetService:
    """Previews, freezes and reads Datasets of one owner, made of one rater's ratings."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @storage_errors()
    def preview(self, owner_id: str, rater_id: str, options: DatasetOptions | None = None) -> DatasetPreview:
        """Return what freezing now would give, ready or not. Raises BadOptionError for a bad filter."""
        wish = options or DatasetOptions()
        filter = _filter(wish)
        with self._database.read() as uow:
            drafts: dict[Method, _Draft] = {
                method: _draft(uow, owner_id, rater_id, wish.task, method, filter) for method in METHODS
            }
        counts: dict[Method, Json] = {method: draft.counts for method, draft in drafts.items()}
        best = suggested(counts)
        method = wish.kind or best
        lacking = missing(method, counts[method])
        return DatasetPreview(
            task=wish.task,
            method=method,
            suggested=best,
            counts=counts,
            missing=tuple(one.message for one in lacking),
            missing_keys=tuple((one.key, {"n": one.n}) for one in lacking),
            held_out_prompts=counts[method]["held_out_prompts"],
            duplicates=counts[method]["duplicates"],
            balance={name: counts["kto"][name] for name in ("positive", "negative")},
            examples=tuple(row.row for row in reversed(drafts[method].rows[-EXAMPLES_SHOWN:])),
        )

    @storage_errors()
    def freeze(self, owner_id: str, rater_id: str, options: DatasetOptions | None = None) -> DatasetRecord:
        """Freeze the rows and the side of each of their prompts; the same rows again are the Dataset that is there.

        Raises NotEnoughDataError with what is missing, BadOptionError for a bad filter.
        """
        wish = options or DatasetOptions()
        filter = _filter(wish)
        name = clean_text(wish.name, max_chars=NAME_MAX_CHARS, what="The name").strip()
        with self._database.write() as uow:
            methods = METHODS if wish.kind is None else (wish.kind,)
            drafts = {one: _draft(uow, owner_id, rater_id, wish.task, one, filter) for one in methods}
            method = wish.kind or suggested({one: draft.counts for one, draft in drafts.items()})
            draft = drafts[method]
            lacking = missing(method, draft.counts)
            if lacking:
                raise _not_enough(lacking)
            uow.datasets.set_splits(owner_id, wish.task, draft.new_splits)
            record = uow.datasets.add(
                owner_id,
                task=wish.task,
                method=method,
                name=name,
                sha256=content_sha256(draft.rows),
                filter=dict(wish.filter or {}),
                counts=draft.counts,
                rows=draft.rows,
            )
            uow.commit()
        return record

    @storage_errors()
    def with_replay(self, owner_id: str, dataset_id: str) -> DatasetRecord:
        """Return the Dataset to train on instead of one of chosen ratings: its rows, and some of earlier rounds with them, so
        that what was learned before is not forgotten. One of all ratings has all rounds in it, and is returned as it is.

        Rows of earlier Datasets count as long as nothing they came from was taken back. Raises NotFoundError.
        """
        with self._database.write() as uow:
            record = uow.datasets.get(owner_id, dataset_id)
            if not record.filter or "replay" in record.filter:
                return record
            own = tuple(uow.datasets.rows(owner_id, record.id))
            rows = replayed(own, _earlier_rows(uow, owner_id, record))
            if len(rows) == len(own):
                return record
            examples = [Example(row.row, row.source_ids, "replay") for row in rows[len(own) :]]
            counts = counts_of(record.method, rows, examples, record.counts["duplicates"])
            made = uow.datasets.add(
                owner_id,
                task=record.task,
                method=record.method,
                name=record.name,
                sha256=content_sha256(rows),
                # Not the filter alone: these rows do not all pass it.
                filter={**record.filter, "replay": record.id},
                counts={**counts, "by_source": {**record.counts["by_source"], **counts["by_source"]}},
                rows=rows,
            )
            uow.commit()
        return made

    @storage_errors()
    def get(self, owner_id: str, dataset_id: str) -> DatasetRecord:
        """Return one Dataset. Raises NotFoundError."""
        with self._database.read() as uow:
            return uow.datasets.get(owner_id, dataset_id)

    @storage_errors()
    def list(self, owner_id: str, task: Kind | None = None) -> tuple[DatasetRecord, ...]:
        """Return the owner's Datasets, newest first."""
        with self._database.read() as uow:
            return uow.datasets.list(owner_id, task)

    @storage_errors()
    def rows(self, owner_id: str, dataset_id: str, split: Split | None = None) -> tuple[DatasetRow, ...]:
        """Return the rows of a Dataset in their order, of one side if given. Raises NotFoundError."""
        with self._database.read() as uow:
            return tuple(uow.datasets.rows(owner_id, dataset_id, split))

    @storage_errors()
    def held_out_prompts(self, owner_id: str, task: Kind) -> tuple[tuple[Json, ...], ...]:
        """Return the messages of every held-out prompt that is in a Dataset, each once, newest first."""
        found: dict[str, tuple[Json, ...]] = {}
        with self._database.read() as uow:
            for record in uow.datasets.list(owner_id, task):
                for row in reversed(tuple(uow.datasets.rows(owner_id, record.id, "held_out"))):
                    prompt = prompt_of(row.row)
                    found.setdefault(prompt_key(prompt), prompt)
        return tuple(found.values())

    @storage_errors()
    def write_files(self, owner_id: str, dataset_id: str, folder: Path) -> None:
        """Write train.jsonl and held_out.jsonl, rows in TRL's format, for the process that trains. Raises NotFoundError."""
        folder.mkdir(parents=True, exist_ok=True)
        with self._database.read() as uow:
            for split in SPLITS:
                with (folder / f"{split}.jsonl").open("w", encoding="utf-8", newline="\n") as out:
                    for row in uow.datasets.rows(owner_id, dataset_id, split):
                        # ASCII only: no reader takes a line separator inside a text for the end of the line.
                        out.write(json.dumps(row.row, sort_keys=True) + "\n")


def _filter(options: DatasetOptions) -> CreationFilter:
    filter = filter_from_json(options.filter)
    if filter.kind not in (None, options.task):
        raise BadOptionError(
            f'The filter is for "{filter.kind}", the task is "{options.task}".',
            key="error.filter_task",
            kind=filter.kind,
            task=options.task,
        )
    return replace(filter, kind=options.task)


def _draft(uow: UnitOfWork, owner_id: str, rater_id: str, task: Kind, method: Method, filter: CreationFilter) -> _Draft:
    found = (example for example, _ in examples_of(uow, owner_id, rater_id, method, filter))
    examples, duplicates = without_duplicates(found)
    known = uow.datasets.all_splits(owner_id, task)
    new_splits = assign_splits(known, (prompt_key(prompt_of(example.row)) for example in examples))
    rows = frozen_rows(examples, {**known, **new_splits})
    return _Draft(rows, counts_of(method, rows, examples, duplicates), new_splits)


def _earlier_rows(uow: UnitOfWork, owner_id: str, record: DatasetRecord) -> Iterator[DatasetRow]:
    """Rows of the Datasets before this one, of the same task and method, whose sources are all still in force."""
    for earlier in uow.datasets.list(owner_id, record.task):
        if earlier.seq >= record.seq or earlier.method != record.method:
            continue
        rows = tuple(uow.datasets.rows(owner_id, earlier.id, "train"))
        gone = uow.datasets.taken_back({source_id for row in rows for source_id in row.source_ids})
        yield from (row for row in rows if not gone & set(row.source_ids))


def _not_enough(lacking: tuple[Missing, ...]) -> NotEnoughDataError:
    """The first lack speaks for itself; the others follow in the same message."""
    first = lacking[0]
    values: dict[str, Any] = {"n": first.n}
    return NotEnoughDataError(" ".join(one.message for one in lacking), key=first.key, **values)
