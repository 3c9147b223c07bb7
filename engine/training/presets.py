"""The presets: settings for a method, a wish (quick, balanced, careful), an amount of data and a kind of device.

Every number of a recipe is here and nowhere else. Where they come from is in docs/log.md. Knows no model and no data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

from engine.errors import BadOptionError
from engine.training.args import ALL_LINEAR, TrainingSettings
from storage.records import Kind, Method

Preset: TypeAlias = Literal["quick", "balanced", "careful"]
PRESETS: Final[tuple[Preset, ...]] = ("quick", "balanced", "careful")

_COMMON: Final[Mapping[str, Any]] = {
    "lora_rank": 16,
    "lora_alpha": 32,
    "lora_dropout": 0.0,
    "target_modules": (ALL_LINEAR,),
    "batch_size": 4,
    "micro_batch_size": 1,
    "max_length": 1024,
    "widen": 0,
    "label_smoothing": 0.0,
    "warmup_ratio": 0.1,
    "schedule": "linear",
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "seed": 0,
    "sample_steps": 0,
    "sample_tokens": 64,
    "desirable_weight": 1.0,
    "undesirable_weight": 1.0,
    "fluency_limit": 0.10,
    "answer_perplexity_limit": 2.0,
    "odd_limit": 0.01,
    "repetition_limit": 0.2,
    "length_drift_limit": 2.0,
}
_METHODS: Final[Mapping[Method, Mapping[str, Any]]] = {
    "dpo": {"learning_rate": 8e-4, "beta": 0.1, "loss_type": "sigmoid", "sft_weight": 0.05},
    # Thumbs come alone: the loss takes its bearings from the other rows of a micro-batch, so that has two.
    "kto": {"learning_rate": 2e-4, "beta": 0.1, "loss_type": "kto", "sft_weight": 0.0, "batch_size": 8, "micro_batch_size": 2},
    "sft": {"learning_rate": 2e-4, "beta": 0.1, "loss_type": "nll", "sft_weight": 0.0},
}
_TASKS: Final[Mapping[Kind, Mapping[str, Any]]] = {
    # A prompt is a whole document, up to what a summariser reads at once; further answers to it cost more than they teach.
    "summary": {"max_length": 3072, "sample_tokens": 128, "widen": 0},
}
_WISHES: Final[Mapping[Preset, Mapping[str, Any]]] = {
    "quick": {"rows": 120, "most_epochs": 2.0, "looks": 1, "patience": 2, "widen": 0},
    "balanced": {"rows": 200, "most_epochs": 3.0, "looks": 2, "patience": 2, "widen": 4},
    "careful": {"rows": 240, "most_epochs": 4.0, "looks": 4, "patience": 3, "widen": 8},
}
"""`rows` seen in all (a GPU sees _GPU_TIMES as many), never each more than `most_epochs` times; `looks` at the held-out rows;
`widen` for pairs only."""
_GPU_TIMES: Final = 20
_SAVE_ROWS: Final = 32
"""Rows between two checkpoints: what a crash loses at most."""


def recipe(name: str) -> Method:
    """The recipe of that name. Raises BadOptionError when there is none."""
    for known in _METHODS:
        if known == name:
            return known
    names = ", ".join(_METHODS)
    raise BadOptionError(f'There is no recipe "{name}"; use one of {names}.', key="error.recipe_unknown", name=name, names=names)


def settings_for(
    method: Method,
    preset: Preset,
    *,
    examples: int,
    device_kind: str,
    task: Kind = "text",
    overrides: Mapping[str, Any] | None = None,
) -> TrainingSettings:
    """Return complete settings for `examples` training rows of a task on a "cpu", "cuda" or "mps".

    `overrides` replace single settings. Raises BadOptionError that names a bad or unknown setting, method or preset.
    """
    recipe(method)
    if preset not in _WISHES:
        names = ", ".join(PRESETS)
        text = f'There is no preset "{preset}"; use one of {names}.'
        raise BadOptionError(text, key="error.preset_unknown", name=preset, names=names)
    wish = _WISHES[preset]
    changed = dict(overrides or {})
    chosen: dict[str, Any] = {**_COMMON, **_METHODS[method], "method": method, "patience": wish["patience"]}
    if method == "dpo":
        chosen["widen"] = wish["widen"]
    chosen |= _TASKS.get(task, {})
    if "batch_size" in changed and "micro_batch_size" not in changed:
        changed["micro_batch_size"] = _divisor(changed["batch_size"], chosen["micro_batch_size"])
    rows = wish["rows"] * (_GPU_TIMES if device_kind == "cuda" else 1)
    seen = widened(changed.get("widen", chosen["widen"]), examples)
    chosen["epochs"] = round(min(wish["most_epochs"], max(1.0, rows / max(1, seen))), 2)
    asked = TrainingSettings.from_json({**chosen, "eval_steps": 1, "save_steps": 1, **changed})
    total = steps(asked, seen)
    resolved = {
        **asked.to_json(),
        "eval_steps": max(1, math.ceil(total / wish["looks"])),
        "save_steps": max(1, _SAVE_ROWS // asked.batch_size),
    }
    return TrainingSettings.from_json({**resolved, **changed})


def widened(widen: object, examples: int) -> int:
    """About how many rows there are to train on: a pick of three gives two pairs, and widening adds one for each prompt."""
    return examples + examples // 2 if widen else examples


def steps(settings: TrainingSettings, examples: int) -> int:
    """How many times the weights change in a whole run over `examples` rows."""
    a_pass = max(
        1, math.ceil(math.ceil(max(1, examples) / settings.micro_batch_size) * settings.micro_batch_size / settings.batch_size)
    )
    return max(1, math.ceil(a_pass * settings.epochs))


def _divisor(batch_size: object, wanted: int) -> int:
    """The smallest size from `wanted` on that divides the batch; a bad batch size is left for the settings to refuse."""
    if not isinstance(batch_size, int) or batch_size < 1:
        return wanted
    return next((size for size in range(wanted, batch_size) if batch_size % size == 0), batch_size)
