"""Supervised fine-tuning on edited and top-rated answers, on TRL's SFTTrainer; the loss is on the answers only."""

from __future__ import annotations

from typing import Any

from trl import SFTConfig, SFTTrainer

from engine.training.trainer import Parts, Watched, dataset_of, lora_config, trainer_arguments


class WatchedSFTTrainer(Watched, SFTTrainer):  # type: ignore[misc]
    pass


def build(parts: Parts) -> Any:
    """Return a trainer that is ready to train."""
    settings = parts.settings
    config = SFTConfig(**trainer_arguments(parts), loss_type=settings.loss_type, packing=False)
    return WatchedSFTTrainer(
        model=parts.model,
        args=config,
        train_dataset=dataset_of(parts.rows.train),
        eval_dataset=dataset_of(parts.rows.held_out),
        processing_class=parts.tokenizer,
        peft_config=lora_config(settings),
        watch=parts.watch,
    )
