"""The recipe of the starter image model on a handful of made-up pictures: what it may learn from, and that it can be stopped."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.image.autoencoder import StickerAutoencoder
from engine.image.chinese import ChineseEncoder
from engine.image.examples import WIDTH, Examples
from engine.image.model import ImageRequest
from engine.image.prompts import Prompt, PromptEncoder
from engine.image.sticker import StickerModel
from engine.jobs.job import CancelToken
from engine.training.recipes.stickers import autoencoder, chinese, upscaler
from engine.training.recipes.stickers.conditions import Conditions, LeftOut
from engine.training.recipes.stickers.data import COLOURS, Stickers, captions, main_colours, turned
from engine.training.recipes.stickers.denoiser import DenoiserTraining, new_transformer
from engine.training.recipes.stickers.guiding import GuidanceDistillation, guided, told_of_guidance
from engine.training.recipes.stickers.learning import Size, forward
from engine.training.recipes.stickers.prepared import Prepared, caption_tokens, choose_examples, draw_captions, prepare
from engine.training.recipes.stickers.publish import publish, published_samples, take_up
from engine.training.recipes.stickers.work import Work
from tests.engine.image.tiny import Words, tiny_examples

STYLES = ("a", "b", "c", "d", "e", "f", "open")
CONCEPTS = {"apple": ("苹果", "train"), "flag": ("旗", "train"), "pear": ("梨", "val")}


def square(colour: str) -> np.ndarray[Any, Any]:
    pixels = np.zeros((64, 64, 4), dtype=np.uint8)
    pixels[16:48, 16:48] = (*COLOURS[colour], 255)
    return pixels


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Stickers:
    folder = tmp_path_factory.mktemp("stickers")
    items = [
        {"id": f"{style}/{concept}", "c": concept, "style": style, "colors": ["red"]} for concept in CONCEPTS for style in STYLES
    ]
    concepts = {
        name: {
            "en": name,
            "en_kw": ["thing", "fruit"],
            "zh": zh,
            "zh_kw": ["东西"],
            "group": "flags" if name == "flag" else "food",
            "split": split,
        }
        for name, (zh, split) in CONCEPTS.items()
    }
    styles = {style: {"en": f"{style} art", "zh": f"{style}画", "share_alike": style == "open"} for style in STYLES}
    meta = {"styles": styles, "tones": [""], "tones_zh": [""], "colors_zh": {colour: f"{colour}色" for colour in COLOURS}}
    (folder / "stickers-64.json").write_text(json.dumps({"meta": meta, "concepts": concepts, "items": items}), encoding="utf-8")
    np.savez(folder / "stickers-64.npz", images=np.stack([square("red")] * len(items)))
    return Stickers(folder)


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path, torch.device("cpu"))


@dataclass(frozen=True)
class Stages:
    """What the long stages begin with."""

    vae: StickerAutoencoder
    characters: ChineseEncoder
    prepared: Prepared
    shown: Examples
    conditions: Conditions


@pytest.fixture(scope="module")
def stages(data: Stickers, tmp_path_factory: pytest.TempPathFactory) -> Stages:
    """Barely trained."""
    work = Work(tmp_path_factory.mktemp("stages"), torch.device("cpu"))
    vae, characters = autoencoder.train(data, work, images=64), chinese.train(data, Words(), work, steps=1)
    prepared = prepare(data, vae, PromptEncoder(Words(), characters, data.styles), work)
    shown, rows = choose_examples(data, prepared)
    return Stages(vae, characters, prepared, shown, Conditions(prepared, (shown, rows), len(data.styles), work.device))


def test_nothing_is_trained_on_that_must_not_be(data: Stickers) -> None:
    assert {item.concept for item in data.train} == {"apple"}
    assert {item.concept for item in data.unseen} == {"pear"}
    assert "open" not in {item.style for item in (*data.train, *data.combinations, *data.unseen)}
    assert len(data.combinations) == 1
    assert {item.row for item in data.train}.isdisjoint(item.row for item in data.combinations)
    assert len(data.train) == 5


def test_captions_say_name_style_and_colour_in_both_languages(data: Stickers) -> None:
    item = data.train[0]
    english, chinese_ones = captions(data, item, "en"), captions(data, item, "zh")
    assert english[0] == "apple" and f"red apple, {item.style} art style" in english
    assert chinese_ones[0] == "苹果" and any("red色的苹果" in one for one in chinese_ones)
    assert all("green" in one for one in captions(data, item, "en", "green"))


@pytest.mark.parametrize(("degrees", "colour"), [(0, "red"), (120, "green"), (225, "blue")])
def test_a_turned_picture_has_the_colour_that_its_captions_say(degrees: float, colour: str) -> None:
    assert main_colours(turned(square("red"), degrees)) == (colour,)


def test_black_and_white_do_not_turn() -> None:
    assert np.array_equal(turned(square("black"), 120), square("black"))


def test_all_stages_run_and_the_long_one_goes_on_where_it_stopped(data: Stickers, work: Work, tmp_path: Path) -> None:
    vae = autoencoder.train(data, work, images=128)
    encoder = PromptEncoder(Words(), chinese.train(data, Words(), work, steps=2), data.styles)
    upscaler.train(data, work, images=64)
    prepared = prepare(data, vae, encoder, work)
    latents = prepared.latents.float()
    assert abs(float(latents[: len(data.train)].mean())) < 0.2 and len(latents) > 2 * len(data.train)
    tokens = caption_tokens(prepared, draw_captions(prepared, torch.zeros(200, dtype=torch.int64), chinese=0.5))
    assert len({row.numpy().tobytes() for row in tokens}) > 5, "one picture is asked for in many ways"

    shown, rows = choose_examples(data, prepared)
    assert len(shown.codes) == 3 == len({*shown.styles.tolist()}), "three of the five pictures of the only concept"
    assert bool((prepared.mirrored[rows] == torch.tensor([False, True])).all())
    size = Size(width=64, depth=2, batch=4)
    conditions = Conditions(prepared, (shown, rows), len(data.styles), work.device)

    def trained(folder: Path, *untils: int) -> dict[str, torch.Tensor]:
        folder.mkdir()
        for until in untils:
            training = DenoiserTraining(conditions, size, Work(folder, work.device), compiled=False)
            training.run(until, planned=32)
        assert training.samples == 32
        weights: dict[str, torch.Tensor] = training.average.state_dict()
        return weights

    at_once, with_a_stop = trained(tmp_path / "once", 32), trained(tmp_path / "twice", 16, 32)
    assert all(torch.equal(at_once[name], with_a_stop[name]) for name in at_once)


def test_what_is_published_draws(data: Stickers, work: Work) -> None:
    parts = {
        "vae": autoencoder.train(data, work, images=64),
        "chinese": chinese.train(data, Words(), work, steps=1),
        "upscaler": upscaler.train(data, work, images=32),
        "transformer": new_transformer(Size(width=64, depth=2), len(data.styles)),
    }
    for _ in range(2):  # the second replaces the first
        folder = publish(parts, tiny_examples(), data.styles, 5, work)
    model = StickerModel("made", folder, Words(), "cpu")
    picture = model.draw(ImageRequest("apple", style="a", steps=2), CancelToken(), lambda step: None)
    assert picture.size == (512, 512)
    assert model.draw_small([Prompt("apple", "a"), Prompt("苹果", None)], seed=0, steps=2, guidance=3.0).shape == (2, 4, 64, 64)


def test_finished_stages_are_read_and_not_trained_again(data: Stickers, work: Work) -> None:
    made = upscaler.train(data, work, images=32)
    again = upscaler.train(data, work, images=10_000)
    assert all(torch.equal(one, other) for one, other in zip(made.parameters(), again.parameters(), strict=True))


def test_the_training_computes_what_the_pipelines_will() -> None:
    torch.manual_seed(0)
    model = shaken(new_transformer(Size(width=64, depth=3), 2))
    inputs = (torch.randn(2, 16, 8, 8), torch.randn(2, 16, 384), torch.randn(2, 386 + WIDTH), torch.tensor([10.0, 900.0]))
    with torch.no_grad():
        own = model(*inputs, return_dict=False)[0]
        everywhere = torch.stack([torch.randperm(64) for _ in range(2)])
        assert torch.allclose(forward(model, *inputs, None), own, atol=1e-5)
        assert torch.allclose(forward(model, *inputs, everywhere), own, atol=1e-4), "the order of the tokens means nothing"
        assert not torch.allclose(forward(model, *inputs, everywhere[:, :32]), own, atol=1e-4)


def test_a_training_goes_on_from_a_published_model(data: Stickers, stages: Stages, work: Work, tmp_path: Path) -> None:
    size, vae = Size(width=64, depth=2, batch=4), stages.vae
    training = DenoiserTraining(stages.conditions, size, work, compiled=False)
    training.run(8, planned=32)
    parts = {"transformer": training.average, "vae": vae, "chinese": stages.characters}
    folder = publish(parts, stages.shown, data.styles, training.samples, work)
    assert published_samples(folder) == 8

    (tmp_path / "later").mkdir()
    later = Work(tmp_path / "later", work.device)
    take_up(folder, later)
    again = DenoiserTraining(stages.conditions, size, later, compiled=False)
    assert again.samples == 8
    kept = training.average.state_dict()
    assert all(torch.allclose(kept[name], value, atol=1e-3) for name, value in again.average.state_dict().items())
    assert torch.equal(vae.encoder[1].weight.half(), autoencoder.train(data, later, images=64).encoder[1].weight.half())
    folder = publish({"vae": autoencoder.train(data, later, images=64)}, stages.shown, data.styles, again.samples, later)
    assert str(tmp_path) not in (folder / "vae" / "config.json").read_text(), "it names no folder that it was read from"


def shaken(model: Any) -> Any:
    """Weights that say something: untrained blocks are identities and say nothing."""
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return model


def test_who_is_told_of_guidance_says_the_same_at_first_and_forgets_it_again() -> None:
    torch.manual_seed(0)
    model = shaken(new_transformer(Size(width=64, depth=2), 2))
    told = told_of_guidance(model, 387)
    mixed, tokens, times = torch.randn(2, 16, 8, 8), torch.randn(2, 16, 384), torch.tensor([10.0, 900.0])
    pooled, beside = torch.randn(2, 386), torch.randn(2, WIDTH)
    with torch.no_grad():
        before = model(mixed, tokens, torch.cat([pooled, beside], 1), times, return_dict=False)[0]
        for strength in (0.0, 1.0):
            inputs = torch.cat([pooled, torch.full((2, 1), strength), beside], 1)
            assert torch.allclose(told(mixed, tokens, inputs, times, return_dict=False)[0], before, atol=1e-6)
    known, again = model.state_dict(), told_of_guidance(told, 386).state_dict()
    assert all(torch.equal(known[name], again[name]) for name in known)


def test_prompt_and_style_are_guided_one_after_the_other() -> None:
    nothing, prompt, both = (torch.full((1, 1, 1, 1), value) for value in (1.0, 2.0, 4.0))
    for guidance, wanted in ((1.0, 4.0), (2.0, 4 + (2 - 1) + 2 * (4 - 2)), (4.0, 1 + 4 * (2 - 1) + 7 * (4 - 2))):
        assert float(guided(nothing, prompt, both, torch.tensor([guidance]))) == wanted


def test_guidance_is_learned_into_the_weights_and_goes_on_where_it_stopped(
    data: Stickers, stages: Stages, work: Work, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    teacher = shaken(new_transformer(Size(width=64, depth=2), len(data.styles))).requires_grad_(False)
    size = Size(batch=8, rate=1e-3)

    def distilled(folder: Path, *untils: int) -> GuidanceDistillation:
        folder.mkdir()
        for until in untils:
            made = GuidanceDistillation(stages.conditions, teacher, size, Work(folder, work.device), compiled=False)
            made.run(until, planned=320)
        return made

    def missed(learner: GuidanceDistillation) -> float:
        torch.manual_seed(2)
        with torch.no_grad():
            return sum(float(learner.loss(1.0)) for _ in range(4))

    begun, learned = distilled(tmp_path / "begun", 0), distilled(tmp_path / "once", 320)
    assert missed(learned) < 0.7 * missed(begun)
    with_a_stop = distilled(tmp_path / "twice", 160, 320)
    weights, other = learned.average.state_dict(), with_a_stop.average.state_dict()
    assert all(torch.equal(weights[name], other[name]) for name in weights)
    assert learned.samples == 320

    parts = {"transformer": learned.average, "vae": stages.vae, "chinese": stages.characters}
    folder = publish(parts, stages.shown, data.styles, 5, work, 320)
    assert published_samples(folder) == 5 and json.loads((folder / "training.json").read_text())["guided_samples"] == 320
    (tmp_path / "later").mkdir()
    later = Work(tmp_path / "later", work.device)
    take_up(folder, later)
    again = DenoiserTraining(stages.conditions, Size(width=64, depth=2, batch=4), later, compiled=False)
    assert again.samples == 5 and again.average.config.pooled_projection_dim == 384 + len(data.styles)


def test_what_is_left_out_is_all_zeros(stages: Stages) -> None:
    rows = stages.conditions.rows(4)
    tokens, pooled = stages.conditions.said(rows, LeftOut(text=1.0, style=1.0, examples=0.0))
    assert not tokens.any() and not pooled.any()
    tokens, pooled = stages.conditions.said(rows, LeftOut(text=0.0, style=0.0, examples=1.0))
    assert tokens.any() and bool((pooled[:, 384:-WIDTH].sum(1) == 1).all()) and not pooled[:, -WIDTH:].any()
    tokens, pooled = stages.conditions.said(rows, LeftOut(text=0.0, style=1.0, examples=0.0))
    assert not pooled[:, 384:-WIDTH].any() and pooled[:, -WIDTH:].any()
