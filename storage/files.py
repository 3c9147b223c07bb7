"""Files of Creations, below one folder, by names that we give.

A file is there whole or not at all: it is written under a temporary name, synced, renamed, and its folder synced, before a row
may refer to it. Knows names and bytes; knows no row. Names come from ids, never from what a user typed.
"""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from collections.abc import Container, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from storage import error_map
from storage.errors import RecordNotFoundError, StorageError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_MAX_PARTS = 4
CHUNK_BYTES = 1 << 20
_TEMPORARY = ".tmp"
# Windows opens a device for these, whatever their ending.
_DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))})


def is_good_name(name: str) -> bool:
    """Whether `name` is one to four plain parts with "/" between them: no "..", no absolute path, no device, no hidden file."""
    parts = name.split("/")
    return len(parts) <= _MAX_PARTS and all(
        _NAME.fullmatch(part) and not part.endswith((".", _TEMPORARY)) and part.split(".")[0].lower() not in _DEVICES
        for part in parts
    )


class FileStore:
    """Whole files by name below `root`, which is made when the first is put."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, name: str, data: bytes | Iterable[bytes]) -> str:
        """Write a file, replacing an older one of that name; its sha256. It is on the disk when this returns.

        Raises DiskFullError, StorageError; then nothing was changed.
        """
        target = self.path(name)
        partial = target.with_name(f".{uuid.uuid4().hex}{_TEMPORARY}")
        digest = hashlib.sha256()
        try:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(handle, "wb") as file:
                for chunk in (data,) if isinstance(data, bytes) else data:
                    digest.update(chunk)
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(target)
            sync_folder(target.parent)
        except OSError as error:
            raise error_map.to_storage_error(error) from error
        finally:
            partial.unlink(missing_ok=True)
        return digest.hexdigest()

    def keep(self, folder: str, ending: str, data: bytes) -> tuple[str, str]:
        """Put a file named by its content, unless it is there whole; its name and sha256. Raises as `put`."""
        sha256 = hashlib.sha256(data).hexdigest()
        name = f"{folder}/{sha256}.{ending}"
        if self.read(name, sha256) is None:
            self.put(name, data)
        return name, sha256

    def read(self, name: str, sha256: str) -> bytes | None:
        """The file's bytes; None when it is gone or is not what it was."""
        path = self.path(name)
        data = path.read_bytes() if path.is_file() else b""
        return data if hashlib.sha256(data).hexdigest() == sha256 else None

    def path(self, name: str) -> Path:
        """Where the file is or would be. Raises StorageError for a name that leads outside, through a link too."""
        if not is_good_name(name):
            raise StorageError("This is no name of a stored file.")
        path = self._root.joinpath(*name.split("/"))
        if not path.resolve().is_relative_to(self._root.resolve()):
            raise StorageError("This is no name of a stored file.")
        return path

    def open(self, name: str) -> BinaryIO:
        """The file, for reading. Raises RecordNotFoundError when it is not there."""
        try:
            return self.path(name).open("rb")
        except (FileNotFoundError, IsADirectoryError) as error:
            raise RecordNotFoundError("file", name) from error
        except OSError as error:
            raise error_map.to_storage_error(error) from error

    def exists(self, name: str) -> bool:
        """Whether the file is there."""
        return self.path(name).is_file()

    def sha256(self, name: str) -> str:
        """The hash of the file's bytes. Raises RecordNotFoundError."""
        with self.open(name) as file:
            digest = hashlib.sha256()
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
        return digest.hexdigest()

    def delete(self, name: str) -> bool:
        """Remove the file; whether it was there."""
        try:
            self.path(name).unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise error_map.to_storage_error(error) from error
        return True

    def names(self) -> tuple[str, ...]:
        """Names of all whole files, sorted."""
        return tuple(sorted(path.relative_to(self._root).as_posix() for path in self._files() if path.suffix != _TEMPORARY))

    def sweep(self, known_names: Container[str]) -> int:
        """Remove what crashes left: temporary files, and files that no row refers to. The number removed.

        For a start only: a file put while this runs, whose row is not committed yet, would be taken for an orphan.
        """
        removed = 0
        for path in self._files():
            name = path.relative_to(self._root).as_posix()
            if path.suffix == _TEMPORARY or name not in known_names:
                path.unlink(missing_ok=True)
                removed += 1
        return removed

    def size_bytes(self) -> int:
        """Bytes of all files; those deleted meanwhile do not count."""
        total = 0
        for path in self._files():
            with suppress(FileNotFoundError):
                total += path.stat().st_size
        return total

    def _files(self) -> list[Path]:
        # Not rglob: it raises when a folder vanishes while it lists (Python 3.11).
        paths = (Path(parent, name) for parent, _, names in os.walk(self._root) for name in names)
        return [path for path in paths if path.is_file() and not path.is_symlink()]


@dataclass(frozen=True, slots=True)
class Stores:
    """All files that rows refer to."""

    media: FileStore
    """Of Creations."""
    adapters: FileStore
    """Of adapters: ID/adapter_config.json, ID/adapter_model.safetensors, ID/manifest.json."""


def sync_folder(folder: Path) -> None:
    """Make a rename in this folder permanent. Windows has no such call and needs none."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
