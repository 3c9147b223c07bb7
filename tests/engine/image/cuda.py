"""Any diffusers pipeline on a real GPU, in 16 bit, whole or a part at a time: `pytest tests/engine/image/cuda.py`.

Not among the tests that everybody runs, of which none may be skipped. What those say of pictures, schedulers and cancels is asked
here once more, of tiny pipelines on the GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from engine.device import Device
from engine.errors import CancelledError
from engine.image import denoising
from engine.image.model import ImageStep
from engine.image.pipelines import PipelineModel
from engine.image.placement import Placement, Spread
from engine.jobs.job import CancelToken
from engine.models.pipeline_folder import inspect_pipeline
from tests import gpu
from tests.engine.image import test_pipelines
from tests.engine.image.test_pipelines import FOX, RED, WRITERS, draw, same
from tests.gpu import held

device, folders = gpu.device, test_pipelines.folders

test_the_same_pixels = test_pipelines.test_the_same_request_gives_identical_pixels_and_everything_in_it_counts
test_every_scheduler = test_pipelines.test_every_scheduler_it_names_draws
test_pictures_and_masks = test_pipelines.test_pictures_and_masks_are_started_from
test_a_cancel_at_every_step = test_pipelines.test_a_cancel_at_every_step_ends_it_there_and_the_next_picture_is_whole
test_a_cancel_reaches_into_a_step = test_pipelines.test_a_cancel_reaches_into_a_step
test_previews = test_pipelines.test_previews_are_small_and_cost_no_decoding
test_out_of_memory = test_pipelines.test_out_of_memory_is_a_sentence_and_the_next_picture_works

REQUESTS = {
    "words": replace(FOX, negative="blue"),
    "picture": replace(FOX, image=RED, strength=0.9),
    "mask": replace(FOX, image=RED, mask=Image.new("L", (8, 8), 255), strength=0.9),
}


@pytest.fixture(scope="module", params=list(WRITERS))
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def loaded(folder: Path, device: Device, spread: Spread = "whole") -> PipelineModel:
    return PipelineModel("tiny", inspect_pipeline(folder), device, Placement(spread, True, 0, 1))


@pytest.fixture(scope="module")
def model(folders: dict[str, Path], way: str, device: Device) -> Iterator[PipelineModel]:
    made = loaded(folders[way], device)
    yield made
    made.close()


@pytest.mark.parametrize("spread", get_args(Spread))
def test_a_picture_is_the_same_however_the_parts_are_spread(
    folders: dict[str, Path], way: str, model: PipelineModel, device: Device, spread: Spread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With previews, from words, a picture and a mask, after each other; and nothing stays on the device in between."""
    monkeypatch.setattr(denoising, "PREVIEW_INTERVAL_S", 0.0)
    draw(model, FOX)  # the first time libraries take something for good
    before = held(device)
    other = loaded(folders[way], device, spread)
    for name in ("words", "picture", "mask", "words"):
        expected, seen = draw(model, REQUESTS[name]), list[ImageStep]()
        found = other.draw(REQUESTS[name], CancelToken(), seen.append)
        far = np.abs(np.asarray(found, np.float32) - np.asarray(expected, np.float32)).mean()
        assert same(found, expected) or far < 1, (name, far)
        assert any(step.preview is not None for step in seen), name
        # By layers some buffers stay (1 to 591 kB on an H200).
        assert spread == "whole" or held(device) - before < (2**20 if spread == "layers" else 1), name
    other.close()
    assert held(device) == before


@pytest.mark.parametrize("spread", get_args(Spread))
def test_after_a_cancel_the_next_picture_is_whole(folders: dict[str, Path], way: str, device: Device, spread: Spread) -> None:
    model = loaded(folders[way], device, spread)
    whole = draw(model, FOX)
    cancel = CancelToken()
    with pytest.raises(CancelledError):
        model.draw(FOX, cancel, lambda step: cancel.cancel())
    assert same(draw(model, FOX), whole)
    model.close()


def test_memory_is_back_where_it_was_after_closing(folders: dict[str, Path], way: str, device: Device) -> None:
    """The first time libraries take something for good."""
    after = []
    for _ in range(3):
        model = loaded(folders[way], device)
        for request in REQUESTS.values():
            draw(model, request)
        model.close()
        after.append(held(device))
    assert after[1] == after[2]
