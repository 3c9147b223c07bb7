"""What the person who starts the studio decides: flags, TASTEMAKER_… variables and their defaults, checked once.

Knows where things lie (data folder, model folder, database, lock); knows no model, no table and no page, and creates nothing.
The data folder's default is the platform's own place for a user's data, never the checkout.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import platformdirs
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from engine.errors import RefusedStartError

APP_NAME = "tastemaker"
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


class Settings(BaseSettings):
    """One start's settings. A flag wins over its variable TASTEMAKER_<NAME>, which wins over the default."""

    model_config = SettingsConfigDict(env_prefix="TASTEMAKER_", env_ignore_empty=True, frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    """Address to listen on; only this machine's own ones for now."""
    port: int = Field(default=7860, ge=1, le=65535)
    data_dir: Path = Field(default_factory=lambda: Path(platformdirs.user_data_dir(APP_NAME, appauthor=False)))
    """Creations, ratings, files, exports, keys. One running studio for each."""
    models_dir: Path = Field(default_factory=lambda: Path(platformdirs.user_cache_dir(APP_NAME, appauthor=False)) / "models")
    """Weights; fetched once and used by every data folder."""
    database: str | None = Field(default=None, repr=False)
    """SQLAlchemy URL (sqlite:///… or postgresql+psycopg://…); None = a SQLite file in the data folder."""
    device: str = "auto"
    share: bool = False
    auth: SecretStr | None = None
    """USER:PASS or a file of such lines, for the shared profile."""
    offline: bool = False
    """Never use the network."""
    no_browser: bool = False
    lang: Literal["en", "zh"] | None = None
    """Language of the pages when the user has not chosen one; None = the browser's."""

    read_pages: int = Field(default=500, ge=1, le=100_000)
    """Pages that are read of one PDF."""
    read_text_mb: float = Field(default=5.0, gt=0, le=1_000)
    """Text that is read of one document, in MB of UTF-8."""
    read_seconds: float = Field(default=60.0, ge=1, le=86_400)
    """Time that reading one document may take."""
    read_memory_mb: int = Field(default=1_024, ge=512, le=1_048_576)
    """Memory that the process which reads documents may take."""
    read_urls: bool = False
    """Offer to fetch a web page from its address, when the studio is used on this machine only."""

    @field_validator("data_dir", "models_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("device")
    @classmethod
    def _known_device(cls, value: str) -> str:
        if not _DEVICE.fullmatch(value):
            raise ValueError("must be auto, cpu, cuda, cuda:0, cuda:1, … or mps")
        return value

    @property
    def database_url(self) -> str:
        """The URL to open."""
        return self.database or f"sqlite:///{self.data_dir / 'tastemaker.db'}"

    @property
    def may_fetch_pages(self) -> bool:
        """Whether web pages are fetched by their address: asked for, and the network may be used."""
        return self.read_urls and not self.offline

    @property
    def is_loopback(self) -> bool:
        """Whether `host` can only be reached from this machine."""
        if self.host.lower() == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False

    @property
    def files_dir(self) -> Path:
        """Media of Creations, named by their hash."""
        return self.data_dir / "files"

    @property
    def thumbnails_dir(self) -> Path:
        """Small copies of pictures for lists; made again when they are missing."""
        return self.data_dir / "thumbnails"

    @property
    def exports_dir(self) -> Path:
        """What was exported, until the user deletes it."""
        return self.data_dir / "exports"

    @property
    def backups_dir(self) -> Path:
        """Copies of the database made before it is migrated or restored."""
        return self.data_dir / "backups"

    @property
    def runs_dir(self) -> Path:
        """One folder for each child process: its job, events and checkpoints."""
        return self.data_dir / "runs"

    @property
    def adapters_dir(self) -> Path:
        """What training made: one folder for each adapter, named by its id."""
        return self.data_dir / "adapters"

    @property
    def tmp_dir(self) -> Path:
        """Emptied at each start."""
        return self.data_dir / "tmp"

    @property
    def logs_dir(self) -> Path:
        """What went wrong, for people who help."""
        return self.data_dir / "logs"

    @property
    def lock_path(self) -> Path:
        """Held by the running studio."""
        return self.data_dir / "tastemaker.lock"

    @property
    def secrets_path(self) -> Path:
        """Keys of servers the user added; readable by the user only, never in the database, a backup or an export."""
        return self.data_dir / "secrets.json"


def read_settings(flags: Mapping[str, Any]) -> Settings:
    """Settings from the given flags, the environment and the defaults.

    Raises RefusedStartError with one sentence that names the first bad flag or variable and what it may be.
    """
    try:
        return Settings(**flags)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        flag = f"--{name.replace('_', '-')}" if name in flags else f"TASTEMAKER_{name.upper()}"
        reason = str(first["msg"]).removeprefix("Value error, ")
        reason = reason[:1].lower() + reason[1:]
        raise RefusedStartError(
            f"{flag}: {reason}; see `python launch.py --help`.", key="error.bad_setting", name=flag
        ) from error
