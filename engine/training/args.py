"""The settings of a training run: every number that decides what comes out, checked before anything is loaded.

Knows what each setting means and may be; knows no preset, no model and no data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from engine.errors import BadOptionError
from storage.records import Method

ALL_LINEAR: Final = "all-linear"
"""Every linear layer but the output head, by PEFT's own name for it."""

LOSSES: Final[Mapping[Method, tuple[str, ...]]] = {
    "dpo": ("sigmoid", "ipo", "hinge", "robust", "sigmoid_norm", "apo_zero", "apo_down", "nca_pair", "sppo_hard"),
    "kto": ("kto", "apo_zero_unpaired"),
    "sft": ("nll", "dft"),
}
"""Losses by method, under TRL's names."""
SCHEDULES: Final = ("linear", "cosine", "constant", "constant_with_warmup")


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """Complete: two runs with equal settings, data, base and device do the same."""

    method: Method
    """dpo learns from pairs, kto from thumbs, sft from answers to imitate."""
    lora_rank: int
    """Rank of the two small matrices beside each trained layer (Hu et al. 2021, LoRA)."""
    lora_alpha: int
    """Their product is scaled by lora_alpha / lora_rank."""
    lora_dropout: float
    """Share of a layer's inputs that the matrices do not see, at random."""
    target_modules: tuple[str, ...]
    """Names of the layers that get them, or ("all-linear",)."""
    learning_rate: float
    """Of AdamW, at its highest."""
    epochs: float
    """How often each row is seen."""
    batch_size: int
    """Rows (pairs for dpo) before the weights change once."""
    micro_batch_size: int
    """Rows computed at once; between them training gives way to people. Divides batch_size."""
    max_length: int
    """Tokens of prompt and answer together; longer rows are cut at the end."""
    beta: float
    """How strongly dpo and kto hold on to the base model; higher holds more."""
    loss_type: str
    """One of LOSSES for the method."""
    sft_weight: float
    """dpo: weight of the log-likelihood of the preferred answer beside the preference loss; it keeps the language whole."""
    widen: int
    """dpo: further answers to each rated prompt, told apart by the taste that the ratings teach, for clearer pairs; 0 = none."""
    label_smoothing: float
    """dpo with the robust loss: share of pairs that may be the wrong way round."""
    warmup_ratio: float
    """Share of the steps in which the learning rate rises."""
    schedule: str
    """What the learning rate does after that, one of SCHEDULES."""
    weight_decay: float
    """Of AdamW."""
    max_grad_norm: float
    """Longer gradients are shortened to it."""
    seed: int
    """Of the first weights, the order of the rows and dropout."""
    eval_steps: int
    """Steps between two looks at the held-out rows and the guards."""
    save_steps: int
    """Steps between two checkpoints: what a crash loses at most."""
    patience: int
    """Looks without a better held-out result after which training stops."""
    sample_steps: int
    """Steps between two rounds of sample answers, rounded up to a look at the held-out rows; 0 = at each look."""
    sample_tokens: int
    """Longest sample answer."""
    desirable_weight: float
    """kto: weight of the rows with a thumb up."""
    undesirable_weight: float
    """kto: weight of the rows with a thumb down."""
    fluency_limit: float
    """How much the perplexity of neutral text may grow, as a share: 0.1 = +10 %. What goes over it is never saved."""
    answer_perplexity_limit: float
    """How surprising sample answers may be to the base model, as a multiple of what its own are."""
    odd_limit: float
    """Highest share of characters in sample answers that belong to no script of prompt and data."""
    repetition_limit: float
    """Highest share of repeated word sequences in sample answers, beyond what the base model's have."""
    length_drift_limit: float
    """An alarm sounds when sample answers are this many times longer (or shorter) than data and base model explain."""

    def __post_init__(self) -> None:
        for name, (kind, low, high) in _RANGES.items():
            _check_number(name, getattr(self, name), kind, low, high)
        _check_choice("method", self.method, tuple(LOSSES))
        _check_choice("loss_type", self.loss_type, LOSSES[self.method])
        _check_choice("schedule", self.schedule, SCHEDULES)
        if not self.target_modules or not all(isinstance(name, str) and name for name in self.target_modules):
            raise _bad('Setting "target_modules" must be a list of layer names.', "error.setting_modules")
        if self.batch_size % self.micro_batch_size:
            raise _bad('Setting "micro_batch_size" must divide "batch_size".', "error.setting_micro_batch")
        if self.loss_type == "kto" and self.micro_batch_size < 2:
            raise _bad('The "kto" loss compares rows: "micro_batch_size" must be 2 or more.', "error.setting_kto_batch")

    @property
    def choices(self) -> Mapping[str, tuple[str, ...]]:
        """What the settings that are words may be, by name."""
        return {"loss_type": LOSSES[self.method], "schedule": SCHEDULES}

    def to_json(self) -> dict[str, Any]:
        """As one JSON object; `from_json` reads it back."""
        return {**asdict(self), "target_modules": list(self.target_modules)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> TrainingSettings:
        """Read what `to_json` wrote. Raises BadOptionError that names an unknown, missing or bad setting."""
        known = {field.name for field in fields(cls)}
        for name in sorted(map(str, value)):
            if name not in known:
                raise _bad(f'Unknown setting: "{name}".', "error.setting_unknown", name=name)
        for name in sorted(known - set(value)):
            raise _bad(f'Setting "{name}" is missing.', "error.setting_missing", name=name)
        modules = value["target_modules"]
        modules = (modules,) if isinstance(modules, str) else tuple(modules) if isinstance(modules, list | tuple) else ()
        return cls(**{**value, "target_modules": modules})


def setting_names() -> tuple[str, ...]:
    """Names of all settings, in the order of their dataclass."""
    return tuple(field.name for field in fields(TrainingSettings))


_RANGES: Final[Mapping[str, tuple[type, float, float]]] = {
    "lora_rank": (int, 1, 256),
    "lora_alpha": (int, 1, 1024),
    "lora_dropout": (float, 0, 0.9),
    "learning_rate": (float, 1e-8, 0.1),
    "epochs": (float, 0.01, 100),
    "batch_size": (int, 1, 1024),
    "micro_batch_size": (int, 1, 256),
    "max_length": (int, 16, 131_072),
    "beta": (float, 1e-4, 100),
    "sft_weight": (float, 0, 100),
    "widen": (int, 0, 32),
    "label_smoothing": (float, 0, 0.49),
    "warmup_ratio": (float, 0, 0.99),
    "weight_decay": (float, 0, 10),
    "max_grad_norm": (float, 0.001, 1000),
    "seed": (int, 0, 2**32 - 1),
    "eval_steps": (int, 1, 1_000_000),
    "save_steps": (int, 1, 1_000_000),
    "patience": (int, 1, 1000),
    "sample_steps": (int, 0, 1_000_000),
    "sample_tokens": (int, 8, 1024),
    "desirable_weight": (float, 0.01, 100),
    "undesirable_weight": (float, 0.01, 100),
    "fluency_limit": (float, 0.001, 10),
    "answer_perplexity_limit": (float, 1, 100),
    "odd_limit": (float, 0, 1),
    "repetition_limit": (float, 0, 1),
    "length_drift_limit": (float, 1, 100),
}


def _check_number(name: str, value: object, kind: type, low: float, high: float) -> None:
    good = isinstance(value, (int, float) if kind is float else int) and not isinstance(value, bool)
    if not good or not math.isfinite(value) or not low <= value <= high:  # type: ignore[arg-type, operator]
        text = f'Setting "{name}" must be a number from {low:g} to {high:g}.'
        if kind is int:
            text = f'Setting "{name}" must be a whole number from {low:g} to {high:g}.'
        raise _bad(text, "error.setting_whole" if kind is int else "error.setting_range", name=name, low=low, high=high)


def _check_choice(name: str, value: object, names: tuple[str, ...]) -> None:
    if value not in names:
        listed = ", ".join(names)
        raise _bad(f'Setting "{name}" must be one of {listed}.', "error.setting_one_of", name=name, names=listed)


def _bad(text: str, key: str, **values: object) -> BadOptionError:
    return BadOptionError(text, key=key, **values)
