"""Direct Preference Optimization (Rafailov et al. 2023, arXiv:2305.18290) from pairs, on TRL's DPOTrainer.

Beside the preference loss stands the likelihood of the preferred answer (RPO: Pang et al. 2024, arXiv:2404.19733), which
keeps the language whole. Log-probabilities of the base model are computed once, before training.
"""

from __future__ import annotations

from typing import Any

from trl import DPOConfig, DPOTrainer

from engine.training.trainer import Parts, Watched, trainer_arguments, trainer_inputs


class WatchedDPOTrainer(Watched, DPOTrainer):  # type: ignore[misc]
    paired = True


def build(parts: Parts) -> Any:
    """Return a trainer that is ready to train; the reference has been computed by then."""
    settings = parts.settings
    losses = [settings.loss_type] + (["sft"] if settings.sft_weight else [])
    config = DPOConfig(
        **trainer_arguments(parts),
        beta=settings.beta,
        loss_type=losses,
        loss_weights=[1.0, settings.sft_weight][: len(losses)],
        label_smoothing=settings.label_smoothing,
        precompute_ref_log_probs=True,
        # LoRA's own dropout is ours to set; TRL would switch it off with the model's.
        disable_dropout=settings.lora_dropout == 0,
    )
    return WatchedDPOTrainer(args=config, **trainer_inputs(parts))
