"""Fetching from a hub: pinned to a commit, safetensors only, every file checked, whole files kept."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from engine.errors import BadFileError, NoModelError
from engine.image.pipelines import PipelineModel
from engine.image.placement import Placement
from engine.jobs.job import CancelToken
from engine.models.catalog import ModelSpec
from engine.models.fetch import fetch
from engine.models.pipeline_folder import inspect_pipeline
from engine.models.store import ModelStore
from tests.engine.image.tiny_pipelines import write_stable_diffusion
from tests.engine.models.hub import COMMIT, Hub
from tests.tiny import CPU, make_model

EXTRA = {"pytorch_model.bin": b"\x80pickle", "modeling_tiny.py": b"import os", "README.md": b"# hi"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = make_model(tmp_path_factory.mktemp("model"))
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelStore:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    return ModelStore(tmp_path / "models")


def spec(revision: str = "main", **fields: object) -> ModelSpec:
    return ModelSpec("tiny-hub", "Tiny hub", "text", "llama", f"hub:org/tiny@{revision}", **fields)  # type: ignore[arg-type]


def get(model: ModelSpec, store: ModelStore, job_dir: Path) -> None:
    fetch(model, store, job_dir, lambda event: None, CancelToken())


def test_takes_weights_and_tokenizer_never_code_or_pickles_and_records_the_commit(
    store: ModelStore, files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Hub({**files, **EXTRA}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        get(spec(), store, tmp_path / "job")
        assert not set(hub.sent) & set(EXTRA)
    assert store.state(spec()) == "installed"
    assert {path.name for path in store.path(spec()).iterdir()} == {*files, "manifest.json"}
    manifest = store.manifest(spec())
    assert manifest is not None and manifest["revision"] == COMMIT


def test_a_changed_file_is_refused_and_what_was_whole_is_not_fetched_again(
    store: ModelStore, files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Hub(files, lies=("tokenizer.json",)) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        with pytest.raises(NoModelError, match=r"tokenizer\.json arrived damaged"):
            get(spec(), store, tmp_path / "job")
        assert store.state(spec()) == "partial"
        hub.lies = ()
        hub.sent.clear()
        get(spec(), store, tmp_path / "job")
        assert "tokenizer.json" in hub.sent and len(hub.sent) < len(files)
    assert store.state(spec()) == "installed"


def test_the_catalogues_own_hash_counts_too(
    store: ModelStore, files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = {"model.safetensors": hashlib.sha256(files["model.safetensors"]).hexdigest()}
    with Hub(files) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        with pytest.raises(BadFileError, match="sha256"):
            get(spec(sha256={"model.safetensors": "0" * 64}), store, tmp_path / "job")
        assert store.state(spec()) != "installed"
        get(spec(sha256=right), store, tmp_path / "job")
    assert store.state(spec()) == "installed"


def test_a_repository_of_pickles_only_or_none_is_one_sentence(
    store: ModelStore, files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Hub({"config.json": files["config.json"], **EXTRA}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        with pytest.raises(NoModelError, match="no safetensors"):
            get(spec(), store, tmp_path / "job")
        with pytest.raises(NoModelError, match="hub has no org/other"):
            get(ModelSpec("tiny-hub", "Tiny hub", "text", "llama", "hub:org/other@main"), store, tmp_path / "job")
    assert store.state(spec()) != "installed"


def test_of_a_pipeline_its_parts_are_fetched_in_half_precision_and_nothing_else(
    store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_stable_diffusion(tmp_path / "pipeline")
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    files = {name: path.read_bytes() for name, path in paths.items() if not name.startswith("words/")}
    unet, half = "unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors"
    files[half] = files[unet]
    extra = {
        "whole_model.safetensors": b"x",
        "unet/diffusion_pytorch_model.bin": b"\x80pickle",
        "unet/model.onnx": b"x",
        "vae_1_0/diffusion_pytorch_model.safetensors": b"x",
        "unet/attention.py": b"import os",
        "README.md": b"# hi",
    }
    model = ModelSpec("tiny-hub", "Tiny hub", "image", "stable-diffusion", "hub:org/tiny@main")
    with Hub({**files, **extra}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        get(model, store, tmp_path / "job")
        assert not set(hub.sent) & {*extra, unet}
    assert store.state(model) == "installed"
    facts = inspect_pipeline(store.path(model))
    assert facts.variant == "fp16" and set(facts.parts) == {"unet", "vae", "text_encoder"}
    PipelineModel("tiny-hub", facts, CPU, Placement("whole", False, 0, 1)).close()


def test_a_pipeline_without_an_index_or_safetensors_is_one_sentence(
    store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ModelSpec("tiny-hub", "Tiny hub", "image", "stable-diffusion", "hub:org/tiny@main")
    index = b'{"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}'
    for files in ({"a.safetensors": b"x"}, {"model_index.json": index, "unet/diffusion_pytorch_model.bin": b"\x80"}):
        with Hub(files) as hub:
            monkeypatch.setenv("HF_ENDPOINT", hub.url)
            with pytest.raises(NoModelError, match="no safetensors"):
                get(model, store, tmp_path / "job")
    assert store.state(model) != "installed"
