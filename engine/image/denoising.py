"""What all diffusers pipelines share when they draw: noise from a seed, a look after each step, an end within a step.

Knows diffusers' protocol of pipelines; knows no family of models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from engine.image.model import ImageStep
from engine.jobs.job import CancelToken

PREVIEW_EVERY = 4
"""Steps from one preview to the next."""


def denoise(
    pipeline: Any,
    inputs: Mapping[str, Any],
    *,
    seed: int,
    cancel: CancelToken,
    watch: Callable[[ImageStep], None],
    preview: Callable[[Tensor], Any] | None,
) -> Tensor:
    """Run a pipeline and return its pixels [pictures, channels, h, w] in 0 … 1.

    The noise is drawn on the CPU, so that every device begins with the same. `preview` makes a small picture of latents.
    Raises CancelledError within a step.
    """
    cancel.check()

    def after_step(pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        cancel.check()
        total = int(pipeline.num_timesteps)
        shows = preview is not None and (step + 1) % PREVIEW_EVERY == 0 and step + 1 < total
        watch(ImageStep(step + 1, total, preview(tensors["latents"]) if shows and preview else None))
        return tensors

    try:
        with torch.inference_mode():
            made = pipeline(
                **inputs,
                generator=torch.Generator("cpu").manual_seed(seed),
                output_type="pt",
                callback_on_step_end=after_step,
                callback_on_step_end_tensor_inputs=["latents"],
            )
    finally:
        pipeline.maybe_free_model_hooks()
    pixels: Tensor = made.images.float().cpu()
    return pixels
