"""Models that draw, held like every other: counted in bytes, evicted, refused when they do not fit or are not there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.device import Memory
from engine.errors import BadFileError, NoModelError
from engine.image.model import ImageRequest
from engine.image.pipelines import PipelineModel
from engine.image.placement import work_bytes
from engine.jobs.job import CancelToken
from engine.models.catalog import ModelSpec
from engine.models.host import ModelHost
from engine.models.loading import HostedWords
from engine.models.pipeline_folder import STICKER_FILES
from engine.models.store import ModelStore
from tests.engine.image.tiny import Words, write_model
from tests.engine.image.tiny_pipelines import write_stable_diffusion
from tests.tiny import CPU, make_model, tiny_spec

SLICED = work_bytes(4, slices=True)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "sticker": write_model(folder / "assets" / "models" / "sticker"),
        "pipeline": write_stable_diffusion(folder / "pipeline"),
        "text": make_model(folder / "text"),
    }


@pytest.fixture
def make_host(folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ModelHost]:
    def build(limit_bytes: int | None = None, free_bytes: int = 64 * 10**9) -> ModelHost:
        specs = {
            "sticker": ModelSpec("sticker", "Sticker", "image", "sticker", "assets:models/sticker"),
            "pipeline": ModelSpec("pipeline", "Pipeline", "image", "sd", f"local:{folders['pipeline']}"),
            "text": tiny_spec(folders["text"], "text"),
        }
        store = ModelStore(tmp_path, folders["sticker"].parent.parent)
        machine = Memory(64 * 10**9, free_bytes)
        return ModelHost(store, specs.__getitem__, CPU, limit_bytes, measure=lambda device: machine)

    @contextmanager
    def words(host: ModelHost) -> Any:
        yield Words()

    monkeypatch.setattr(ModelHost, "use_encoder", words)
    return build


@pytest.mark.parametrize("model_id", ["sticker", "pipeline"])
def test_a_model_is_loaded_once_counted_and_let_go_of(make_host: Callable[..., ModelHost], model_id: str) -> None:
    host = make_host()
    with host.use_image(model_id) as model, host.use_image(model_id) as again:
        assert model is again and model.id == model_id
        picture = model.draw(ImageRequest("a fox", width=64, height=64, steps=2), CancelToken(), lambda step: None)
        assert picture.size == (64, 64) and model.enlarge(picture, 128, 128).size == (128, 128)
    (row,) = host.loaded()
    assert row.id == model_id and row.size_bytes == model.size_bytes > 0 and row.in_use == 0
    assert host.unload(model_id) and host.loaded() == ()
    with pytest.raises(NoModelError, match="unloaded"):
        model.draw(ImageRequest("a fox", steps=2), CancelToken(), lambda step: None)


def test_a_model_is_loaded_in_the_background_before_it_is_wanted(make_host: Callable[..., ModelHost]) -> None:
    host = make_host()
    host.warm("sticker").join(30)
    assert [(row.id, row.in_use) for row in host.loaded()] == [("sticker", 0)]


def test_a_model_that_writes_makes_room_for_one_that_draws(make_host: Callable[..., ModelHost]) -> None:
    host = make_host(SLICED + 600_000)
    with host.use("text"):
        assert [row.id for row in host.loaded()] == ["text"]
    with host.use_image("pipeline"):
        assert [row.id for row in host.loaded()] == ["pipeline"]


def test_what_does_not_fit_is_refused_with_both_figures(make_host: Callable[..., ModelHost]) -> None:
    host = make_host(SLICED)
    with pytest.raises(NoModelError, match="needs 1.8 GB of memory, have 1.8 GB"), host.use_image("pipeline"):
        pass
    assert host.loaded() == ()


@pytest.mark.parametrize(("free_bytes", "slices"), [(2 * 10**9, True), (6 * 10**9, False)])
def test_little_free_memory_means_slices(make_host: Callable[..., ModelHost], free_bytes: int, slices: bool) -> None:
    with make_host(free_bytes=free_bytes).use_image("pipeline") as model:
        assert isinstance(model, PipelineModel) and model._placement.slices is slices


def test_another_task_and_a_missing_or_damaged_model_are_one_sentence(
    make_host: Callable[..., ModelHost], folders: dict[str, Path]
) -> None:
    host = make_host()
    with pytest.raises(NoModelError, match="cannot do that task"), host.use_image("text"):
        pass
    with pytest.raises(NoModelError, match="does not write text"), host.use("sticker"):
        pass
    weights = folders["sticker"] / STICKER_FILES[1]
    whole = weights.read_bytes()
    try:
        weights.write_bytes(whole[:-10])
        with pytest.raises(BadFileError, match="damaged"), host.use_image("sticker"):
            pass
        weights.unlink()
        with pytest.raises(NoModelError, match="not installed"), host.use_image("sticker"):
            pass
    finally:
        weights.write_bytes(whole)
    with host.use_image("sticker"):
        assert [row.id for row in host.loaded()] == ["sticker"]


def test_words_are_turned_into_numbers_by_the_shared_encoder(make_host: Callable[..., ModelHost]) -> None:
    words = HostedWords(make_host())
    assert words.states(["a fox"], 4).shape == (1, 4, words.width)
