"""Keys of servers the user added: one JSON file that only the user can read, never the database, an export or the log.

Knows a file; knows no server, no database and no page.
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

from engine.errors import BadFileError


class SecretFile:
    """Name → key. The file is made at the first key, mode 0600, and replaced whole. Thread-safe."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"SecretFile({self._path})"

    def get(self, name: str) -> str | None:
        """Return the key, or None. Raises BadFileError when the file is damaged."""
        with self._lock:
            return self._read().get(name)

    def set(self, name: str, key: str | None) -> None:
        """Keep a key; None forgets it."""
        with self._lock:
            keys = self._read()
            if key is None and name not in keys:
                return
            if key is None:
                del keys[name]
            else:
                keys[name] = key
            self._write(keys)

    def _read(self) -> dict[str, str]:
        try:
            keys = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise self._damaged() from error
        if not isinstance(keys, dict) or not all(isinstance(key, str) for key in keys.values()):
            raise self._damaged()
        return keys

    def _write(self, keys: dict[str, str]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_name(f"{self._path.name}.partial")
        partial.unlink(missing_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(keys, file, indent=1, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, self._path)

    def _damaged(self) -> BadFileError:
        return BadFileError(
            f"The file of server keys {self._path.name} is damaged. Delete it and enter the keys again.",
            key="error.secrets",
            name=self._path.name,
        )
