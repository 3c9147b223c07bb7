"""The starter image model, tiny and random: what a request changes, what it does not, and how it ends early."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from PIL import Image, ImageChops

from engine.errors import BadOptionError, CancelledError
from engine.image import denoising, schedulers
from engine.image.guidance import NONE, STRONGEST, Guidance, guided
from engine.image.model import ImageRequest, ImageStep
from engine.image.sticker import SHIFT, STYLES, StickerModel
from engine.image.transformer import StickerTransformer
from engine.jobs.job import CancelToken
from tests.engine.image.tiny import STYLE_NAMES, Words, write_model

APPLE = ImageRequest("red apple", width=128, height=128, steps=4)


@pytest.fixture(scope="module", params=[False, True], ids=["guided by passes", "guided by weights"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> StickerModel:
    folder = write_model(tmp_path_factory.mktemp("sticker"), knows_guidance=request.param)
    return StickerModel("tiny", folder, Words(), "cpu")


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of each call of a transformer, how many pictures it looks at."""
    seen: list[int] = []
    forward = StickerTransformer.forward

    def counted(self: StickerTransformer, hidden_states: torch.Tensor, *rest: object, **named: object) -> object:
        seen.append(len(hidden_states))
        return forward(self, hidden_states, *rest, **named)

    monkeypatch.setattr(StickerTransformer, "forward", counted)
    return seen


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


def test_each_step_is_told_and_previews_are_small(model: StickerModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denoising, "PREVIEW_INTERVAL_S", 0.0)
    steps: list[ImageStep] = []
    model.draw(replace(APPLE, steps=9), CancelToken(), steps.append)
    assert [(one.step, one.total) for one in steps] == [(number, 9) for number in range(1, 10)]
    previews = [one.preview for one in steps if one.preview is not None]
    assert len(previews) == 8 and all(preview.size == model.native_size for preview in previews)


def test_a_picture_that_is_soon_done_costs_no_preview(model: StickerModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denoising, "PREVIEW_INTERVAL_S", 60.0)
    steps: list[ImageStep] = []
    model.draw(APPLE, CancelToken(), steps.append)
    assert [one.preview for one in steps] == [None] * 4


def test_weights_that_know_guidance_need_one_pass_and_a_second_only_against_something(tmp_path: Path, passes: list[int]) -> None:
    plain = StickerModel("plain", write_model(tmp_path / "plain"), Words(), "cpu")
    distilled = StickerModel("distilled", write_model(tmp_path / "distilled", knows_guidance=True), Words(), "cpu")
    for model, request, pictures in (
        (plain, APPLE, 2),
        (plain, replace(APPLE, guidance=1.0), 1),
        (distilled, APPLE, 1),
        (distilled, replace(APPLE, negative=" "), 1),
        (distilled, replace(APPLE, negative="blue car"), 2),
        (distilled, replace(APPLE, negative="blue car", guidance=1.0), 1),
        (distilled, replace(APPLE, image=Image.new("RGB", (64, 64), "red"), strength=1.0), 1),
    ):
        passes.clear()
        draw(model, request)
        assert passes == [pictures] * APPLE.steps, request
    assert not same(draw(distilled, replace(APPLE, guidance=2.0)), draw(distilled, replace(APPLE, guidance=3.0)))
    assert same(draw(distilled, replace(APPLE, guidance=STRONGEST)), draw(distilled, replace(APPLE, guidance=30.0)))


def test_weights_of_another_width_are_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path, knows_guidance=True)
    (folder / STYLES).write_text('["flat"]', encoding="utf-8")
    with pytest.raises(ValueError, match="387 numbers"):
        StickerModel("tiny", folder, Words(), "cpu")


def test_both_ways_to_be_guided_are_as_strong_as_one() -> None:
    assert guided(4.0, knows_guidance=False, is_against=True) == Guidance(NONE, 4.0)
    assert guided(4.0, knows_guidance=True, is_against=False) == Guidance(4.0, NONE)
    both = guided(4.0, knows_guidance=True, is_against=True)
    assert both.learned * both.passes == 4.0 and both.learned == both.passes
    assert guided(0.5, knows_guidance=True, is_against=True).passes == NONE, "no root of less than none"


def test_steps_are_longer_at_little_noise_and_none_is_lost(model: StickerModel, monkeypatch: pytest.MonkeyPatch) -> None:
    times: list[float] = []
    forward = StickerTransformer.forward

    def watched(self: StickerTransformer, hidden_states: torch.Tensor, **named: Any) -> object:
        times.append(float(named["timestep"][0]))
        return forward(self, hidden_states, **named)

    monkeypatch.setattr(StickerTransformer, "forward", watched)
    draw(model, APPLE)
    assert times == pytest.approx([1000 * SHIFT * x / (1 + (SHIFT - 1) * x) for x in (1.0, 0.75, 0.5, 0.25)])
    times.clear()
    draw(model, replace(APPLE, image=Image.new("RGB", (64, 64), "red"), strength=0.5))
    assert times == [500, 250], "half the strength is half the noise"


@pytest.mark.parametrize("name", ["euler", "heun", "dpm++", "unipc"])
def test_a_flow_s_shift_is_every_scheduler_s(name: str) -> None:
    times = {}
    for shift in (1.0, 3.0):
        made = schedulers.scheduler(name, FlowMatchEulerDiscreteScheduler(shift=shift))
        made.set_timesteps(10)
        times[shift] = float(made.timesteps[len(made.timesteps) // 2])
    assert times[3.0] > 1.2 * times[1.0]


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
