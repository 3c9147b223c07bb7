"""Looks over everything the studio stands on and says what is wrong, one line each, with a way out. Changes nothing.

Works beside a running studio. Knows storage, the model store and versions; knows no page.
"""

from __future__ import annotations

import os
import platform
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from engine.data_folder import holder_pid
from engine.errors import StudioError
from engine.models.catalog import AssetsSource, Catalog, parse_source
from engine.models.store import ModelStore, gigabytes
from engine.services.edge import storage_errors
from engine.services.model_list import ModelList
from engine.services.restore import STAGED_NAME, sqlite_path
from engine.services.secret import SecretFile
from engine.settings import Settings
from storage import schema, sqlite
from storage.database import Database, open_database
from storage.errors import StorageError
from storage.files import FileStore
from storage.records import LOCAL_OWNER, CreationFilter

Level = Literal["ok", "warn", "fail"]

PACKAGE_FLOORS = {"torch": (2, 10), "transformers": (5, 3), "gradio": (6, 31), "SQLAlchemy": (2, 1)}
"""Below these there are known holes (pickle, remote code, file access) or other behaviour."""
LOW_DISK_BYTES = 2_000_000_000
FULL_DISK_BYTES = 200_000_000
_NAMED = 5
"""How many files of a kind of trouble are named; the rest are counted."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, how it is, and for warn and fail what to do."""

    level: Level
    what: str
    text: str

    def __str__(self) -> str:
        return f"{self.level:<4}  {self.what}: {self.text}"


def examine(settings: Settings, catalog: Catalog, assets_dir: Path | None = None) -> Iterator[Finding]:
    """Yield the findings as they come; reading all files and weights can take a while."""
    yield from _versions()
    yield from _data_dir(settings)
    yield from _disk(settings)
    database, findings = _open(settings)
    yield from findings
    try:
        if database is not None:
            yield from _guarded("database", lambda: list(_database(database)))
            yield from _guarded("files", lambda: list(_files(database, FileStore(settings.files_dir))))
        yield from _guarded("models", lambda: list(_models(settings, catalog, database, assets_dir)))
    finally:
        if database is not None:
            database.close()
    yield Finding("ok", "network", "off (--offline)" if settings.offline else "used only to get models; --offline turns it off")


def _versions() -> Iterator[Finding]:
    yield Finding("ok", "python", platform.python_version())
    for package, floor in PACKAGE_FLOORS.items():
        try:
            found = version(package)
        except PackageNotFoundError:
            yield Finding("fail", package, "not installed; run `pip install -r requirements.txt`")
            continue
        if _numbers(found) >= floor:
            yield Finding("ok", package, found)
        else:
            wanted = ".".join(str(number) for number in floor)
            yield Finding("fail", package, f"{found} is too old; install {wanted} or newer (`pip install -r requirements.txt`)")
    linked = sqlite.driver().sqlite_version
    if sqlite.is_wal_safe(_numbers(linked)):
        yield Finding("ok", "sqlite", linked)
    else:
        yield Finding(
            "warn", "sqlite", f"{linked} has a known bug, so a slower mode is used; `pip install pysqlite3` brings a newer one"
        )


def _data_dir(settings: Settings) -> Iterator[Finding]:
    folder = settings.data_dir
    if not folder.is_dir():
        yield Finding("warn", "data folder", f"{folder} does not exist yet; the first start makes it")
        return
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        yield Finding("fail", "data folder", f"{folder} cannot be written; make it writable, or use another --data-dir")
        return
    yield Finding("ok", "data folder", str(folder))
    yield Finding("ok", "lock", _lock_state(settings))
    if (folder / STAGED_NAME).is_file():
        yield Finding("warn", "restore", "a backup waits and replaces the library at the next start")
    if settings.secrets_path.is_file() and os.name == "posix" and stat.S_IMODE(settings.secrets_path.stat().st_mode) & 0o077:
        yield Finding("warn", "keys", f"others can read {settings.secrets_path}; run `chmod 600` on it")
    yield from _guarded("keys", lambda: _keys(settings))


def _keys(settings: Settings) -> list[Finding]:
    SecretFile(settings.secrets_path).get("")  # raises when the file is damaged
    return []


def _lock_state(settings: Settings) -> str:
    if not settings.lock_path.exists():
        return "free"
    try:
        with FileLock(settings.lock_path, timeout=0):
            return "free"
    except Timeout:
        pid = holder_pid(settings)
        return f"held by a running studio{f' (process {pid})' if pid else ''}"


