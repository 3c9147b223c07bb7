"""Installed weights on disk: one folder a model, with a manifest that is written last.

A model is installed when its manifest is there, is for this source, and every file it lists has its size. Folders appear
by one rename, so a half-written model is never seen. Knows no network, no torch and no database.

    <models_dir>/<id>/…, manifest.json      installed
    <models_dir>/<id>/.prepared/…           derived from the weights for this machine, not listed in the manifest
    <models_dir>/.partial/<id>/…            being fetched, or left by a fetch that broke off
    <models_dir>/.locks/<id>.lock           held while somebody fetches or removes
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias
from uuid import uuid4

from engine.errors import BadFileError, BusyError, StudioError
from engine.models.catalog import AssetsSource, LocalSource, ModelSpec, ServerSource, parse_source
from engine.models.pipeline_folder import is_whole
from engine.sizes import file_sizes

State: TypeAlias = Literal["missing", "partial", "installed"]
MANIFEST = "manifest.json"
PREPARED = ".prepared"
_FORMAT = 1
_CHUNK_BYTES = 4 * 2**20


class ModelStore:
    """The models folder. Safe to use from several processes at once."""

    def __init__(self, models_dir: Path, assets_dir: Path | None = None) -> None:
        self.models_dir = models_dir
        self._assets_dir = assets_dir

    def state(self, spec: ModelSpec) -> State:
        """Say whether the model can be loaded. Servers always can; local folders while they exist."""
        source = parse_source(spec.source)
        if isinstance(source, ServerSource):
            return "installed"
        if isinstance(source, LocalSource | AssetsSource):
            if spec.task == "image":
                return "installed" if is_whole(self.path(spec), spec.family) else "missing"
            return "installed" if (self.path(spec) / "config.json").is_file() else "missing"
        manifest = self.manifest(spec)
        if manifest is not None and all(_has_size(self.path(spec) / name, row) for name, row in manifest["files"].items()):
            return "installed"
        return "partial" if self.partial_path(spec).exists() or self.path(spec).exists() else "missing"

    def path(self, spec: ModelSpec) -> Path:
        """Folder that holds the model's files, or will.

        A folder of the model's id in the models folder takes the place of weights that come with the studio: newly trained ones
        can be tried there.
        """
        source = parse_source(spec.source)
        if isinstance(source, LocalSource):
            return source.folder
        if isinstance(source, AssetsSource):
            own = self.models_dir / _folder_name(spec)
            if own.is_dir():
                return own
            if self._assets_dir is None:
                raise BadFileError("This studio came without its own weights.", key="error.assets_missing")
            return self._assets_dir / source.path
        return self.models_dir / _folder_name(spec)

    def partial_path(self, spec: ModelSpec) -> Path:
        """Folder where a fetch gathers the files before they are verified."""
        return self.models_dir / ".partial" / _folder_name(spec)

    def prepared_path(self, spec: ModelSpec) -> Path:
        """Folder for what a backend derives from the weights for this machine; it can be made again at any time.

        Inside the model's own folder, so that it goes with it; beside it for folders that are the user's own.
        """
        return self.path(spec) / PREPARED if spec.is_stored else self.models_dir / PREPARED / _folder_name(spec)

    def lock_path(self, spec: ModelSpec) -> Path:
        """Lock file that a fetch or a removal of this model holds; its folder is made."""
        folder = self.models_dir / ".locks"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{_folder_name(spec)}.lock"

    def manifest(self, spec: ModelSpec) -> Mapping[str, Any] | None:
        """The manifest of an installed model: {format, id, source, revision, files: {name: {sha256, size_bytes}}}."""
        try:
            manifest = json.loads((self.path(spec) / MANIFEST).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        good = isinstance(manifest, dict) and manifest.get("format") == _FORMAT and manifest.get("source") == spec.source
        return manifest if good and isinstance(manifest.get("files"), dict) else None

    def size_bytes(self, spec: ModelSpec) -> int:
        """Bytes on disk, half-fetched ones too; 0 for servers and for folders that are the user's own."""
        if not spec.is_stored:
            return 0
        return sum(size for folder in (self.path(spec), self.partial_path(spec)) for size in file_sizes(folder))

    def verify(self, spec: ModelSpec) -> None:
        """Read every file and compare it with the manifest; raises BadFileError naming the first that differs."""
        if not spec.is_stored:
            return
        manifest = self.manifest(spec)
        if manifest is None:
            raise BadFileError(f"{spec.name} is not installed.", key="error.model_missing", name=spec.name)
        for name, row in manifest["files"].items():
            path = self.path(spec) / name
            if not _has_size(path, row) or sha256_of(path) != row["sha256"]:
                raise BadFileError(
                    f"{spec.name} is damaged ({name} differs from what was installed). Remove it and get it again.",
                    key="error.model_damaged",
                    name=spec.name,
                    file=name,
                )

    def remove(self, spec: ModelSpec) -> None:
        """Delete an installed or half-fetched model and what was derived of it; a user's own folder is never touched.

        Raises BusyError while it is being fetched.
        """
        if not spec.is_stored:
            self._discard(self.prepared_path(spec))
            return
        from filelock import FileLock, Timeout

        try:
            with FileLock(self.lock_path(spec), timeout=0):
                self._discard(self.path(spec))
                self._discard(self.partial_path(spec))
        except Timeout as error:
            text = f"{spec.name} is being downloaded. Cancel that first."
            raise BusyError(text, key="error.model_busy", name=spec.name) from error

    def install(self, spec: ModelSpec, folder: Path, *, revision: str = "") -> None:
        """Make `folder` (inside the partial folder) the installed model. The caller holds the lock and has verified the files."""
        names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        files = {name: {"sha256": sha256_of(folder / name), "size_bytes": (folder / name).stat().st_size} for name in names}
        manifest = {"format": _FORMAT, "id": spec.id, "source": spec.source, "revision": revision, "files": files}
        for name in names:
            sync(folder / name)
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True), encoding="utf-8")
        sync(folder / MANIFEST)
        target = self.path(spec)
        if target.exists():
            self._discard(target)
        os.replace(folder, target)
        _sync_folder(self.models_dir)

    def require_space(self, spec: ModelSpec) -> None:
        """Raise StudioError when the disk cannot take the download and what becomes of it."""
        self.models_dir.mkdir(parents=True, exist_ok=True)
        need = spec.download_bytes + spec.size_bytes + 100_000_000
        have = shutil.disk_usage(self.models_dir).free
        if have < need:
            raise StudioError(
                f"{spec.name} needs {gigabytes(need)} of disk, have {gigabytes(have)}. Free some space, then try again.",
                key="error.disk_space",
                name=spec.name,
                needs=gigabytes(need),
                have=gigabytes(have),
            )

    def _discard(self, folder: Path) -> None:
        """Make a folder vanish at once, then delete it: nobody ever sees half of it."""
        if not folder.exists():
            return
        grave = self.models_dir / ".partial" / f"trash-{uuid4().hex}"
        grave.parent.mkdir(parents=True, exist_ok=True)
        os.replace(folder, grave)
        shutil.rmtree(grave)


