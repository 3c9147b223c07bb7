"""The widely read text of settings, ours and other tools'."""

from __future__ import annotations

import time

import pytest

from engine.safety.parameters import Labels, parameters_text, parse_parameters

OURS = Labels(
    prompt="a fox\n狐狸",
    negative="blurry, dark",
    seed=7,
    steps=20,
    guidance=4.0,
    scheduler="euler",
    width=512,
    height=768,
    style='flat, "round": soft',
    model="sticker-64",
    model_sha256="0123456789",
    adapter_id="adapter-1",
    tool="Tastemaker",
)


def test_ours_comes_back() -> None:
    assert parse_parameters(parameters_text(OURS)) == OURS
    bare = Labels(prompt="", seed=1, steps=2, guidance=1.5)
    assert parse_parameters(parameters_text(bare)) == bare


def test_forge_is_read() -> None:
    text = (
        "masterpiece, (a cat:1.2), <lora:fur:0.8>\nNegative prompt: lowres,\nbad hands\n"
        "Steps: 28, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 6.5, Seed: 1234567890, Size: 832x1216, "
        'Model hash: 31e35c80fc, Model: sd_xl_base_1.0, Lora hashes: "fur: 0a1b2c3d, x: 1", Version: f2.0.1v1.10.1'
    )
    labels = parse_parameters(text)
    assert labels is not None
    assert labels.prompt == "masterpiece, (a cat:1.2), <lora:fur:0.8>"
    assert labels.negative == "lowres,\nbad hands"
    assert (labels.steps, labels.scheduler, labels.guidance, labels.seed) == (28, "DPM++ 2M", 6.5, 1_234_567_890)
    assert (labels.width, labels.height, labels.model, labels.model_sha256) == (832, 1216, "sd_xl_base_1.0", "31e35c80fc")
    assert labels.tool == "f2.0.1v1.10.1"


@pytest.mark.parametrize(
    "text", ["", " ", "a cat", "a cat\nNegative prompt: dog", "colour: red, size: small", "{}", "x" * 1_000_001, "\0\ud800"]
)
def test_a_text_without_settings_has_none(text: str) -> None:
    assert parse_parameters(text) is None


def test_odd_values_are_left_out() -> None:
    labels = parse_parameters(
        'a\nSteps: many, CFG scale: nan, Seed: -1, Size: big, Model: , Sampler: "open, Version: ' + "9" * 400
    )
    assert labels is not None
    assert (labels.steps, labels.guidance, labels.seed, labels.width, labels.model) == (None, None, None, None, None)


@pytest.mark.parametrize("piece", ["a", "a ", 'a: "', 'a: "\\', "a:,", "a-/", '"', "a\n", "Negative prompt:\n"])
def test_hostile_texts_take_no_time(piece: str) -> None:
    started = time.perf_counter()
    parse_parameters(piece * (9_000 // len(piece)))
    parse_parameters(piece * (900_000 // len(piece)) + "\nSteps: 1, Seed: 1, Size: 1x1")
    assert time.perf_counter() - started < 5
