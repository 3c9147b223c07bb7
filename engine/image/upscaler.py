"""Twice the size with clean edges: a small residual network over premultiplied pixels (Shi et al. 2016, arXiv:1609.05158;
Lim et al. 2017, arXiv:1707.02921). Drawn pictures look alike at every size, so that it may be applied again to its own result.

Knows pixels; knows no prompt.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn


class StickerUpscaler(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """What it adds to a bilinear enlargement."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, channels: int = 4, width: int = 32, depth: int = 4) -> None:
        super().__init__()
        self.enter = nn.Conv2d(channels, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1))
            for _ in range(depth)
        )
        self.leave = nn.Sequential(nn.Conv2d(width, 4 * channels, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        """[n, 4, h, w] in -1 … 1 → [n, 4, 2h, 2w]."""
        state = self.enter(x)
        for block in self.blocks:
            state = state + block(state)
        added: Tensor = self.leave(state)
        return F.interpolate(x, scale_factor=2, mode="bilinear") + added


@torch.inference_mode()
def enlarge(model: StickerUpscaler, pixels: Tensor, size: int) -> Tensor:
    """Premultiplied [n, 4, h, w] at `size` pixels on the longer side: doubled while it is smaller, then shrunk to fit."""
    while max(pixels.shape[2:]) < size:
        pixels = model(pixels).clamp(-1, 1)
    longest = max(pixels.shape[2:])
    if longest == size:
        return pixels
    height, width = (max(1, round(side * size / longest)) for side in pixels.shape[2:])
    return F.interpolate(pixels, (height, width), mode="area")
