"""Checkpoints that can be trusted: a marker with the hash of every file, written last.

The Trainer writes its files in place, so a folder may be half written when the power goes. Only a folder whose marker is there
and right is resumed from; the others are named and left alone until the run is done. Knows files; knows no torch.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engine.jobs.process import write_json
from engine.models.store import sha256_of, sync

MARKER: Final = "COMPLETE.json"
KEPT: Final = 2
_NAME = re.compile(r"checkpoint-(\d+)")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One whole checkpoint."""

    step: int
    folder: Path


def complete(folder: Path) -> Checkpoint:
    """Mark what the Trainer wrote to `folder` as whole; older checkpoints but one are deleted then."""
    step = _step(folder)
    files = {path.name: sha256_of(path) for path in sorted(folder.iterdir()) if path.is_file() and path.name != MARKER}
    for name in files:
        sync(folder / name)
    write_json(folder / MARKER, {"step": step, "sha256": files})
    whole = [path for path in _newest_first(folder.parent) if (path / MARKER).is_file()]
    for old in whole[KEPT:]:
        discard(old)
    return Checkpoint(step, folder)


def newest(folder: Path) -> tuple[Checkpoint | None, tuple[str, ...]]:
    """Return the newest whole checkpoint under `folder` and the names of the newer, broken ones."""
    broken: list[str] = []
    for path in _newest_first(folder):
        if _is_whole(path):
            return Checkpoint(_step(path), path), tuple(broken)
        broken.append(path.name)
    return None, tuple(broken)


def discard(folder: Path) -> None:
    """Delete a checkpoint, its marker first: half of it is never whole."""
    (folder / MARKER).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _is_whole(folder: Path) -> bool:
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        files = dict(marker["sha256"])
        return marker["step"] == _step(folder) and bool(files) and all(sha256_of(folder / n) == h for n, h in files.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _newest_first(folder: Path) -> list[Path]:
    found = [path for path in folder.glob("checkpoint-*") if path.is_dir() and _NAME.fullmatch(path.name)]
    return sorted(found, key=_step, reverse=True)


def _step(folder: Path) -> int:
    match = _NAME.fullmatch(folder.name)
    return int(match.group(1)) if match else -1
