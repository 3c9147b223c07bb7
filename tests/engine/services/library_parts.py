"""Rows for tests of services: a real database in a folder, and short words for making what is in it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.services.export import ExportService
from engine.services.feedback import FeedbackService
from engine.services.library import LibraryService
from storage.database import Database, open_database
from storage.files import FileStore, Stores
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


def export_service(folder: Path, database: Database) -> ExportService:
    stores = Stores(FileStore(folder / "files"), FileStore(folder / "adapters"))
    return ExportService(database, stores, exports_dir=folder / "exports", tmp_dir=folder / "tmp")


def rows_of(exports: ExportService, format: str, **options: Any) -> list[dict[str, Any]]:
    made = exports.export(OWNER, OWNER, format=format, **options)
    with zipfile.ZipFile(made.path) as archive:
        lines = archive.read("rows.jsonl").decode().splitlines()
    assert len(lines) == made.rows
    return [json.loads(line) for line in lines]


def message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def rich_library(database: Database, files: FileStore) -> None:
    """Something of everything: a conversation with context, versions, edits, ratings, preferences, stars, tags, a file."""
    feedback = FeedbackService(database)
    with database.write() as uow:
        chat = uow.conversations.add(OWNER, title="猫咪", system="Be brief.")
        uow.personas.add(OWNER, name="Pirate", system="Arr.")
        uow.settings.set(OWNER, "preferences.theme", "dark")
        uow.commit()
    system = {"system": "Be brief.", "temperature": 0.7}
    first = add(database, "写一首诗", "猫咪睡了", conversation_id=chat.id, params=system, seed=1, path={"engine": "torch"})
    second = add(database, "And now in English", "The cat sleeps", conversation_id=chat.id, context_id=first.id, params=system)
    worse = version_of(database, second, "Cat cat cat")
    edited = version_of(database, second, "The cat is asleep", origin="edited")
    feedback.prefer(OWNER, OWNER, edited.id, second.id, source="edit")
    for creation, score in ((first, 1), (second, 0.5), (worse, -1)):
        feedback.rate(OWNER, OWNER, creation.id, score)
    feedback.rate(OWNER, OWNER, worse.id, -0.5)
    digest = files.put("ab/cat.png", b"\x89PNG cat")
    add(database, "a cat", "", kind="image", media_name="ab/cat.png", media_sha256=digest, starred=True, tags=("shop",))
    library = LibraryService(database, files)
    library.star(OWNER, [first.id])
    library.trash(OWNER, [add(database, "gone", "thrown away").id])
