"""Every error that storage raises on purpose.

    StorageError                  anything else that went wrong in the database or the files
    ├── RecordNotFoundError       no row with this id, or it belongs to somebody else: both look alike
    ├── ConflictError             the row contradicts one that is there (same id twice, a value out of range)
    ├── DatabaseDamagedError      the file is empty, damaged, or no database of ours; it was left as it is
    ├── DatabaseNewerError        written by a newer version of the program; it was left as it is
    ├── DatabaseBusyError         somebody else holds it, or the server does not answer: try again
    ├── DiskFullError             nothing was changed; reading still works
    └── BundleError               the bundle cannot be read; nothing was changed

Messages are plain English sentences. Errors of SQLAlchemy, SQLite and psycopg become these in storage/error_map.py.
"""

from __future__ import annotations


class StorageError(Exception):
    """Base of the tree."""


class RecordNotFoundError(StorageError):
    """No row with this id, or not yours."""

    def __init__(self, what: str = "record", record_id: str | None = None) -> None:
        super().__init__(f"There is no {what} with this id.")
        self.what = what
        self.record_id = record_id


class ConflictError(StorageError):
    """The row contradicts one that is there."""


class DatabaseDamagedError(StorageError):
    """The database cannot be used; it was left as it is."""


class DatabaseNewerError(StorageError):
    """The database was written by a newer version."""


class DatabaseBusyError(StorageError):
    """Somebody else holds the database, or its server does not answer."""


class DiskFullError(StorageError):
    """No space left; nothing was changed."""


class BundleError(StorageError):
    """The bundle cannot be read; nothing was changed."""
