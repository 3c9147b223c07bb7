"""The subcommands of launch.py: backup, restore, export, import, doctor, models.

Each prints plain lines and ends with 0, or with 2 and one line that says what to do. backup, export, doctor and models work
beside a running studio; restore and import hold the data folder's lock. Knows storage and services; knows no page, no torch.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.data_folder import hold_data_folder
from engine.errors import BadOptionError, NotFoundError, RefusedStartError, StudioError
from engine.jobs.job import CancelToken
from engine.models.catalog import Catalog, ModelSpec, load_catalog
from engine.models.fetch import fetch
from engine.models.store import ModelStore, gigabytes
from engine.services.doctor import examine
from engine.services.edge import storage_errors
from engine.services.export import ExportService
from engine.services.preferences import write_backup
from engine.services.restore import restore, sqlite_path
from engine.settings import Settings
from storage.database import Database, open_database
from storage.files import FileStore, Stores
from storage.records import LOCAL_OWNER

ASSETS_DIR = Path(__file__).resolve().parent.parent / "assets"
_PROGRESS_EVERY_S = 1.0


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Run the subcommand `args.command` and return the exit code."""
    commands = {
        "backup": _backup,
        "restore": _restore,
        "export": _export,
        "import": _import,
        "doctor": _doctor,
        "models": _models,
    }
    try:
        with storage_errors():
            return commands[args.command](args, settings)
    except StudioError as error:
        _complain(str(error))
    except BrokenPipeError:  # whoever read the lines has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        _complain(f"{error.filename or 'A file'}: {error.strerror or error}. Nothing was changed.")
    return 2


def _backup(args: argparse.Namespace, settings: Settings) -> int:
    with _library(settings) as database:
        path = write_backup(database, _stores(settings), Path(args.file))
    _say(f"Backed up to {path} ({gigabytes(path.stat().st_size)}). Weights of models and keys of servers are not in it.")
    return 0


def _restore(args: argparse.Namespace, settings: Settings) -> int:
    with hold_data_folder(settings):
        aside = restore(settings, Path(args.file).expanduser().absolute())
    _say(f"Restored {args.file}." + (f" What was there before lies in {aside}." if aside else ""))
    return 0


def _export(args: argparse.Namespace, settings: Settings) -> int:
    target = Path(args.file).expanduser().absolute()
    if not target.parent.is_dir() or target.is_dir():
        raise BadOptionError(f"{target} cannot be written: its folder does not exist, or it is one.", key="error.export_path")
    with _library(settings) as database, tempfile.TemporaryDirectory(prefix=".export-", dir=target.parent) as folder:
        service = ExportService(database, _stores(settings), exports_dir=Path(folder), tmp_dir=Path(folder))
        made = service.export(LOCAL_OWNER, LOCAL_OWNER, format=args.format)
        os.replace(made.path, target)
    _say(f"Exported {made.rows:,} rows as {args.format} to {target}.")
    return 0


def _import(args: argparse.Namespace, settings: Settings) -> int:
    with hold_data_folder(settings):
        database = open_database(settings.database_url, backup_dir=settings.backups_dir)
        try:
            service = ExportService(database, _stores(settings), exports_dir=settings.exports_dir, tmp_dir=settings.tmp_dir)
            result = service.import_file(LOCAL_OWNER, LOCAL_OWNER, Path(args.file).expanduser().absolute())
        finally:
            database.close()
    for _, sentence in result.errors:
        _complain(sentence)
    if result.errors:
        _complain("Nothing was imported. Correct these rows and try again.")
        return 2
    _say(f"Imported {result.added:,} rows; {result.skipped:,} were already there.")
    return 0


def _doctor(args: argparse.Namespace, settings: Settings) -> int:
    levels = set()
    for finding in examine(settings, _catalog(), ASSETS_DIR):
        levels.add(finding.level)
        _say(str(finding))
    _say("Something is broken; the lines with fail say what to do." if "fail" in levels else "Nothing is broken.")
    return 2 if "fail" in levels else 0


def _models(args: argparse.Namespace, settings: Settings) -> int:
    catalog, store = _catalog(), ModelStore(settings.models_dir, ASSETS_DIR)
    if args.action == "list":
        for spec in catalog.list():
            size = gigabytes(spec.size_bytes)
            _say(f"{store.state(spec):<10}  {spec.id:<24}  {size:>8}  {spec.licence:<12}  {spec.name}")
        return 0
    if not args.model_id:
        raise BadOptionError(f"Say which model to {args.action}; `python launch.py models` lists them.", key="error.which_model")
    spec = _stored_spec(catalog, args.model_id)
    if args.action == "get":
        _get(spec, store, settings)
    elif args.action == "remove":
        store.remove(spec)
        _say(f"{spec.name} is removed.")
    else:
        store.verify(spec)
        _say(f"{spec.name} is whole.")
    return 0


def _get(spec: ModelSpec, store: ModelStore, settings: Settings) -> None:
    if store.state(spec) == "installed":
        store.verify(spec)
        _say(f"{spec.name} is already installed, and whole.")
        return
    if settings.offline:
        raise BadOptionError(f"{spec.name} cannot be got with --offline.", key="error.model_offline_get", name=spec.name)
    spoke_at_s = 0.0

    def on_event(event: Mapping[str, Any]) -> None:
        nonlocal spoke_at_s
        now_s = time.monotonic()
        if now_s - spoke_at_s >= _PROGRESS_EVERY_S and event["total_bytes"]:
            spoke_at_s = now_s
            _say(f"{event['phase']}  {gigabytes(event['step_bytes'])} of {gigabytes(event['total_bytes'])}")

    with tempfile.TemporaryDirectory(prefix="tastemaker-get-") as folder:
        fetch(spec, store, Path(folder), on_event, CancelToken())
    _say(f"{spec.name} is installed.")


def _stored_spec(catalog: Catalog, model_id: str) -> ModelSpec:
    spec = catalog.find(model_id)
    if spec is None or not spec.is_stored:
        message = f'There is no model "{model_id}"; `python launch.py models` lists them.'
        raise NotFoundError(message, key="error.model_unknown", model=model_id)
    return spec


@contextmanager
def _library(settings: Settings) -> Iterator[Database]:
    """Open the library that is there; a command that only reads must not make an empty one."""
    path = sqlite_path(settings)
    if path is not None and not path.exists():
        message = f"There is no library in {path.parent}; check --data-dir."
        raise RefusedStartError(message, key="error.no_library", path=str(path.parent))
    database = open_database(settings.database_url, backup_dir=settings.backups_dir)
    try:
        yield database
    finally:
        database.close()


def _stores(settings: Settings) -> Stores:
    return Stores(FileStore(settings.files_dir), FileStore(settings.adapters_dir))


def _catalog() -> Catalog:
    return load_catalog(ASSETS_DIR / "models.yaml")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _complain(line: str) -> None:
    sys.stderr.write(f"tastemaker: {line}\n")
