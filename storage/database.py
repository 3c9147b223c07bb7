"""Open a database, check it, bring it up to date, and hand out units of work.

Knows the order of the checks; what they are on each database is in storage/sqlite.py and storage/postgres.py.
Never makes an empty database where one should be.
"""

from __future__ import annotations

import os
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout
from sqlalchemy import Engine, make_url
from sqlalchemy.exc import ArgumentError

from storage import error_map, schema, search, sqlite
from storage.errors import DatabaseBusyError, StorageError
from storage.unit_of_work import UnitOfWork, WriteLock

_OPEN_WAIT_S = 120.0
_BACKUPS_KEPT = 7


class Database:
    """An open database; safe to use from many threads."""

    def __init__(self, url: str, write_engine: Engine, read_engine: Engine, warnings: tuple[str, ...] = ()) -> None:
        self.url = url
        self.dialect: Literal["sqlite", "postgresql"] = "sqlite" if write_engine.dialect.name == "sqlite" else "postgresql"
        self.warnings = warnings
        self._write_engine = write_engine
        self._read_engine = read_engine
        self._write_lock = WriteLock()

    def read(self) -> UnitOfWork:
        """A unit of work that sees one moment and cannot change anything."""
        return UnitOfWork(self._read_engine)

    def write(self) -> UnitOfWork:
        """A unit of work that changes things; only one at a time. Leaving it without commit() rolls back."""
        return UnitOfWork(self._write_engine, self._write_lock)

    def size_bytes(self) -> int:
        """Space the database takes on the disk."""
        path = _sqlite_path(self.url)
        if path is not None:
            files = (path, path.with_name(path.name + "-wal"))
            return sum(file.stat().st_size for file in files if file.exists())
        with self.read() as uow:
            return int(uow.connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one())

    def check(self) -> tuple[str, ...]:
        """What is wrong with the database, one sentence each; () when nothing is. Reads all of it."""
        if self.dialect != "sqlite":
            with self.read() as uow:
                schema.row_counts(uow.connection)
            return ()
        with self.read() as uow:
            found = [str(row[0]) for row in uow.connection.exec_driver_sql("PRAGMA integrity_check(20)")]
            broken = uow.connection.exec_driver_sql("PRAGMA foreign_key_check").all()
        links = {f"A row of {row[0]} refers to a missing row of {row[2]}." for row in broken}
        return (*(line for line in found if line != "ok"), *sorted(links))

    def rebuild_search(self) -> int:
        """Make the search index anew from the Creations; the number of them."""
        with self.write() as uow:
            total = search.rebuild(uow.connection)
            uow.commit()
        return total

    def close(self) -> None:
        """Close all connections. Units of work must have ended."""
        self._read_engine.dispose()
        self._write_engine.dispose()


def open_database(url: str, *, backup_dir: Path | None = None) -> Database:
    """Open the database at `url` (sqlite:///PATH or postgresql://…); make it when nothing is there; migrate an older one.

    An older one with rows is copied to `backup_dir` first (for SQLite, beside the file when None).
    Raises DatabaseDamagedError and DatabaseNewerError (the file stays as it is), DatabaseBusyError, DiskFullError, StorageError.
    """
    path = _sqlite_path(url)
    if path is not None:
        return _open_sqlite(url, path, backup_dir)
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise StorageError(f"{url!r} is no database address; use sqlite:///PATH or postgresql://USER@HOST/NAME.") from error
    if parsed.get_backend_name() not in ("postgresql", "postgres"):
        raise StorageError(f"{parsed.drivername} is not supported; use sqlite:///PATH or postgresql://USER@HOST/NAME.")
    from storage import postgres  # psycopg is loaded only where it is used

    write_engine, read_engine = postgres.open_engines(parsed, backup_dir)
    return Database(url, write_engine, read_engine)


def _sqlite_path(url: str) -> Path | None:
    """The path of a SQLite address, to the letter: a "?" or "%" in it is part of a name. None for another kind of address."""
    prefix, separator, path = url.partition(":///")
    if prefix != "sqlite" or not separator:
        return None
    if path in ("", ":memory:") or path.startswith("file:"):
        raise StorageError("A SQLite database needs a path: sqlite:///PATH.")
    return Path(path)


def _open_sqlite(url: str, path: Path, backup_dir: Path | None) -> Database:
    path = path.absolute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(path.name + ".lock"), timeout=_OPEN_WAIT_S):
            _prepare_sqlite(path, backup_dir or path.parent / "backups")
            warning = sqlite.set_journal(path)
    except Timeout as error:
        raise DatabaseBusyError(f"Another program is opening the database {path}. Try again when it is done.") from error
    except OSError as error:
        raise error_map.to_storage_error(error) from error
    database = Database(url, sqlite.engine(path, "write"), sqlite.engine(path, "read"), (warning,) if warning else ())
    try:
        _refresh_search(database)
    except BaseException:
        database.close()
        raise
    return database


def _prepare_sqlite(path: Path, backup_dir: Path) -> None:
    """Make, check or migrate the file, with the lock held."""
    if not path.exists():
        sqlite.check_absent(path)
        _create_sqlite(path)
        return
    sqlite.check_header(path)
    revision = sqlite.check_identity(path)
    up_to_date = schema.is_current(revision)
    sqlite.check_pages(path)
    if not up_to_date:
        backup_dir.mkdir(parents=True, exist_ok=True)
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
        sqlite.copy(path, backup_dir / f"{path.stem}-schema{revision}-{stamp}.sqlite3")
        for old in sorted(backup_dir.glob(f"{path.stem}-schema*.sqlite3"))[:-_BACKUPS_KEPT]:
            old.unlink(missing_ok=True)
        _migrate_sqlite(path)


def _create_sqlite(path: Path) -> None:
    """Make the file under another name first, so that a crash never leaves half a database at `path`."""
    for left_over in path.parent.glob(f".{path.name}.new-*"):
        left_over.unlink(missing_ok=True)
    fresh = path.with_name(f".{path.name}.new-{uuid.uuid4().hex}")
    try:
        fresh.touch(mode=0o600)
        _migrate_sqlite(fresh)
        with fresh.open("rb") as file:
            os.fsync(file.fileno())
        fresh.replace(path)
    finally:
        for suffix in ("", "-journal"):
            fresh.with_name(fresh.name + suffix).unlink(missing_ok=True)


def _migrate_sqlite(path: Path) -> None:
    engine = sqlite.engine(path, "migrate")
    try:
        with engine.connect() as connection, connection.begin():
            schema.upgrade(connection)
            connection.exec_driver_sql(f"PRAGMA application_id={sqlite.APPLICATION_ID}")
    finally:
        engine.dispose()


def _refresh_search(database: Database) -> None:
    """Index everything anew when words are cut differently than at the last start (another version, another Python)."""
    version = search.index_version()
    with database.read() as uow:
        if uow.connection.exec_driver_sql("PRAGMA user_version").scalar_one() == version:
            return
    with database.write() as uow:
        search.rebuild(uow.connection)
        uow.connection.exec_driver_sql(f"PRAGMA user_version={version}")
        uow.commit()
