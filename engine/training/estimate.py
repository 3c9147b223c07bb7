"""What a training will take, before it starts: steps, seconds and bytes.

The time is learned: each finished run says how long one token of its data took, and the next estimate for the same model on the
same device starts from that. Before the first one a measured constant stands in. Knows settings and sizes; loads no model.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from engine.models.folder import read_json, read_weights
from engine.training.args import TrainingSettings
from engine.training.presets import steps as steps_of
from engine.training.presets import widened

FIXED_S: Final[Mapping[str, float]] = {"cpu": 20.0, "cuda": 25.0, "mps": 25.0}
"""Starting the process, loading, the last look and saving."""
SECONDS_PER_PARAMETER_TOKEN: Final[Mapping[str, float]] = {"cpu": 4e-11, "cuda": 2e-13, "mps": 4e-12}
"""Of a learning step with LoRA, before any run has been measured; the CPU's is of two cores."""
_PASSES: Final = {"dpo": 1.0, "kto": 0.9, "sft": 0.7}
"""Beside dpo, which computes each row with and without the adapter and goes back through one of them."""
_CHARS_PER_TOKEN: Final = 3.6
_TEMPLATE_TOKENS: Final = 24
"""What a chat template puts around the words of a row."""
_LOOK_SHARE: Final = 0.4
"""A held-out row costs this much of a training row: nothing goes back through it."""
_PROCESS_BYTES: Final[Mapping[str, int]] = {"cpu": 900_000_000, "cuda": 600_000_000, "mps": 600_000_000}
"""Python with torch, transformers and TRL, without a model; on a GPU what its driver and kernels take there."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What of a model decides how long it takes and what it needs."""

    parameters: int
    hidden_size: int
    intermediate_size: int
    layers: int
    vocab_size: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run will take."""

    steps: int
    duration_s: float
    memory_bytes: int
    """At its highest, of the training alone, in the memory of its device."""
    is_measured: bool
    """Learned from an earlier run of the same model on the same device, not from the constant."""


def read_shape(folder: Path) -> ModelShape:
    """Read a model's folder: config.json and the headers of its weights. Raises BadFileError."""
    config = read_json(folder / "config.json")
    hidden = _size(config, "hidden_size", "n_embd", 1024)
    return ModelShape(
        parameters=read_weights(folder).parameters,
        hidden_size=hidden,
        intermediate_size=_size(config, "intermediate_size", "n_inner", 4 * hidden),
        layers=_size(config, "num_hidden_layers", "n_layer", 24),
        vocab_size=_size(config, "vocab_size", "vocab_size", 50_000),
    )


def row_tokens(rows: Iterable[Mapping[str, Any]], max_length: int) -> float:
    """How many tokens a row has on average, guessed from its characters; both answers of a pair count, each with the prompt."""
    counts = [sum(min(max_length, tokens) for tokens in _sequences(row)) for row in rows]
    return sum(counts) / len(counts) if counts else float(max_length) / 2


def work_tokens(settings: TrainingSettings, *, train: int, held_out: int, tokens: float) -> float:
    """Tokens of a whole run, those of the looks at the held-out rows weighed by what they cost."""
    steps = steps_of(settings, widened(settings.widen, train))
    looks = math.ceil(steps / settings.eval_steps)
    further = settings.widen * train / 2 * tokens / 2  # written a token at a time, which costs about as much as learning from it
    return tokens * (steps * settings.batch_size + looks * held_out * _LOOK_SHARE) + further


def estimate(
    settings: TrainingSettings,
    shape: ModelShape,
    *,
    device_kind: str,
    train: int,
    held_out: int,
    tokens: float,
    seconds_per_token: float | None,
) -> Estimate:
    """What a run over `train` and `held_out` rows of about `tokens` tokens will take.

    `seconds_per_token` is what an earlier run measured (see `measured`), None before there was one.
    """
    pace = seconds_per_token
    if pace is None:
        constant = SECONDS_PER_PARAMETER_TOKEN.get(device_kind, SECONDS_PER_PARAMETER_TOKEN["cpu"])
        pace = constant * shape.parameters * _PASSES[settings.method]
    work = work_tokens(settings, train=train, held_out=held_out, tokens=tokens)
    return Estimate(
        steps=steps_of(settings, widened(settings.widen, train)),
        duration_s=FIXED_S.get(device_kind, FIXED_S["cpu"]) + pace * work,
        memory_bytes=memory_bytes(settings, shape, device_kind=device_kind, tokens=tokens),
        is_measured=seconds_per_token is not None,
    )


def measured(duration_s: float, work: float, device_kind: str) -> float | None:
    """Seconds that each token of a run took which did `work` tokens in `duration_s`; None when it was too short to tell."""
    working_s = duration_s - FIXED_S.get(device_kind, FIXED_S["cpu"])
    return working_s / work if work > 0 and working_s > 1 else None


def memory_bytes(settings: TrainingSettings, shape: ModelShape, *, device_kind: str, tokens: float) -> int:
    """Weights once, the adapter four times (itself, its gradient, two moments of AdamW), and what a micro-batch leaves behind."""
    width = 2 if device_kind == "cuda" else 4
    adapter = _adapter_parameters(settings, shape)
    # The longest rows decide: about twice the average, and never more than fits.
    answers = 2 if settings.method == "dpo" else 1
    batch = settings.micro_batch_size * min(settings.max_length * answers, 2 * tokens)
    a_layer = 10 * shape.hidden_size + 4 * shape.intermediate_size + settings.lora_rank * 7
    head = 4 * shape.vocab_size  # logits, their softmax, its gradient, and the reference's
    activations = batch * width * (shape.layers * a_layer + head)
    process = _PROCESS_BYTES.get(device_kind, _PROCESS_BYTES["cpu"])
    return int(process + shape.parameters * width + adapter * 16 + activations)


def _adapter_parameters(settings: TrainingSettings, shape: ModelShape) -> int:
    """Of LoRA on every linear layer of a Llama: four beside the attention, three in the feed-forward part."""
    attention = 4 * 2 * shape.hidden_size
    feed_forward = 3 * (shape.hidden_size + shape.intermediate_size)
    return settings.lora_rank * shape.layers * (attention + feed_forward)


def _sequences(row: Mapping[str, Any]) -> list[float]:
    """The token counts of what a model reads of a row."""
    if "messages" in row:
        return [_tokens(row["messages"])]
    prompt = _tokens(row.get("prompt", ()))
    return [prompt + _tokens(row[name]) for name in ("chosen", "rejected", "completion") if name in row]


def _tokens(messages: Iterable[Mapping[str, Any]]) -> float:
    return sum(len(str(message.get("content", ""))) / _CHARS_PER_TOKEN + _TEMPLATE_TOKENS / 2 for message in messages)


def _size(config: Mapping[str, Any], name: str, other: str, default: int) -> int:
    value = config.get(name, config.get(other))
    return value if isinstance(value, int) and value > 0 else default
