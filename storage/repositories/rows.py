"""What all repositories share: a connection, ids, the clock, and rows into records.

Knows how a row becomes a record; knows no query of any noun.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, Table, select

from storage.errors import RecordNotFoundError, StorageError
from storage.records import (
    ConversationRecord,
    CreationRecord,
    JobRecord,
    ModelRecord,
    PersonaRecord,
    PreferenceRecord,
    RatingRecord,
)

T = TypeVar("T")

# Far below every database's limit of parameters in one statement.
IN_BATCH = 500
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,199}")


class Repository:
    """A noun's queries on one open connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def _owned(self, table: Table, owner_id: str, record_id: str, what: str) -> Row[Any]:
        """The owner's row; RecordNotFoundError when there is none, it is somebody else's, or nothing can have that id."""
        if not isinstance(record_id, str) or not is_good_id(record_id):
            raise RecordNotFoundError(what, repr(record_id)[:80])
        statement = select(table).where(table.c.id == record_id, table.c.owner_id == owner_id)
        row = self._connection.execute(statement).first()
        if row is None:
            raise RecordNotFoundError(what, record_id)
        return row


def new_id() -> str:
    """32 hexadecimal characters nobody can guess."""
    return uuid.uuid4().hex


def is_good_id(record_id: str) -> bool:
    """Whether this can be a row's id: ids stand in addresses, file names and bundles."""
    return _ID.fullmatch(record_id) is not None


def checked_id(record_id: str | None) -> str:
    """The given id, or a new one. Raises StorageError for one with other characters than letters, digits and "._:-"."""
    if record_id is None:
        return new_id()
    if not is_good_id(record_id):
        raise StorageError(f"{record_id[:80]!r} cannot be an id.")
    return record_id


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


def batches(values: Iterable[T], size: int = IN_BATCH) -> Iterator[Sequence[T]]:
    """`values` in lists of at most `size`."""
    batch: list[T] = []
    for value in values:
        batch.append(value)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def checked(changes: Mapping[str, Any], allowed: frozenset[str], what: str) -> dict[str, Any]:
    """The changes, all of allowed columns; StorageError names one that is not."""
    unknown = sorted(set(changes) - allowed)
    if unknown:
        raise StorageError(f"A {what} has no changeable field {unknown[0]!r}.")
    return dict(changes)


def conversation(row: Row[Any]) -> ConversationRecord:
    """Row of `conversations` → record."""
    values = dict(row._mapping)
    del values["used_seq"]
    return ConversationRecord(**values)


def creation(row: Row[Any], tags: Iterable[str]) -> CreationRecord:
    """Row of `creations` and its tags → record."""
    return CreationRecord(**row._mapping, tags=tuple(sorted(set(tags))))


def rating(row: Row[Any]) -> RatingRecord:
    """Row of `ratings` → record."""
    values = dict(row._mapping)
    del values["creation_seq"]
    values["reasons"] = tuple(values["reasons"])
    return RatingRecord(**values)


def preference(row: Row[Any]) -> PreferenceRecord:
    """Row of `preferences` → record."""
    values = dict(row._mapping)
    del values["pair_low"], values["pair_high"]
    return PreferenceRecord(**values)


def job(row: Row[Any]) -> JobRecord:
    """Row of `jobs` → record."""
    return JobRecord(**row._mapping)


def persona(row: Row[Any]) -> PersonaRecord:
    """Row of `personas` → record."""
    return PersonaRecord(**row._mapping)


def model(row: Row[Any]) -> ModelRecord:
    """Row of `models` → record."""
    return ModelRecord(**row._mapping)
