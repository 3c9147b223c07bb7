"""Models that draw, held like every other: counted in bytes, evicted, refused when they do not fit or are not there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import engine.models.host as host_module
from engine.device import Memory
from engine.errors import BadFileError, NoModelError
from engine.image.model import ImageRequest
from engine.image.placement import SLICED_WORK_BYTES
from engine.jobs.job import CancelToken
from engine.models.catalog import ModelSpec
from engine.models.host import HostedWords, ModelHost
from engine.models.pipeline_folder import STICKER_FILES
from engine.models.store import ModelStore
from tests.engine.image.tiny import Words, write_model
from tests.engine.image.tiny_pipelines import write_stable_diffusion
from tests.tiny import CPU, make_model, tiny_spec


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
    def build(limit_bytes: int | None = None) -> ModelHost:
        specs = {
            "sticker": ModelSpec("sticker", "Sticker", "image", "sticker", "assets:models/sticker"),
            "pipeline": ModelSpec("pipeline", "Pipeline", "image", "sd", f"local:{folders['pipeline']}"),
            "text": tiny_spec(folders["text"], "text"),
        }
        store = ModelStore(tmp_path, folders["sticker"].parent.parent)
        return ModelHost(store, specs.__getitem__, CPU, limit_bytes)

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
    host = make_host(SLICED_WORK_BYTES + 600_000)
    with host.use("text"):
        assert [row.id for row in host.loaded()] == ["text"]
    with host.use_image("pipeline"):
        assert [row.id for row in host.loaded()] == ["pipeline"]


def test_what_does_not_fit_is_refused_with_both_figures(make_host: Callable[..., ModelHost]) -> None:
    host = make_host(SLICED_WORK_BYTES)
    with pytest.raises(NoModelError, match="needs 900 MB of memory, have 900 MB"), host.use_image("pipeline"):
        pass
    assert host.loaded() == ()


def test_little_free_memory_means_slices(make_host: Callable[..., ModelHost], monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[bool] = []
    place = host_module.place
    monkeypatch.setattr(host_module, "place", lambda *given: made.append(place(*given).slices) or place(*given))
    monkeypatch.setattr(host_module, "memory", lambda device: Memory(2 * 10**9, 10**9))
    with make_host().use_image("pipeline"):
        assert made == [True, True]


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
