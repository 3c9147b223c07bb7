"""Memory that runs out while a picture is drawn or enlarged: less at a time, then one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.errors import NoMemoryError
from engine.image.model import ImageRequest
from engine.image.pipelines import PipelineModel
from engine.image.placement import Placement, work_bytes
from engine.image.sticker import StickerModel
from engine.image.upscaler import StickerUpscaler, enlarge, enlarge_bytes
from engine.jobs.job import CancelToken
from engine.models.pipeline_folder import inspect_pipeline
from tests.engine.image.tiny import Words, write_model
from tests.engine.image.tiny_pipelines import write_stable_diffusion
from tests.engine.room import Room
from tests.tiny import CPU

WHOLE = Placement("whole", False, 0, 0)
FOX = ImageRequest("a fox", width=64, height=64, steps=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stable_diffusion(tmp_path_factory.mktemp("pipeline"))


def draw(model: Any, request: ImageRequest = FOX) -> Any:
    return model.draw(request, CancelToken(), lambda step: None)


def fail_first(count: int, made: list[bool], vae: Any) -> Callable[..., Any]:
    """A decoder that has no memory the first times, and notes whether it works on tiles."""
    decode = vae.decode

    def short(*given: Any, **named: Any) -> Any:
        made.append(bool(vae.use_tiling))
        if len(made) <= count:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.00 GiB")
        return decode(*given, **named)

    return short


def test_a_picture_is_drawn_once_more_in_tiles_and_the_next_one_whole(folder: Path) -> None:
    room = Room()
    model = PipelineModel("tiny", inspect_pipeline(folder), CPU, WHOLE, room)
    vae, made = model._pipelines["words"].vae, list[bool]()
    whole = draw(model)
    vae.decode = fail_first(1, made, vae)
    assert draw(model).size == whole.size and made == [False, True] and room.asked == 1
    assert draw(model).tobytes() == whole.tobytes() and made == [False, True, False]
    model.close()


def test_one_that_fails_again_says_what_it_needs_and_the_next_one_works(folder: Path) -> None:
    room = Room(free_bytes=3 * 10**9)
    model = PipelineModel("tiny", inspect_pipeline(folder), CPU, WHOLE, room)
    vae, made = model._pipelines["words"].vae, list[bool]()
    vae.decode = fail_first(2, made, vae)
    with pytest.raises(NoMemoryError, match="64 × 64 pixels .* needs 7 MB beside the weights, have 3.0 GB") as caught:
        draw(model)
    assert caught.value.message_key == "error.picture_memory" and made == [False, True]
    assert draw(model).size == (64, 64) and not vae.use_tiling
    model.close()


def test_what_cannot_suffice_is_not_begun(folder: Path) -> None:
    sliced, roomy = (work_bytes(4, 64 * 64, slices=slices) for slices in (True, False))
    room = Room(sliced - 1, idle_bytes=2)
    model = PipelineModel("tiny", inspect_pipeline(folder), CPU, WHOLE, room)
    vae, made = model._pipelines["words"].vae, list[bool]()
    vae.decode = fail_first(0, made, vae)
    assert draw(model).size == (64, 64) and made == [True] and room.asked == 1 and room.free < roomy
    room.free = sliced - 1
    with pytest.raises(NoMemoryError, match="not enough memory"):
        draw(model)
    assert made == [True]
    model.close()


def test_tiles_make_the_same_picture() -> None:
    torch.manual_seed(0)
    model = StickerUpscaler(width=8, depth=4).eval()
    pixels = torch.rand(1, 4, 75, 64) * 2 - 1
    whole = enlarge(model, pixels, 300)
    tiled = enlarge(model, pixels, 300, 32)
    assert tiled.shape == whole.shape == (1, 4, 300, 256) and torch.allclose(tiled, whole, atol=1e-5)
    assert enlarge_bytes(model, 2048) == 16 * enlarge_bytes(model, 512)


def test_a_sticker_is_enlarged_in_tiles_where_memory_is_short(tmp_path: Path) -> None:
    room = Room()
    model = StickerModel("tiny", write_model(tmp_path), Words(), "cpu", room)
    request = ImageRequest("a fox", width=2048, height=2048, steps=1)
    whole, sizes = draw(model, request), list[int]()
    model._upscaler.register_forward_pre_hook(lambda module, given: sizes.append(max(given[0].shape[2:])))
    room.free = 0
    assert draw(model, request).size == whole.size == (2048, 2048)
    assert room.asked == 1 and max(sizes) <= 128 + 2 * 16
    model.close()
