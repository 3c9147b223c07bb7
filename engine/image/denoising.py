"""What all diffusers pipelines share when they draw: noise from a seed, a look now and then, an end within a step.

Knows diffusers' protocol of pipelines; knows no family of models.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn

from engine.device import physical_cores, use_threads
from engine.image.model import ImageStep
from engine.jobs.job import CancelToken

PREVIEW_INTERVAL_S: Final = 0.3
"""Least time from one preview to the next."""


def settle_threads() -> None:
    """Let this thread compute on all cores, whatever others have set: the last bits of a picture depend on how many it has."""
    use_threads(physical_cores())


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

    The noise is drawn on the CPU, so that every device begins with the same. `preview` makes a small picture of latents; a
    picture that takes less than the interval has none. Raises CancelledError within a step.
    """
    cancel.check()
    settle_threads()
    shown_at_s = time.monotonic()

    def after_step(pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        nonlocal shown_at_s
        cancel.check()
        total = int(pipeline.num_timesteps)
        picture, now_s = None, time.monotonic()
        if preview is not None and step + 1 < total and now_s - shown_at_s >= PREVIEW_INTERVAL_S:
            picture, shown_at_s = preview(tensors["latents"]), now_s
        watch(ImageStep(step + 1, total, picture))
        return tensors

    try:
        with torch.inference_mode(), _watched(pipeline, cancel):
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


@contextmanager
def _watched(pipeline: Any, cancel: CancelToken) -> Iterator[None]:
    """Ask `cancel` before each block of each part: a step of a large model takes many seconds on a CPU."""

    def check(module: nn.Module, inputs: object) -> None:
        cancel.check()

    parts = [part for part in pipeline.components.values() if isinstance(part, nn.Module)]
    blocks = [block for part in parts for layers in part.modules() if isinstance(layers, nn.ModuleList) for block in layers]
    hooks = [block.register_forward_pre_hook(check) for block in blocks]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
