"""Rows for tests of services: a real database in a folder, and short words for making what is in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from storage.database import Database, open_database
from storage.records import LOCAL_OWNER, CreationRecord

OWNER = LOCAL_OWNER


@contextmanager
def opened(folder: Path, name: str = "tastemaker.db") -> Iterator[Database]:
    """The database in `folder`, closed at the end."""
    database = open_database(f"sqlite:///{folder / name}")
    try:
        yield database
    finally:
        database.close()


def add(
    database: Database, prompt: str = "a prompt", output: str = "an answer", *, owner: str = OWNER, **fields: Any
) -> CreationRecord:
    """One finished Creation; any field may be given."""
    values = {"kind": "text", "model_id": "tiny", "status": "done", **fields}
    with database.write() as uow:
        creation = uow.creations.add(owner, prompt=prompt, output=output, **values)
        uow.commit()
    return creation


def version_of(database: Database, creation: CreationRecord, output: str, **fields: Any) -> CreationRecord:
    """Another version of the same turn."""
    given = {"parent_id": creation.id, "turn_id": creation.turn_id, "context_id": creation.context_id, "params": creation.params}
    return add(database, creation.prompt, output, **{**given, **fields})
