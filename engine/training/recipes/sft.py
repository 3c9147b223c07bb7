"""Supervised fine-tuning on edited and top-rated answers, on TRL's SFTTrainer; the loss is on the answers only."""

from __future__ import annotations

from typing import Any

from trl import SFTConfig, SFTTrainer

from engine.training.trainer import Parts, Watched, trainer_arguments, trainer_inputs


class WatchedSFTTrainer(Watched, SFTTrainer):  # type: ignore[misc]
    pass


def build(parts: Parts) -> Any:
    """Return a trainer that is ready to train."""
    settings = parts.settings
    config = SFTConfig(**trainer_arguments(parts), loss_type=settings.loss_type, packing=False)
    return WatchedSFTTrainer(args=config, **trainer_inputs(parts))
