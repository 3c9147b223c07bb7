"""The recipe of the starter image model on a handful of made-up pictures: what it may learn from, and that it can be stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.image.examples import WIDTH
from engine.image.model import ImageRequest
from engine.image.prompts import Prompt, PromptEncoder
from engine.image.sticker import StickerModel
from engine.jobs.job import CancelToken
from engine.training.recipes.stickers import autoencoder, chinese, upscaler
from engine.training.recipes.stickers.data import COLOURS, Stickers, captions, main_colours, turned
from engine.training.recipes.stickers.denoiser import DenoiserTraining, Size, forward, new_transformer
from engine.training.recipes.stickers.prepared import caption_tokens, choose_examples, draw_captions, prepare
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

    def trained(folder: Path, *untils: int) -> dict[str, torch.Tensor]:
        folder.mkdir()
        for until in untils:
            training = DenoiserTraining(
                prepared, (shown, rows), len(data.styles), size, Work(folder, work.device), compiled=False
            )
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
    model = new_transformer(Size(width=64, depth=3), 2)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    inputs = (torch.randn(2, 16, 8, 8), torch.randn(2, 16, 384), torch.randn(2, 386 + WIDTH), torch.tensor([10.0, 900.0]))
    with torch.no_grad():
        own = model(*inputs, return_dict=False)[0]
        everywhere = torch.stack([torch.randperm(64) for _ in range(2)])
        assert torch.allclose(forward(model, *inputs, None), own, atol=1e-5)
        assert torch.allclose(forward(model, *inputs, everywhere), own, atol=1e-4), "the order of the tokens means nothing"
        assert not torch.allclose(forward(model, *inputs, everywhere[:, :32]), own, atol=1e-4)


def test_a_training_goes_on_from_a_published_model(data: Stickers, work: Work, tmp_path: Path) -> None:
    vae = autoencoder.train(data, work, images=64)
    characters, size = chinese.train(data, Words(), work, steps=1), Size(width=64, depth=2, batch=4)
    prepared = prepare(data, vae, PromptEncoder(Words(), characters, data.styles), work)
    shown = choose_examples(data, prepared)
    training = DenoiserTraining(prepared, shown, len(data.styles), size, work, compiled=False)
    training.run(8, planned=32)
    parts = {"transformer": training.average, "vae": vae, "chinese": characters}
    folder = publish(parts, shown[0], data.styles, training.samples, work)
    assert published_samples(folder) == 8

    (tmp_path / "later").mkdir()
    later = Work(tmp_path / "later", work.device)
    take_up(folder, later)
    again = DenoiserTraining(prepared, shown, len(data.styles), size, later, compiled=False)
    assert again.samples == 8
    kept = training.average.state_dict()
    assert all(torch.allclose(kept[name], value, atol=1e-3) for name, value in again.average.state_dict().items())
    assert torch.equal(vae.encoder[1].weight.half(), autoencoder.train(data, later, images=64).encoder[1].weight.half())