def _disk(settings: Settings) -> Iterator[Finding]:
    for what, folder in (("data disk", settings.data_dir), ("models disk", settings.models_dir)):
        place = next((path for path in (folder, *folder.parents) if path.exists()), Path("/"))
        free = shutil.disk_usage(place).free
        text = f"{gigabytes(free)} free in {folder}"
        if free < FULL_DISK_BYTES:
            yield Finding("fail", what, f"{text}; nothing can be kept: free some space")
        elif free < LOW_DISK_BYTES:
            yield Finding("warn", what, f"{text}; free some space before getting models")
        else:
            yield Finding("ok", what, text)


def _open(settings: Settings) -> tuple[Database | None, list[Finding]]:
    """Open the database only when that changes nothing: it is there and up to date."""
    path = sqlite_path(settings)
    try:
        with storage_errors():
            if path is not None:
                if not path.exists():
                    sqlite.check_absent(path)
                    return None, [Finding("warn", "database", f"{path} does not exist yet; the first start makes it")]
                sqlite.check_header(path)
                if not schema.is_current(sqlite.check_identity(path)):
                    text = f"{path} is of an older version; the next start backs it up and migrates it"
                    return None, [Finding("warn", "database", text)]
            return open_database(settings.database_url), []
    except StudioError as error:
        return None, [Finding("fail", "database", f"{error} `python launch.py restore FILE` puts a backup in its place")]


def _database(database: Database) -> Iterator[Finding]:
    for warning in database.warnings:
        yield Finding("warn", "database", warning)
    troubles = database.check()
    for trouble in troubles[:_NAMED]:
        yield Finding("fail", "database", f"{trouble} Make a copy of the data folder, then restore a backup.")
    if not troubles:
        with database.read() as uow:
            total = sum(
                uow.creations.search(LOCAL_OWNER, LOCAL_OWNER, CreationFilter(trashed=trashed), page=1, page_size=1).total
                for trashed in (False, True)
            )
        yield Finding("ok", "database", f"{database.dialect}, sound, {total:,} creations")


def _files(database: Database, files: FileStore) -> Iterator[Finding]:
    with database.read() as uow:
        wanted: dict[str, str | None] = dict(uow.inputs.files())
        for trashed in (False, True):
            items = uow.creations.each(LOCAL_OWNER, LOCAL_OWNER, CreationFilter(trashed=trashed))
            wanted.update({one.creation.media_name: one.creation.media_sha256 for one in items if one.creation.media_name})
        here = {name: files.sha256(name) for name in wanted if files.exists(name)}
        missing = [name for name in wanted if name not in here]
        changed = [name for name, sha256 in here.items() if sha256 != wanted[name]]
        orphans = sorted(set(files.names()) - uow.creations.media_names())
    for names, text in ((missing, "missing"), (changed, "damaged")):
        if names:
            yield Finding("fail", "files", f"{len(names)} {text} ({_some(names)}); restore a backup to get them back")
    if orphans:
        yield Finding("warn", "files", f"{len(orphans)} belong to nothing ({_some(orphans)}); the next start removes them")
    if not missing and not changed:
        yield Finding("ok", "files", f"{len(wanted):,}, all whole")


def _models(settings: Settings, catalog: Catalog, database: Database | None, assets_dir: Path | None) -> Iterator[Finding]:
    store = ModelStore(settings.models_dir, assets_dir)
    specs = catalog.list()
    if database is not None:
        specs = ModelList(catalog, database, SecretFile(settings.secrets_path)).specs()
    for spec in specs:
        what, state = f"model {spec.id}", store.state(spec)
        try:
            if state == "installed":
                store.verify(spec)
                yield Finding("ok", what, "whole" if spec.is_stored else spec.source)
            elif state == "partial":
                yield Finding("warn", what, f"half downloaded; `python launch.py models get {spec.id}` goes on with it")
            elif isinstance(parse_source(spec.source), AssetsSource):
                yield Finding("warn", what, "not in this copy of the studio")
            elif not spec.is_stored:
                yield Finding("fail", what, f"{spec.source} is gone; put it back, or remove the model on the Models page")
            elif spec.is_starter:
                yield Finding("warn", what, f"not installed; `python launch.py models get {spec.id}` gets it")
        except StudioError as error:
            yield Finding("fail", what, str(error))


def _guarded(what: str, look: Callable[[], list[Finding]]) -> list[Finding]:
    """One part that cannot be looked at must not keep the others from being looked at."""
    try:
        with storage_errors():
            return look()
    except (StudioError, StorageError) as error:
        return [Finding("fail", what, str(error))]
    except OSError as error:
        text = f"{error.filename or what} cannot be read: {error.strerror or error}; check its permissions"
        return [Finding("fail", what, text)]


def _some(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")


def _numbers(text: str) -> tuple[int, ...]:
    numbers = []
    for part in text.split("+")[0].split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)
