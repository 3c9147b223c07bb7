"""SQLite: which driver, how to connect, what to check before a file is trusted, how to copy it safely.

Knows files, pragmas and result codes; knows no table but alembic's. Facts behind the rules: SQLite before 3.51.3 can corrupt a
database in WAL mode (https://sqlite.org/wal.html#walresetbug); a plain BEGIN loses updates that BEGIN IMMEDIATE does not;
a file of zero bytes opens as a new empty database; a stale log beside a new file is replayed into it.
"""

from __future__ import annotations

import importlib
import json
import os
import sqlite3
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from sqlalchemy import Connection, Engine, NullPool, QueuePool, create_engine, event

from storage import error_map
from storage.errors import DatabaseDamagedError, StorageError

# "TSTM": tells our files from other programs' (https://sqlite.org/pragma.html#pragma_application_id).
APPLICATION_ID = 0x5453544D
BUSY_TIMEOUT_S = 10.0
_HEADER = b"SQLite format 3\0"
_FIXED_IN = (3, 51, 3)
_BACKPORT = ((3, 50, 7), (3, 51, 0))
# A page's worker threads may all read at once; idle connections beyond the first few are closed.
_READERS_KEPT, _READERS_MORE = 4, 60

Role = Literal["read", "write", "migrate"]


def is_wal_safe(version: tuple[int, ...]) -> bool:
    """Whether this version of SQLite can be trusted with WAL."""
    return version >= _FIXED_IN or _BACKPORT[0] <= version < _BACKPORT[1]


def driver() -> ModuleType:
    """The sqlite3 module, or pysqlite3 where that is safer; both are DB-API 2."""
    if is_wal_safe(sqlite3.sqlite_version_info):
        return sqlite3
    try:
        newer = importlib.import_module("pysqlite3.dbapi2")
    except ImportError:
        return sqlite3
    return newer if newer.sqlite_version_info > sqlite3.sqlite_version_info else sqlite3


def engine(path: Path, role: Role) -> Engine:
    """An engine of one role. It never creates a file: the path must hold a database.

    "write": BEGIN IMMEDIATE, one connection. "read": cannot change anything. "migrate": foreign keys off, because altering a
    table copies it, and dropping the old copy would delete the rows that refer to it.
    """
    module = driver()
    keeps: dict[str, Any] = {"poolclass": NullPool if role == "migrate" else QueuePool}
    if role == "read":
        keeps |= {"pool_size": _READERS_KEPT, "max_overflow": _READERS_MORE}
    if role == "write":
        keeps |= {"pool_size": 1, "max_overflow": 0}
    made = create_engine(
        "sqlite://", module=module, creator=_creator(module, path, role), json_serializer=canonical_json, **keeps
    )
    begin = "BEGIN" if role == "read" else "BEGIN IMMEDIATE"

    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(made, "begin", on_begin)
    error_map.listen(made)
    return made


