"""What every recipe's trainer shares: LoRA, the arguments, and the pauses before each piece of work.

Runs in the training child only. Knows PEFT and transformers' Trainer; knows no loss and no data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from peft import LoraConfig, TaskType

from engine.training import scoring
from engine.training.args import ALL_LINEAR, TrainingSettings
from engine.training.presets import steps
from engine.training.rows import TrainingRows
from engine.training.watch import StoppedError, Watch

CHECKPOINTS: Final = "checkpoints"
"""Folder in the job's folder; one folder in it for each."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a recipe builds its trainer from."""

    model: Any
    tokenizer: Any
    rows: TrainingRows
    settings: TrainingSettings
    watch: Watch
    job_dir: Path
    device: str
    """"cpu", "cuda" or "mps"."""


class Watched:
    """Mixed into TRL's trainers, before them: gives way before each micro-batch, takes rows as they are, scores answers only."""

    paired = False
    """Whether a batch holds the preferred answers first and the others after them."""

    def __init__(self, *args: Any, watch: Watch, **kwargs: Any) -> None:
        self.watch = watch
        self._reference_rows = 0
        self._rows = sum(len(kwargs[name] or ()) for name in ("train_dataset", "eval_dataset"))
        super().__init__(*args, **kwargs)
        self._scores_answers_only = scoring.install(self._causal_model(), paired=self.paired)

    def _causal_model(self) -> Any:
        return self.model.get_base_model()  # type: ignore[attr-defined]

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        """Rows are token ids already, written down as the text engine does it, which TRL's own templating would not."""
        return dataset

    def compute_ref_log_probs(self, model: Any, inputs: Any) -> Any:
        """As TRL does it before training; the watch hears of each micro-batch."""
        self.watch.check_or_stop()
        scoring.install(self._causal_model(), paired=self.paired)
        result = super().compute_ref_log_probs(model, inputs)  # type: ignore[misc]
        self._reference_rows += len(result[0])
        self.watch.phase("prepare", self._reference_rows, self._rows)
        return result

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """One micro-batch forward and back."""
        self.watch.check()
        loss: torch.Tensor = super().training_step(*args, **kwargs)  # type: ignore[misc]
        return loss

    def prediction_step(self, *args: Any, **kwargs: Any) -> Any:
        """One micro-batch of held-out rows."""
        self.watch.check_or_stop()
        return super().prediction_step(*args, **kwargs)  # type: ignore[misc]

    def log(self, *args: Any, **kwargs: Any) -> None:
        """Log without the figures that our way to score leaves out."""
        if self._scores_answers_only:
            for metrics in self._metrics.values():  # type: ignore[attr-defined]
                for name in scoring.LEFT_OUT:
                    metrics.pop(name, None)
        super().log(*args, **kwargs)  # type: ignore[misc]

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Held-out rows and what follows from them; given up when training is to stop, with a checkpoint instead."""
        try:
            result: dict[str, float] = super().evaluate(*args, **kwargs)  # type: ignore[misc]
        except StoppedError:
            self.control.should_save = True  # type: ignore[attr-defined]
            self.control.should_training_stop = True  # type: ignore[attr-defined]
            return {}
        return result


def lora_config(settings: TrainingSettings) -> LoraConfig:
    """The adapter's shape, in PEFT's words."""
    modules = settings.target_modules
    return LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=ALL_LINEAR if modules == (ALL_LINEAR,) else list(modules),
        bias="none",
    )


def trainer_arguments(parts: Parts) -> dict[str, Any]:
    """Arguments that all of TRL's configs take.

    Base weights have the device's own type (engine.device.training_dtype), the adapter is float32. Activations are kept, since
    small models and short rows leave room for them.
    Our monitor decides when to look and to save; the Trainer keeps its order of rows and random numbers over a resume.
    """
    settings, rows = parts.settings, parts.rows
    return {
        "output_dir": str(parts.job_dir / CHECKPOINTS),
        "per_device_train_batch_size": settings.micro_batch_size,
        "per_device_eval_batch_size": settings.micro_batch_size,
        "gradient_accumulation_steps": settings.batch_size // settings.micro_batch_size,
        "max_steps": steps(settings, len(rows.train)),
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": settings.schedule,
        "warmup_steps": settings.warmup_ratio,  # below 1 it is a share of the steps
        "weight_decay": settings.weight_decay,
        "max_grad_norm": settings.max_grad_norm,
        "seed": settings.seed,
        "data_seed": settings.seed,
        "max_length": settings.max_length,
        "bf16": parts.device == "cuda",
        "use_cpu": parts.device == "cpu",
        "gradient_checkpointing": False,
        "dataloader_pin_memory": parts.device == "cuda",
        "eval_strategy": "steps" if rows.held_out else "no",
        "eval_steps": settings.eval_steps,
        "save_strategy": "steps",
        "save_steps": settings.save_steps,
        "save_total_limit": None,
        "logging_strategy": "steps",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "report_to": ["tensorboard"],
        "disable_tqdm": True,
        "log_level": "warning",
        "prediction_loss_only": True,
        "push_to_hub": False,
    }


def trainer_inputs(parts: Parts) -> dict[str, Any]:
    """What all of TRL's trainers are built from, beside their arguments."""
    return {
        "model": parts.model,
        "train_dataset": _dataset_of(parts.rows.train),
        "eval_dataset": _dataset_of(parts.rows.held_out),
        "processing_class": parts.tokenizer,
        "peft_config": lora_config(parts.settings),
        "watch": parts.watch,
    }


def _dataset_of(rows: tuple[Mapping[str, Any], ...]) -> Any:
    """The rows as a `datasets` table in memory; None for no rows."""
    from datasets import Dataset

    return Dataset.from_list([dict(row) for row in rows]) if rows else None
