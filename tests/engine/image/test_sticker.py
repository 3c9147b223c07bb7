"""The starter image model, tiny and random: what a request changes, what it does not, and how it ends early."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PIL import Image, ImageChops

from engine.errors import BadOptionError, CancelledError
from engine.image.model import ImageRequest, ImageStep
from engine.image.sticker import StickerModel
from engine.jobs.job import CancelToken
from tests.engine.image.tiny import STYLE_NAMES, Words, write_model

APPLE = ImageRequest("red apple", width=128, height=128, steps=4)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> StickerModel:
    return StickerModel("tiny", write_model(tmp_path_factory.mktemp("sticker")), Words(), "cpu")


def draw(model: StickerModel, request: ImageRequest) -> Image.Image:
    return model.draw(request, CancelToken(), lambda step: None)


def same(one: Image.Image, other: Image.Image) -> bool:
    return one.size == other.size and one.mode == other.mode and one.tobytes() == other.tobytes()


def test_the_same_request_gives_identical_pixels_and_everything_in_it_counts(model: StickerModel) -> None:
    first = draw(model, APPLE)
    assert first.size == (128, 128) and first.mode == "RGB"
    assert same(first, draw(model, APPLE))
    for other in (
        replace(APPLE, seed=1),
        replace(APPLE, prompt="blue car"),
        replace(APPLE, prompt="红苹果"),
        replace(APPLE, negative="blue car"),
        replace(APPLE, style=STYLE_NAMES[0]),
        replace(APPLE, steps=5),
        replace(APPLE, guidance=2.0),
        replace(APPLE, scheduler="heun"),
    ):
        assert not same(first, draw(model, other)), other


@pytest.mark.parametrize("name", ["euler", "heun", "dpm++", "unipc"])
def test_every_scheduler_it_names_draws(model: StickerModel, name: str) -> None:
    assert name in model.schedulers
    assert draw(model, replace(APPLE, scheduler=name)).size == (128, 128)


def test_each_step_is_told_and_previews_are_small(model: StickerModel) -> None:
    steps: list[ImageStep] = []
    model.draw(replace(APPLE, steps=9), CancelToken(), steps.append)
    assert [(one.step, one.total) for one in steps] == [(number, 9) for number in range(1, 10)]
    previews = [one.preview for one in steps if one.preview is not None]
    assert previews and all(preview.size == model.native_size for preview in previews)


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_cancel_ends_it_within_a_step_and_the_next_picture_is_whole(model: StickerModel, at: int) -> None:
    cancel, seen = CancelToken(), []

    def watch(step: ImageStep) -> None:
        seen.append(step.step)
        if step.step == at:
            cancel.cancel()

    with pytest.raises(CancelledError):
        model.draw(replace(APPLE, steps=6), cancel, watch)
    assert seen == list(range(1, at + 1))
    assert same(draw(model, APPLE), draw(model, APPLE))


def test_starting_from_a_picture_keeps_more_of_it_at_less_strength(model: StickerModel) -> None:
    picture = Image.new("RGB", (200, 100), "red")
    start = replace(APPLE, image=picture, steps=10)
    weak, strong = (draw(model, replace(start, strength=strength)) for strength in (0.2, 0.9))
    assert not same(weak, strong)


def test_what_the_mask_leaves_out_stays(model: StickerModel) -> None:
    picture = Image.new("RGB", (64, 64), "red")
    mask = Image.new("L", (64, 64), 0)
    untouched = draw(model, replace(APPLE, image=picture, mask=mask, strength=0.5, width=64, height=64))
    again = draw(model, replace(APPLE, prompt="blue car", image=picture, mask=mask, strength=0.5, width=64, height=64))
    assert max(high for _, high in ImageChops.difference(untouched, again).getextrema()) <= 2


def test_a_clear_background_is_asked_for(model: StickerModel) -> None:
    assert draw(model, replace(APPLE, transparent=True)).mode == "RGBA"


def test_unknown_styles_and_schedulers_are_named(model: StickerModel) -> None:
    with pytest.raises(BadOptionError, match="flat, line"):
        draw(model, replace(APPLE, style="oil"))
    with pytest.raises(BadOptionError, match="euler"):
        draw(model, replace(APPLE, scheduler="magic"))
