"""The one edge where errors of SQLite, psycopg and the system become storage errors.

Knows driver error codes; knows no table. `listen(engine)` hooks it into SQLAlchemy, so that no driver error passes by.
"""

from __future__ import annotations

import errno

from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext

from storage.errors import ConflictError, DatabaseBusyError, DatabaseDamagedError, DiskFullError, StorageError

DISK_FULL = "The disk is full. Nothing was changed; free some space and try again."
BUSY = "The database is busy. Nothing was changed; try again."
DAMAGED = "The database file is damaged. It was left as it is; restore a backup."

# Primary SQLite result codes (https://sqlite.org/rescode.html); an extended code's low byte is its primary code.
_SQLITE_PERM, _SQLITE_BUSY, _SQLITE_LOCKED, _SQLITE_READONLY, _SQLITE_IOERR = 3, 5, 6, 8, 10
_SQLITE_CORRUPT, _SQLITE_FULL, _SQLITE_CANTOPEN, _SQLITE_CONSTRAINT, _SQLITE_NOTADB = 11, 13, 14, 19, 26


def listen(engine: Engine) -> None:
    """Make `engine` raise storage errors only."""

    def handle(context: ExceptionContext) -> None:
        error = context.original_exception
        if not isinstance(error, Exception):
            return
        if isinstance(error, StorageError):
            raise error  # of a column's own check; SQLAlchemy would wrap it
        raise to_storage_error(error) from error

    event.listen(engine, "handle_error", handle)


def to_storage_error(error: Exception) -> StorageError:
    """The storage error that says what `error` (of a driver, or an OSError) means."""
    if isinstance(error, OSError):
        return _from_os(error)
    code = getattr(error, "sqlite_errorcode", None)
    if isinstance(code, int):
        return _from_sqlite(code & 0xFF, error)
    if type(error).__module__.partition(".")[0] in ("sqlite3", "pysqlite3"):
        return _from_sqlite_text(error)
    sqlstate = getattr(error, "sqlstate", None)
    if isinstance(sqlstate, str):
        return _from_postgres(sqlstate, error)
    if type(error).__name__ in ("OperationalError", "InterfaceError", "TimeoutError"):
        return DatabaseBusyError(f"The database does not answer: {_first_line(error)}. Nothing was changed; try again.")
    if isinstance(error, UnicodeError):
        return StorageError("The text has characters that cannot be stored.")
    return StorageError(f"The database refused the request: {_first_line(error)}.")


def _from_os(error: OSError) -> StorageError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DiskFullError(DISK_FULL)
    return StorageError(f"A file could not be read or written: {error.strerror or error}.")


def _from_sqlite(primary: int, error: Exception) -> StorageError:
    if primary == _SQLITE_FULL:
        return DiskFullError(DISK_FULL)
    if primary in (_SQLITE_BUSY, _SQLITE_LOCKED):
        return DatabaseBusyError(BUSY)
    if primary in (_SQLITE_CORRUPT, _SQLITE_NOTADB):
        return DatabaseDamagedError(DAMAGED)
    if primary == _SQLITE_CONSTRAINT:
        return ConflictError(f"The row contradicts what is stored: {_first_line(error)}.")
    if primary == _SQLITE_IOERR:
        return DiskFullError(
            "The disk cannot be written; it is probably full. Nothing was changed; free some space and try again."
        )
    if primary in (_SQLITE_READONLY, _SQLITE_PERM, _SQLITE_CANTOPEN):
        return StorageError("The database cannot be opened for writing. Check the permissions of its folder.")
    return StorageError(f"The database refused the request: {_first_line(error)}.")


def _from_sqlite_text(error: Exception) -> StorageError:
    """For drivers that give no code: only the message tells."""
    message = str(error).lower()
    for part, code in (
        ("disk is full", _SQLITE_FULL),
        ("is locked", _SQLITE_BUSY),
        ("malformed", _SQLITE_CORRUPT),
        ("not a database", _SQLITE_NOTADB),
        ("constraint failed", _SQLITE_CONSTRAINT),
        ("disk i/o error", _SQLITE_IOERR),
        ("readonly database", _SQLITE_READONLY),
        ("unable to open", _SQLITE_CANTOPEN),
    ):
        if part in message:
            return _from_sqlite(code, error)
    return StorageError(f"The database refused the request: {_first_line(error)}.")


def _from_postgres(sqlstate: str, error: Exception) -> StorageError:
    """Codes: https://www.postgresql.org/docs/current/errcodes-appendix.html"""
    if sqlstate == "53100":
        return DiskFullError(DISK_FULL)
    if sqlstate.startswith(("08", "53", "57", "55")) or sqlstate in ("40001", "40P01"):
        return DatabaseBusyError(BUSY)
    if sqlstate.startswith("XX"):
        return DatabaseDamagedError(f"The database server reports damage: {_first_line(error)}.")
    if sqlstate.startswith("23"):
        return ConflictError(f"The row contradicts what is stored: {_first_line(error)}.")
    return StorageError(f"The database refused the request: {_first_line(error)}.")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