def canonical_json(value: Any) -> str:
    """The one way a JSON value is written: sorted keys, no spaces, no NaN."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def connect(path: Path) -> Any:
    """A plain DB-API connection in autocommit to an existing file."""
    uri = f"file:{urllib.parse.quote(str(path.absolute()))}?mode=rw"
    return driver().connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)


def check_absent(path: Path) -> None:
    """Before a new file is made: the log of a lost database must not be replayed into it."""
    for suffix in ("-wal", "-journal"):
        log = path.with_name(path.name + suffix)
        if log.exists() and log.stat().st_size > 0:
            raise DatabaseDamagedError(
                f"The database {path} is missing, but its log {log.name} is there. Put the database back or restore a backup; "
                "to begin with an empty one, move the log away."
            )


def check_header(path: Path) -> None:
    """Raises DatabaseDamagedError unless the file begins as a SQLite database does."""
    try:
        with path.open("rb") as file:
            head = file.read(len(_HEADER))
    except OSError as error:
        raise StorageError(f"The database {path} cannot be read: {error.strerror}.") from error
    if not head:
        raise DatabaseDamagedError(f"The database {path} is empty (0 bytes). It was left so; restore a backup or move it away.")
    if head != _HEADER:
        raise DatabaseDamagedError(
            f"{path} is no database, or its beginning is damaged. It was left as it is; restore a backup or move it away."
        )


def check_identity(path: Path) -> str:
    """The alembic revision of the file. Raises DatabaseDamagedError when it is not one of ours or cannot be read."""
    with _Reader(path) as connection:
        application_id = connection.execute("PRAGMA application_id").fetchone()[0]
        if application_id != APPLICATION_ID:
            raise DatabaseDamagedError(f"{path} belongs to another program. It was left as it is; choose another file.")
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    if row is None:
        raise DatabaseDamagedError(f"The database {path} has no version. It was left as it is; restore a backup.")
    return str(row[0])


def check_pages(path: Path) -> None:
    """Read every page of every table. Raises DatabaseDamagedError when one is damaged.

    Table by table, because the check of the whole file also compares the search index word by word, which takes three times as
    long and can be made anew. Measured: 0.4 s for 100,000 creations.
    """
    with _Reader(path) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage > 0").fetchall()
        for (table,) in tables:
            result = connection.execute(f"PRAGMA quick_check('{table}')").fetchone()[0]
            if result != "ok":
                raise DatabaseDamagedError(f"The database {path} is damaged ({result}). It was left so; restore a backup.")


def set_journal(path: Path) -> str | None:
    """WAL where it is safe, else a rollback journal; then a sentence for the user."""
    module = driver()
    safe = is_wal_safe(module.sqlite_version_info)
    connection = connect(path)
    try:
        connection.execute(f"PRAGMA journal_mode={'WAL' if safe else 'DELETE'}")
        # Says now, not at the first click, that the file or its folder cannot be written.
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    except module.Error as error:
        raise error_map.to_storage_error(error) from error
    finally:
        connection.close()
    if safe:
        return None
    return (
        f"SQLite {module.sqlite_version} has a bug that can damage databases in its fast mode (WAL), so its slow mode is used. "
        "Install the package pysqlite3, or Python with SQLite 3.51.3 or newer."
    )


def copy(path: Path, target: Path) -> None:
    """A consistent copy of a database in use, checked and on the disk when this returns. `target` must not exist."""
    partial = target.with_name(f".{target.name}.tmp")
    module = driver()
    partial.unlink(missing_ok=True)
    try:
        partial.touch(mode=0o600)
        source, destination = connect(path), connect(partial)
        try:
            source.backup(destination)
        finally:
            destination.close()
            source.close()
        check_pages(partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(target)
    except (OSError, module.Error) as error:
        raise error_map.to_storage_error(error) from error
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            partial.with_name(partial.name + suffix).unlink(missing_ok=True)


class _Reader:
    """A DB-API connection for the checks; the driver's errors mean a damaged file here."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: Any = None

    def __enter__(self) -> Any:
        try:
            self._connection = connect(self._path)
        except driver().Error as error:
            raise error_map.to_storage_error(error) from error
        return self._connection

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._connection.close()
        module = driver()
        if not isinstance(error, module.Error):
            return
        mapped = error_map.to_storage_error(error)
        # "no such table: alembic_version" is damage too: the identity said that the file is ours.
        if type(mapped) in (StorageError, DatabaseDamagedError):
            mapped = DatabaseDamagedError(f"{self._path} is damaged ({error}). It was left as it is; restore a backup.")
        raise mapped from error


def _creator(module: ModuleType, path: Path, role: Role) -> Callable[[], Any]:
    pragmas = [
        "PRAGMA synchronous=FULL",
        f"PRAGMA foreign_keys={'OFF' if role == 'migrate' else 'ON'}",
        "PRAGMA temp_store=MEMORY",
        "PRAGMA trusted_schema=OFF",
        "PRAGMA cache_size=-8000",
        "PRAGMA journal_size_limit=67108864",
    ]
    if role == "read":
        pragmas.append("PRAGMA query_only=ON")

    def make() -> Any:
        connection = connect(path)
        try:
            for pragma in pragmas:
                connection.execute(pragma)
        except module.Error:
            connection.close()
            raise
        return connection

    return make
