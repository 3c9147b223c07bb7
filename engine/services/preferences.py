"""What the user set (language, theme, device), the space everything takes, backup and restore.

Knows storage, paths and devices' names; knows no model and no page.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from engine.device import Device, choose_device
from engine.errors import BadOptionError, RefusedStartError
from engine.safety.provenance import PRODUCER
from engine.services import restore
from engine.services.edge import storage_errors
from engine.settings import Settings
from engine.sizes import file_sizes
from storage.bundle import write_bundle
from storage.database import Database
from storage.files import FileStore, Stores
from storage.records import LOCAL_OWNER, Json

Theme = Literal["auto", "light", "dark"]
LANGUAGES = ("en", "zh")
THEMES = ("auto", "light", "dark")
_KEY = "preferences."


@dataclass(frozen=True, slots=True)
class Preferences:
    """One owner's choices. None or "auto" = nothing chosen."""

    language: str | None = None
    """"en" or "zh"; None = what the start or the browser says."""
    theme: Theme = "auto"
    """"auto" follows the system."""
    device: str = "auto"
    """From the next start on, unless a flag says otherwise."""


class PreferencesService:
    """Reads and sets preferences; makes backups while everything runs."""

    def __init__(self, database: Database, files: FileStore, settings: Settings) -> None:
        self._database = database
        self._files = files
        self._settings = settings

    @storage_errors()
    def get(self, owner_id: str = LOCAL_OWNER) -> Preferences:
        """Return the owner's preferences; what was never set, or is no longer possible, is the default."""
        with self._database.read() as uow:
            kept = uow.settings.all(owner_id)
        language, theme, device = (kept.get(_KEY + field.name) for field in fields(Preferences))
        return Preferences(
            language=language if language in LANGUAGES else None,
            theme=theme if theme in THEMES else "auto",
            device=device if isinstance(device, str) else "auto",
        )

    @storage_errors()
    def set(self, owner_id: str, **changes: str | None) -> Preferences:
        """Change language, theme or device, and return all of them. Raises BadOptionError, which names what is wrong."""
        for name, value in changes.items():
            _check(name, value)
        with self._database.write() as uow:
            for name, value in changes.items():
                uow.settings.set(owner_id, _KEY + name, value)
            uow.commit()
        return self.get(owner_id)

    def start_device(self, owner_id: str = LOCAL_OWNER) -> Device:
        """Return the device to start with: the flag's, else the chosen one, else the best there is.

        Raises RefusedStartError only for a flag: a chosen device that is gone (another machine) is no reason not to start.
        """
        if self._settings.device != "auto":
            return choose_device(self._settings.device)
        try:
            return choose_device(self.get(owner_id).device)
        except (RefusedStartError, BadOptionError):
            return choose_device("auto")

    @storage_errors()
    def space(self) -> Json:
        """Return {"data_dir", "models_dir"} as paths and {"database_bytes", "files_bytes", "models_bytes", "exports_bytes",
        "backups_bytes", "learning_bytes", "free_bytes"}: adapters and runs; free on the data folder's disk."""
        settings = self._settings
        return {
            "data_dir": str(settings.data_dir),
            "models_dir": str(settings.models_dir),
            "database_bytes": self._database.size_bytes(),
            "files_bytes": self._files.size_bytes(),
            "models_bytes": sum(file_sizes(settings.models_dir)),
            "exports_bytes": sum(file_sizes(settings.exports_dir)),
            "backups_bytes": sum(file_sizes(settings.backups_dir)),
            "learning_bytes": sum(file_sizes(settings.adapters_dir)) + sum(file_sizes(settings.runs_dir)),
            "free_bytes": shutil.disk_usage(settings.data_dir).free,
        }

    @storage_errors()
    def backup(self, path: Path | None = None) -> Path:
        """Write everything (rows of all owners, files) to one file, also while the studio runs; return its path.

        Without a path it goes to the data folder's backups. Keys of servers and weights are not in it. A file of that name
        is replaced only by a whole one. Raises BadOptionError for a folder that does not exist, BusyError for a full disk.
        """
        if path is None:
            stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
            self._settings.backups_dir.mkdir(parents=True, exist_ok=True)
            path = self._settings.backups_dir / f"tastemaker-backup-{stamp}.zip"
        return write_backup(self._database, Stores(self._files, FileStore(self._settings.adapters_dir)), path)

    def stage_restore(self, path: Path) -> Path:
        """Check a backup now; the next start puts it in place of everything there is, which is kept aside.

        Returns the staged copy. Raises BadFileError for a file that is no whole backup.
        """
        return restore.stage(self._settings, Path(path))

    def staged(self) -> bool:
        """Whether a backup waits for the next start."""
        return (self._settings.data_dir / restore.STAGED_NAME).is_file()

    def unstage_restore(self) -> None:
        """Forget the backup that waits for the next start."""
        (self._settings.data_dir / restore.STAGED_NAME).unlink(missing_ok=True)


@storage_errors()
def write_backup(database: Database, stores: Stores, path: Path) -> Path:
    """Write a backup; `path` is replaced only by a whole one. Raises BadOptionError, BusyError."""
    path = Path(path).expanduser().absolute()
    if not path.parent.is_dir() or path.is_dir() or not os.access(path.parent, os.W_OK):
        message = f"{path} cannot be written: name a file in a folder that exists and that you may write to."
        raise BadOptionError(message, key="error.backup_path", path=str(path))
    write_bundle(database, stores, path, owner_id=None, created_by=PRODUCER)
    return path


def _check(name: str, value: str | None) -> None:
    if name == "language" and (value is None or value in LANGUAGES):
        return
    if name == "theme" and value in THEMES:
        return
    if name == "device" and isinstance(value, str):
        try:
            choose_device(value)
        except RefusedStartError as error:
            raise BadOptionError(error.message, key=error.message_key, **error.values) from error
        return
    known = {"language": "en, zh or null", "theme": "auto, light or dark", "device": "auto, cpu, cuda, cuda:n or mps"}
    if name not in known:
        raise BadOptionError(f'Unknown preference: "{name}".', key="error.option_unknown", names=f'"{name}"')
    raise BadOptionError(f'"{name}" must be {known[name]}.', key="error.preference", name=name, choices=known[name])
