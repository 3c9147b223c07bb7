"""Putting a backup's contents in the place of what is there; what was there is kept aside.

The new library is built and checked completely beside the old one, then both change places by renames: a restore that fails
leaves everything as it was. Whoever calls holds the data folder's lock. Knows storage and paths; knows no model and no page.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import uuid
from datetime import UTC, datetime
from pathlib import Path

from engine.errors import BadFileError, RefusedStartError, StudioError
from engine.services.edge import storage_errors
from engine.settings import Settings
from storage.bundle import read_bundle
from storage.database import Database, open_database
from storage.files import FileStore, Stores
from storage.records import LOCAL_OWNER, CreationFilter

log = logging.getLogger(__name__)

STAGED_NAME = "restore-at-next-start.zip"
FAILED_NAME = "restore-failed.zip"
_SQLITE = re.compile(r"sqlite(\+\w+)?:///")
_DATABASE_SUFFIXES = ("", "-wal", "-shm")


def sqlite_path(settings: Settings) -> Path | None:
    """Return the SQLite file that the settings name, or None for a database server."""
    url = settings.database_url
    return Path(_SQLITE.sub("", url, count=1)).absolute() if _SQLITE.match(url) else None


@storage_errors()
def restore(settings: Settings, backup: Path) -> Path | None:
    """Replace the library with the backup's; return the folder where the old one lies, or None when there was none.

    Raises BadFileError for a file that is no whole backup, RefusedStartError for a PostgreSQL database that is not empty,
    BusyError when the disk is full. Then nothing has changed.
    """
    _require_file(backup)
    database_path = sqlite_path(settings)
    if database_path is None:
        _restore_into_server(settings, backup)
        return None
    fresh = settings.tmp_dir / f"restore-{uuid.uuid4().hex}"
    fresh.mkdir(parents=True)
    try:
        _build(fresh, backup)
        return _swap(settings, fresh, database_path)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


@storage_errors()
def check_backup(backup: Path, tmp_dir: Path) -> int:
    """Read the whole backup into a throw-away library; return the number of its rows. Raises BadFileError."""
    _require_file(backup)
    fresh = tmp_dir / f"check-{uuid.uuid4().hex}"
    fresh.mkdir(parents=True)
    try:
        return _build(fresh, backup)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def stage(settings: Settings, backup: Path) -> Path:
    """Check a backup now and keep a copy that the next start puts in place; return the copy. Raises BadFileError."""
    check_backup(backup, settings.tmp_dir)
    staged = settings.data_dir / STAGED_NAME
    partial = staged.with_name(f"{STAGED_NAME}.partial")
    with storage_errors():
        try:
            _copy(backup, partial)
            os.replace(partial, staged)
        finally:
            partial.unlink(missing_ok=True)
    return staged


def apply_staged(settings: Settings) -> str | None:
    """At a start, before the database is opened: put a staged backup in place. Returns one sentence when there was one.

    One that cannot be restored is set aside under another name, and the studio starts with what it has.
    """
    staged = settings.data_dir / STAGED_NAME
    if not staged.is_file():
        return None
    try:
        aside = restore(settings, staged)
    except StudioError as error:
        os.replace(staged, staged.with_name(FAILED_NAME))
        log.warning("the staged backup was not restored: %s", error)
        return f"The backup was not restored: {error} It lies in {staged.with_name(FAILED_NAME)}."
    staged.unlink()
    return "The backup was restored." if aside is None else f"The backup was restored; what was there before lies in {aside}."


def _build(folder: Path, backup: Path) -> int:
    """Make a library of the backup in `folder`; the number of its rows."""
    for name in ("files", "adapters"):
        (folder / name).mkdir(mode=0o700)
    database = open_database(f"sqlite:///{folder / 'library.db'}")
    try:
        counts = read_bundle(database, Stores(FileStore(folder / "files"), FileStore(folder / "adapters")), backup)
    finally:
        database.close()
    return sum(table["added"] for table in counts.values())


def _swap(settings: Settings, fresh: Path, database_path: Path) -> Path | None:
    """Old aside, new in: only renames within one folder. Undone when one of them fails."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    beside, files_beside = database_path.parent / f"before-restore-{stamp}", settings.data_dir / f"before-restore-{stamp}"
    moves = [
        (path, beside / path.name)
        for path in (database_path.with_name(database_path.name + suffix) for suffix in _DATABASE_SUFFIXES)
        if path.exists()
    ]
    folders = (settings.files_dir, settings.adapters_dir)
    moves += [(folder, files_beside / folder.name) for folder in folders if folder.exists()]
    had_any = bool(moves)
    # The database may lie on another disk than the data folder: copy it there under another name first.
    incoming = database_path.with_name(f".{database_path.name}.restored")
    database_path.parent.mkdir(parents=True, exist_ok=True)
    _copy(fresh / "library.db", incoming)
    moves += [(fresh / folder.name, folder) for folder in folders]
    moves.append((incoming, database_path))
    done: list[tuple[Path, Path]] = []
    try:
        for source, target in moves:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.replace(source, target)
            done.append((source, target))
    except OSError:
        for source, target in reversed(done):
            os.replace(target, source)
        raise
    finally:
        incoming.unlink(missing_ok=True)
    return beside if had_any else None


def _copy(source: Path, target: Path) -> None:
    """A copy that only the user can read, and that is on the disk when this returns."""
    target.unlink(missing_ok=True)
    with source.open("rb") as data, os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as copy:
        shutil.copyfileobj(data, copy, 1 << 20)
        copy.flush()
        os.fsync(copy.fileno())


def _restore_into_server(settings: Settings, backup: Path) -> None:
    database = open_database(settings.database_url, backup_dir=settings.backups_dir)
    try:
        if not _is_empty(database):
            raise RefusedStartError(
                "The PostgreSQL database is not empty; nothing was changed. Restore into an empty database.",
                key="error.restore_not_empty",
            )
        read_bundle(database, Stores(FileStore(settings.files_dir), FileStore(settings.adapters_dir)), backup)
    finally:
        database.close()


def _is_empty(database: Database) -> bool:
    with database.read() as uow:
        lists = (uow.conversations.list(LOCAL_OWNER, trashed=trashed, limit=1) for trashed in (False, True))
        pages = (
            uow.creations.search(LOCAL_OWNER, LOCAL_OWNER, CreationFilter(trashed=trashed), page=1, page_size=1)
            for trashed in (False, True)
        )
        return not any(lists) and not any(page.total for page in pages)


def _require_file(backup: Path) -> None:
    if not backup.is_file():
        raise BadFileError(f"There is no file {backup}.", key="error.no_file")
