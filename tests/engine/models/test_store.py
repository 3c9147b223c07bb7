"""What counts as installed, what verifying finds, what removing leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.errors import BadFileError
from engine.models.catalog import ModelSpec
from engine.models.store import ModelStore, gigabytes

SPEC = ModelSpec("a-model", "A model", "text", "llama", "wheel:a==1:b")


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


@pytest.fixture
def installed(store: ModelStore) -> ModelStore:
    folder = store.partial_path(SPEC) / "files"
    (folder / "1_Pooling").mkdir(parents=True)
    (folder / "weights.bin").write_bytes(b"0123456789" * 100)
    (folder / "1_Pooling" / "config.json").write_text("{}", encoding="utf-8")
    store.install(SPEC, folder)
    return store


def test_nothing_is_missing_and_a_begun_one_is_partial(store: ModelStore) -> None:
    assert store.state(SPEC) == "missing" and store.size_bytes(SPEC) == 0
    store.partial_path(SPEC).mkdir(parents=True)
    assert store.state(SPEC) == "partial"


def test_installed_means_manifest_and_every_file(installed: ModelStore) -> None:
    assert installed.state(SPEC) == "installed"
    installed.verify(SPEC)
    manifest = installed.manifest(SPEC)
    assert manifest is not None and set(manifest["files"]) == {"weights.bin", "1_Pooling/config.json"}
    (installed.path(SPEC) / "manifest.json").unlink()
    assert installed.state(SPEC) == "partial"


@pytest.mark.parametrize("damage", ["shorter", "gone", "manifest"])
def test_visible_damage_is_not_installed(installed: ModelStore, damage: str) -> None:
    weights = installed.path(SPEC) / "weights.bin"
    if damage == "shorter":
        weights.write_bytes(b"0")
    elif damage == "gone":
        weights.unlink()
    else:
        (installed.path(SPEC) / "manifest.json").write_text("{", encoding="utf-8")
    assert installed.state(SPEC) == "partial"
    with pytest.raises(BadFileError):
        installed.verify(SPEC)


def test_one_flipped_bit_is_found(installed: ModelStore) -> None:
    weights = installed.path(SPEC) / "weights.bin"
    data = bytearray(weights.read_bytes())
    data[500] ^= 1
    weights.write_bytes(data)
    assert installed.state(SPEC) == "installed"  # sizes look right
    with pytest.raises(BadFileError, match=r"weights\.bin differs"):
        installed.verify(SPEC)


def test_another_version_of_the_source_is_not_this_one(installed: ModelStore) -> None:
    newer = ModelSpec("a-model", "A model", "text", "llama", "wheel:a==2:b")
    assert installed.state(newer) == "partial"


def test_remove_leaves_nothing_and_touches_no_users_folder(installed: ModelStore, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "config.json").write_text("{}", encoding="utf-8")
    local = ModelSpec("own", "Own", "text", "llama", f"local:{own}")
    assert installed.state(local) == "installed"
    installed.remove(local)
    assert (own / "config.json").exists()
    installed.remove(SPEC)
    assert installed.state(SPEC) == "missing" and installed.size_bytes(SPEC) == 0


def test_installing_again_replaces_the_old_one(installed: ModelStore) -> None:
    folder = installed.partial_path(SPEC) / "files"
    folder.mkdir(parents=True)
    (folder / "new.bin").write_bytes(b"n")
    installed.install(SPEC, folder, revision="abc")
    assert {path.name for path in installed.path(SPEC).iterdir()} == {"new.bin", "manifest.json"}
    assert json.loads((installed.path(SPEC) / "manifest.json").read_text(encoding="utf-8"))["revision"] == "abc"


@pytest.mark.parametrize("model_id", ["../up", "a/b", "", ".hidden", "x" * 200, "a\0b"])
def test_ids_that_are_no_folder_names_are_refused(store: ModelStore, model_id: str) -> None:
    with pytest.raises(BadFileError):
        store.path(ModelSpec(model_id, "x", "text", "llama", "wheel:a==1:b"))


def test_sizes_read_well() -> None:
    assert (gigabytes(340_000_000), gigabytes(1_240_000_000), gigabytes(999_000_000)) == ("340 MB", "1.2 GB", "1.0 GB")


def test_newly_trained_weights_in_the_models_folder_come_before_those_of_the_studio(tmp_path: Path) -> None:
    shipped, own = tmp_path / "assets" / "models" / "own", tmp_path / "models" / "own"
    store = ModelStore(tmp_path / "models", tmp_path / "assets")
    spec = ModelSpec("own", "Own", "image", "sd", "assets:models/own")
    assert store.path(spec) == shipped and store.state(spec) == "missing"
    own.mkdir(parents=True)
    (own / "model_index.json").write_text("{}")
    assert store.path(spec) == own and store.state(spec) == "installed"
