"""An adapter on disk: PEFT's two files, and a manifest that says what they are and where they come from.

    <data>/adapters/<adapter_id>/adapter_config.json, adapter_model.safetensors, manifest.json

The folder appears by one rename, with the manifest in it: there is no half an adapter. Knows files; knows no torch and no
database.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from engine.errors import BadFileError
from engine.jobs.process import write_json
from engine.models.adapters import CONFIG_NAME, WEIGHTS_NAME
from engine.models.store import sha256_of, sync

MANIFEST: Final = "manifest.json"
CONFIG: Final = CONFIG_NAME
WEIGHTS: Final = WEIGHTS_NAME
_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class AdapterManifest:
    """What an adapter is."""

    adapter_id: str
    run_id: str
    task: str
    base_model_id: str
    base_sha256: str
    """Of the base model's weights; an adapter fits no others."""
    recipe: str
    settings: Mapping[str, Any]
    dataset_sha256: str
    metrics: Mapping[str, Any]
    sha256: str
    """Of adapter_model.safetensors."""
    config_sha256: str
    """Of adapter_config.json."""
    size_bytes: int
    """Of adapter_model.safetensors."""
    stopped_early: bool = False
    format: int = _FORMAT


def part_of(target: Path) -> Path:
    """The folder beside the adapter `target` in which it is put together."""
    return target.with_name(f".{target.name}.part")


def publish(part: Path, target: Path, manifest: Mapping[str, Any]) -> AdapterManifest:
    """Make the folder `part`, with PEFT's two files in it, the adapter `target`; return its manifest.

    `manifest` has the fields that are not measured here. `part` must be on the same disk as `target`.
    """
    weights, config = part / WEIGHTS, part / CONFIG
    measured = {
        "sha256": sha256_of(weights),
        "config_sha256": sha256_of(config),
        "size_bytes": weights.stat().st_size,
    }
    complete = AdapterManifest(**{**manifest, **measured})
    for path in (weights, config):
        sync(path)
    write_json(part / MANIFEST, asdict(complete))
    if target.exists():  # of an earlier attempt whose end nobody heard
        shutil.rmtree(target)
    os.replace(part, target)
    return complete


def read_manifest(folder: Path) -> AdapterManifest:
    """Read an adapter's manifest. Raises BadFileError when it is missing or not one."""
    try:
        value = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        known = {field.name for field in fields(AdapterManifest)}
        if value["format"] != _FORMAT or not known >= set(value):
            raise _damaged(folder, "its manifest is of another version")
        return AdapterManifest(**value)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, "its manifest is missing or unreadable") from error


def verify(folder: Path) -> AdapterManifest:
    """Read every file and compare it with the manifest; return that. Raises BadFileError when something differs."""
    manifest = read_manifest(folder)
    for name, wanted in ((WEIGHTS, manifest.sha256), (CONFIG, manifest.config_sha256)):
        try:
            found = sha256_of(folder / name)
        except OSError as error:
            raise _damaged(folder, f"{name} cannot be read") from error
        if found != wanted:
            raise _damaged(folder, f"{name} is not what was saved")
    return manifest


def _damaged(folder: Path, reason: str) -> BadFileError:
    text = f'The adapter {folder.name} is damaged: {reason}. Use another version or "base".'
    return BadFileError(text, key="error.adapter_damaged", name=folder.name, reason=reason)
