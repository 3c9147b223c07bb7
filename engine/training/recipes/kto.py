"""Kahneman–Tversky Optimization (Ethayarajh et al. 2024, arXiv:2402.01306) from thumbs, on TRL's KTOTrainer."""

from __future__ import annotations

from typing import Any

from trl import KTOConfig, KTOTrainer

from engine.training.trainer import Parts, Watched, trainer_arguments, trainer_inputs


class WatchedKTOTrainer(Watched, KTOTrainer):  # type: ignore[misc]
    pass


def build(parts: Parts) -> Any:
    """Return a trainer that is ready to train; the reference has been computed by then."""
    settings = parts.settings
    config = KTOConfig(
        **trainer_arguments(parts),
        beta=settings.beta,
        loss_type=settings.loss_type,
        desirable_weight=settings.desirable_weight,
        undesirable_weight=settings.undesirable_weight,
        precompute_ref_log_probs=True,
        disable_dropout=settings.lora_dropout == 0,
        train_sampling_strategy="sequential",  # rows are mixed already, and each was given its neighbour's answer
    )
    return WatchedKTOTrainer(args=config, **trainer_inputs(parts))
