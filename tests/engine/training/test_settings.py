"""Settings and presets: complete, checked, named in every refusal; presets follow data and device."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from engine.errors import BadOptionError
from engine.training.args import TrainingSettings, setting_names
from engine.training.presets import PRESETS, settings_for, steps

METHODS = ("dpo", "kto", "sft")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("examples", [1, 8, 60, 5000])
def test_every_preset_is_complete_and_survives_json(method: Any, preset: Any, examples: int) -> None:
    settings = settings_for(method, preset, examples=examples, device_kind="cpu")
    assert set(settings.to_json()) == set(setting_names())
    assert TrainingSettings.from_json(settings.to_json()) == settings
    assert 1 <= settings.eval_steps <= steps(settings, examples) and settings.save_steps >= 1


def test_presets_grow_and_never_repeat_rows_without_end() -> None:
    totals = [steps(settings_for("dpo", preset, examples=60, device_kind="cpu"), 60) for preset in PRESETS]
    assert totals == sorted(totals) and totals[0] < totals[-1]
    for preset in PRESETS:
        epochs = [settings_for("dpo", preset, examples=n, device_kind="cpu").epochs for n in (10, 100, 1000, 10_000)]
        assert epochs == sorted(epochs, reverse=True) and epochs[-1] >= 1 and epochs[0] <= 10
    on_gpu = settings_for("dpo", "quick", examples=1000, device_kind="cuda")
    assert on_gpu.epochs >= settings_for("dpo", "quick", examples=1000, device_kind="cpu").epochs


def test_overrides_are_taken_and_a_batch_size_alone_is_enough() -> None:
    settings = settings_for("kto", "quick", examples=50, device_kind="cpu", overrides={"batch_size": 3, "lora_rank": 4})
    assert settings.batch_size == 3 and settings.lora_rank == 4
    assert settings.batch_size % settings.micro_batch_size == 0 and settings.micro_batch_size >= 2
    named = settings_for("dpo", "quick", examples=50, device_kind="cpu", overrides={"target_modules": ["q_proj", "v_proj"]})
    assert named.target_modules == ("q_proj", "v_proj")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", "fast"),
        ("learning_rate", float("nan")),
        ("learning_rate", -1),
        ("lora_rank", 1.5),
        ("lora_rank", True),
        ("epochs", 0),
        ("batch_size", 0),
        ("batch_size", None),
        ("loss_type", "nll"),
        ("schedule", "wild"),
        ("target_modules", []),
        ("target_modules", [3]),
        ("micro_batch_size", 3),
        ("leaning_rate", 1e-4),
    ],
)
def test_a_bad_setting_is_refused_by_its_name(name: str, value: object) -> None:
    with pytest.raises(BadOptionError, match=name) as caught:
        settings_for("dpo", "quick", examples=50, device_kind="cpu", overrides={name: value})
    assert caught.value.message_key.startswith("error.setting_")


def test_unknown_recipes_and_presets_are_refused() -> None:
    with pytest.raises(BadOptionError, match="ppo"):
        settings_for("ppo", "quick", examples=50, device_kind="cpu")  # type: ignore[arg-type]
    with pytest.raises(BadOptionError, match="reckless"):
        settings_for("dpo", "reckless", examples=50, device_kind="cpu")  # type: ignore[arg-type]
    with pytest.raises(BadOptionError, match="missing"):
        TrainingSettings.from_json({"method": "dpo"})


def test_planning_and_watching_a_run_loads_no_training_library() -> None:
    modules = (
        "engine.jobs.process, engine.training.presets, engine.training.artifact, engine.training.picture, engine.training.run"
    )
    heavy = "('torch', 'transformers', 'trl', 'peft', 'accelerate', 'datasets', 'matplotlib')"
    code = f"import sys, {modules}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"
