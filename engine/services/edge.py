"""The one edge where storage's errors become the studio's, so that no page and no service words a database error.

Knows both trees of errors; knows no query and no page.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from engine.errors import BadFileError, BadOptionError, BusyError, NotFoundError, RefusedStartError
from storage.errors import (
    BundleError,
    ConflictError,
    DatabaseBusyError,
    DatabaseDamagedError,
    DatabaseNewerError,
    DiskFullError,
    RecordNotFoundError,
    StorageError,
)

NOTHING_HERE = "Nothing with this id."
DISK_FULL = "The disk is full; nothing was changed. Free some space and try again."
DATABASE_BUSY = "The library is busy; nothing was changed. Try again in a moment."
CONFLICT = "That contradicts what is stored; nothing was changed. Reload and try again."
DATABASE_TROUBLE = "Nothing was changed; `python launch.py doctor` says more."


@contextmanager
def storage_errors() -> Iterator[None]:
    """Translate what storage raises inside; also usable as a decorator: `@storage_errors()`.

    RecordNotFoundError → NotFoundError, DiskFullError and DatabaseBusyError → BusyError, BundleError → BadFileError,
    ConflictError → BadOptionError, DatabaseDamagedError and DatabaseNewerError → RefusedStartError, any other
    StorageError → BusyError. Each says one sentence; missing and foreign ids say the same one.
    """
    try:
        yield
    except RecordNotFoundError as error:
        raise NotFoundError(NOTHING_HERE, key="error.not_found") from error
    except DiskFullError as error:
        raise BusyError(DISK_FULL, key="error.disk_full") from error
    except DatabaseBusyError as error:
        raise BusyError(DATABASE_BUSY, key="error.database_busy") from error
    except BundleError as error:
        raise BadFileError(str(error), key="error.bundle", reason=str(error)) from error
    except (DatabaseDamagedError, DatabaseNewerError) as error:
        raise RefusedStartError(str(error), key="error.database_refused", reason=str(error)) from error
    except ConflictError as error:
        raise BadOptionError(CONFLICT, key="error.conflict") from error
    except StorageError as error:
        reason = str(error).rstrip(".")
        raise BusyError(f"{reason}. {DATABASE_TROUBLE}", key="error.database", reason=reason) from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise BusyError(DISK_FULL, key="error.disk_full") from error
