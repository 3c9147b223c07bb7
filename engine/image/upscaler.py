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

_MAPS = 5
"""Feature maps that are there at once, with what a convolution needs beside them."""
_MARGIN = 16
"""Pixels around a tile that decide about it: one for each 3 × 3 convolution, rounded up."""


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


def enlarge_bytes(model: StickerUpscaler, size: int) -> int:
    """Memory that `enlarge` of one picture takes in one piece, at most: a few maps of features at half the size."""
    return _MAPS * int(model.config.width) * (size // 2) ** 2 * 4


@torch.inference_mode()
def enlarge(model: StickerUpscaler, pixels: Tensor, size: int, tile: int | None = None) -> Tensor:
    """Premultiplied [n, 4, h, w] at `size` pixels on the longer side: doubled while it is smaller, then shrunk to fit.

    With `tile` so many pixels of a side are computed at a time: less memory, and the same picture but for rounding.
    """
    while max(pixels.shape[2:]) < size:
        made = model(pixels) if tile is None or max(pixels.shape[2:]) <= tile else _in_tiles(model, pixels, tile)
        pixels = made.clamp(-1, 1)
    longest = max(pixels.shape[2:])
    if longest == size:
        return pixels
    height, width = (max(1, round(side * size / longest)) for side in pixels.shape[2:])
    return F.interpolate(pixels, (height, width), mode="area")


def _in_tiles(model: StickerUpscaler, pixels: Tensor, tile: int) -> Tensor:
    """What the model makes of `pixels`, tile by tile, each with the margin that it looks at."""
    rows, columns = pixels.shape[2:]
    made = pixels.new_empty((*pixels.shape[:2], 2 * rows, 2 * columns))
    for top in range(0, rows, tile):
        for left in range(0, columns, tile):
            bottom, right = min(rows, top + tile), min(columns, left + tile)
            above, before = max(0, top - _MARGIN), max(0, left - _MARGIN)
            part = model(pixels[:, :, above : bottom + _MARGIN, before : right + _MARGIN])
            down, across = 2 * (top - above), 2 * (left - before)
            made[:, :, 2 * top : 2 * bottom, 2 * left : 2 * right] = part[
                :, :, down : down + 2 * (bottom - top), across : across + 2 * (right - left)
            ]
    return made
