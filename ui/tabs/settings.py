"""The Settings tab: language, theme, device, where data lies and how much it takes, backup and restore, keys, about.

Every choice is saved when it is made. Drawn by assets/js/settings.js, worded by assets/i18n/*/settings.json.
Knows the services; knows no storage.
"""

from __future__ import annotations

import secrets
import shutil
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradio.utils import get_upload_folder

from engine import __version__
from engine.errors import BadOptionError
from ui.components.frame import Frame
from ui.components.widget import widget
from ui.handlers import Action, Answer, acting
from ui.i18n import Translator
from ui.uploads import uploaded_file

if TYPE_CHECKING:
    from engine.studio import Studio

BACKUP_FOLDER = "backup-"
SPACE = ("database_bytes", "files_bytes", "learning_bytes", "exports_bytes", "backups_bytes", "models_bytes")
CHOICES = ("language", "theme", "device")

View = dict[str, Any]


def build(studio: Studio, frame: Frame, t: Translator) -> None:
    """Mount the tab into its page."""
    page = SettingsPage(studio, t)

    widget("settings", elem_id="settings", act=acting(frame, page.actions))


class SettingsPage:
    """What the page can ask for, by the action's type."""

    def __init__(self, studio: Studio, t: Translator) -> None:
        self.studio = studio
        self.t = t
        self.actions: dict[str, Answer] = {
            "show": self.show,
            "set": self.set,
            "backup": self.backup,
            "restore": self.restore,
            "unstage": self.unstage,
        }

    def show(self, owner_id: str, action: Action) -> View:
        """Everything on the page."""
        settings, hardware, chosen = self.studio.settings, self.studio.models.hardware(), self.studio.preferences.get(owner_id)
        space = self.studio.preferences.space()
        accelerators = [] if hardware.device == "cpu" and not hardware.gpu else [_accelerator(hardware.device)]
        devices = list(dict.fromkeys(["auto", "cpu", *accelerators, chosen.device]))
        return {
            "language": chosen.language,
            "theme": chosen.theme,
            "device": {
                "chosen": chosen.device,
                "choices": devices,
                "running": hardware.device,
                "name": hardware.gpu if hardware.device != "cpu" else hardware.cpu,
                "flag": settings.device if settings.device != "auto" else None,
            },
            "space": {
                "data_dir": space["data_dir"],
                "models_dir": space["models_dir"],
                "parts": [{"name": name.removesuffix("_bytes"), "bytes": space[name]} for name in SPACE if name in space],
                "free_bytes": space.get("free_bytes"),
            },
            "database": "sqlite" if settings.database is None else "server",
            "staged": self.studio.preferences.staged(),
            "offline": bool(settings.offline),
            "warnings": list(self.studio.warnings),
            "version": __version__,
        }

    def set(self, owner_id: str, action: Action) -> View:
        """Save one choice."""
        name = action.get("name")
        if name not in CHOICES:
            raise BadOptionError(f'Unknown preference: "{name}".', key="error.option_unknown", names=f'"{name}"')
        self.studio.preferences.set(owner_id, **{str(name): action.get("value")})
        return self.show(owner_id, action)

    def backup(self, owner_id: str, action: Action) -> View:
        """Write a backup where Gradio serves files from, for the page to download; the one before it goes.

        Only the newest is kept: it lies in the temporary folder, which every start empties.
        """
        root = Path(get_upload_folder())
        root.mkdir(parents=True, exist_ok=True)
        for old in root.glob(f"{BACKUP_FOLDER}*"):
            shutil.rmtree(old, ignore_errors=True)
        folder = root / f"{BACKUP_FOLDER}{secrets.token_hex(16)}"
        folder.mkdir(mode=0o700)
        path = self.studio.preferences.backup(folder / f"tastemaker-backup-{datetime.now():%Y-%m-%d-%H%M}.zip")
        return {"path": str(path), "name": path.name, "size_bytes": path.stat().st_size}

    def restore(self, owner_id: str, action: Action) -> View:
        """Check an uploaded backup now; the next start puts it in place."""
        file = uploaded_file(action.get("path"))
        try:
            self.studio.preferences.stage_restore(file)
        finally:
            file.unlink(missing_ok=True)
        return self.show(owner_id, action)

    def unstage(self, owner_id: str, action: Action) -> View:
        """Forget the backup that waits for the next start."""
        self.studio.preferences.unstage_restore()
        return self.show(owner_id, action)


def _accelerator(device: str) -> str:
    """The choice that stands for this machine's accelerator; a CPU start does not know its number."""
    return device if device != "cpu" else "cuda"
