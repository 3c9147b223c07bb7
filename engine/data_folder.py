"""The data folder: make it, and hold it, so that two studios never write the same one.

The lock is the operating system's: it goes with the process that holds it, however that ends, so it is never stale.
Knows folders and a lock file; knows nothing of what is kept in them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from engine.errors import RefusedStartError
from engine.settings import Settings

MODE = 0o700
"""What people write is nobody else's on this machine."""


@contextmanager
def hold_data_folder(settings: Settings) -> Iterator[None]:
    """Make the data folder's parts and hold its lock for the `with` block; the temporary folder starts empty.

    Raises RefusedStartError with one sentence when it cannot be written or another studio holds it.
    """
    _make(settings.data_dir)
    lock = FileLock(settings.lock_path, mode=0o600)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise _held(settings) from error
    except OSError as error:
        raise _unwritable(settings.data_dir, error) from error
    pid_path = _pid_path(settings)
    try:
        # Removed and made again: with the lock held nobody else uses it.
        shutil.rmtree(settings.tmp_dir, ignore_errors=True)
        folders = (settings.files_dir, settings.exports_dir, settings.backups_dir, settings.runs_dir, settings.adapters_dir)
        for folder in (*folders, settings.tmp_dir):
            _make(folder)
        _write_pid(pid_path)
        yield
    finally:
        pid_path.unlink(missing_ok=True)
        lock.release()


def holder_pid(settings: Settings) -> int | None:
    """Process id of the studio that holds the data folder, when it can be told."""
    try:
        return int(_pid_path(settings).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=MODE)
        probe = folder / f".probe-{os.getpid()}"
        probe.touch(mode=0o600)
        probe.unlink()
    except OSError as error:
        raise _unwritable(folder, error) from error


def _write_pid(path: Path) -> None:
    try:
        path.write_text(f"{os.getpid()}\n", encoding="ascii")
    except OSError as error:
        raise _unwritable(path.parent, error) from error


def _pid_path(settings: Settings) -> Path:
    return settings.lock_path.with_suffix(".pid")


def _held(settings: Settings) -> RefusedStartError:
    pid = holder_pid(settings)
    who = f" (process {pid})" if pid else ""
    return RefusedStartError(
        f"Another Tastemaker{who} is using {settings.data_dir}. Stop it first, or start with another --data-dir.",
        key="error.data_dir_locked",
        path=str(settings.data_dir),
        pid=pid or 0,
    )


def _unwritable(folder: Path, error: OSError) -> RefusedStartError:
    reason = (error.strerror or str(error)).lower()
    return RefusedStartError(
        f"The folder {folder} cannot be written ({reason}). Make it writable, or start with another --data-dir.",
        key="error.data_dir_unwritable",
        path=str(folder),
        reason=reason,
    )