def sha256_of(path: Path, on_bytes: Callable[[int], None] | None = None) -> str:
    """Hash a file; `on_bytes` hears how many bytes each chunk had and may raise to stop."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            if on_bytes is not None:
                on_bytes(len(chunk))
    return digest.hexdigest()


class KnownHashes:
    """sha256 of files; their bytes are read again only when size or time have changed."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, int], str]] = {}

    def sha256(self, path: Path) -> str:
        """Of the file as it is now. Raises OSError."""
        stat = path.stat()
        signature = (stat.st_size, stat.st_mtime_ns)
        known = self._known.get(path)
        if known is None or known[0] != signature:
            known = self._known[path] = (signature, sha256_of(path))
        return known[1]


def gigabytes(size_bytes: int) -> str:
    """A size as people read it: "1.2 GB", "340 MB"."""
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 950_000_000 else f"{size_bytes / 1e6:.0f} MB"


def _folder_name(spec: ModelSpec) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", spec.id):
        raise BadFileError(f'"{spec.id}" cannot be a model id.', key="error.model_id", model=spec.id)
    return spec.id


def _has_size(path: Path, row: Mapping[str, Any]) -> bool:
    try:
        return path.stat().st_size == int(row["size_bytes"])
    except OSError:
        return False


def sync(path: Path) -> None:
    """Wait until a file's bytes are on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
