"""The starter image model's transformer: Stable Diffusion 3's, with drawn examples beside the noise.

Knows diffusers' transformer and what engine/image/examples.py places; knows no pipeline.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from diffusers import SD3Transformer2DModel
from torch import Tensor, nn

from engine.image.examples import LATENTS, PLANES, WIDTH


class StickerTransformer(SD3Transformer2DModel):  # type: ignore[misc]  # diffusers has no types
    """Takes the examples as the last WIDTH numbers of the pooled condition, so that every pipeline of diffusers brings them
    along, and puts them as further channels beside the noise: they cost nothing, whatever their number.

    One that was distilled (engine/image/guidance.py) has one more number in the pooled condition before them.
    """

    @functools.wraps(SD3Transformer2DModel.__init__)  # type: ignore[misc]  # from_pretrained reads its parameters
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        width = self.config.num_attention_heads * self.config.attention_head_dim
        patch = self.config.patch_size
        self.pos_embed.proj = nn.Conv2d(self.config.in_channels + PLANES, width, kernel_size=patch, stride=patch)

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Any,
        pooled_projections: Any,
        timestep: Tensor,
        *rest: Any,
        **named: Any,
    ) -> Any:
        """As SD3Transformer2DModel's, with pooled_projections [n, pooled_projection_dim + WIDTH]."""
        mixed, pooled = with_examples(hidden_states, pooled_projections, timestep)
        return super().forward(mixed, encoder_hidden_states, pooled, timestep, *rest, **named)


def with_examples(mixed: Tensor, pooled: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    """Noisy latents [n, 16, 8, 8] with the examples at the end of `pooled` beside them, and `pooled` without them.

    Examples fade as the noise does (times 1000 … 0): they say what to draw, not how its details look.
    """
    pooled, examples = pooled[:, :-WIDTH], pooled[:, -WIDTH:]
    planes = examples.view(-1, PLANES, *LATENTS[1:]) * (times / 1000).view(-1, 1, 1, 1)
    return torch.cat([mixed, planes.to(mixed.dtype)], 1), pooled


def guidance_numbers(model: StickerTransformer, condition: int) -> int:
    """How many numbers it is told of guidance, beside a pooled `condition` of that width: 1 if it was distilled, else 0.

    Raises ValueError for a transformer of another width.
    """
    found = int(model.config.pooled_projection_dim) - condition
    if found not in (0, 1):
        raise ValueError(f"the transformer takes {condition + found} numbers of prompt and style, not {condition}")
    return found
