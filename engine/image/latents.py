"""What latents look like, cheaply: one linear map from an autoencoder's channels to red, green and blue.

The map is found from the autoencoder itself: it encodes a few flat colours, and least squares does the rest. A preview then
costs one small matrix product, whatever the model. Knows autoencoders in diffusers' protocol; knows no prompt and no pipeline.
"""

from __future__ import annotations

from itertools import product
from typing import Any, Final

import torch
from PIL import Image
from torch import Tensor

_LEVELS: Final = (-0.8, 0.0, 0.8)
_SIDE: Final = 32
"""Pixels of the flat pictures that are encoded."""
_CLOSENESS: Final = 1e-3
"""Of the ridge: 27 colours do not tell all channels apart."""


class LatentView:
    """Pictures of one autoencoder's latents. The map is found when it is first needed."""

    def __init__(self, vae: Any, device: str | None = None) -> None:
        """`device`: where it computes; None = where its weights are, which may be elsewhere until then."""
        self._vae = vae
        self._device = device
        self._map: Tensor | None = None

    @torch.inference_mode()
    def picture(self, latents: Tensor, width: int, height: int) -> Image.Image | None:
        """A small picture of latents [1, c, h, w], or [1, h·w/4, 4c] as some transformers pack them; None for another form.

        `width` and `height` are the finished picture's, in pixels.
        """
        grid = _unpacked(latents, width, height) if latents.ndim == 3 else latents
        if grid is None or grid.ndim != 4:
            return None
        if self._map is None:
            self._map = self._fitted()
        if grid.shape[1] + 1 != self._map.shape[0]:
            return None
        values = grid[0].float().cpu().permute(1, 2, 0)
        colours = torch.cat([values, torch.ones(*values.shape[:2], 1)], -1) @ self._map
        pixels = ((colours.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
        return Image.fromarray(pixels.numpy())

    def _fitted(self) -> Tensor:
        """[channels + 1, 3]: pixels in -1 … 1 of a latent and a one."""
        colours = torch.tensor(list(product(_LEVELS, repeat=3)))
        flat = colours[:, :, None, None].expand(-1, -1, _SIDE, _SIDE)
        found = []
        for picture in flat:
            encoded = self._vae.encode(picture[None].to(self._device or self._vae.device, self._vae.dtype)).latent_dist.mode()
            found.append(encoded.float().cpu().mean((2, 3)))
        config = self._vae.config
        shift = getattr(config, "shift_factor", None) or 0.0
        latents = (torch.cat(found) - shift) * config.scaling_factor
        known = torch.cat([latents, torch.ones(len(latents), 1)], 1)
        ridge = _CLOSENESS * torch.eye(known.shape[1])
        found_map: Tensor = torch.linalg.solve(known.T @ known + ridge, known.T @ colours)
        return found_map


def _unpacked(latents: Tensor, width: int, height: int) -> Tensor | None:
    """[1, h·w/4, 4c] → [1, c, h, w]: each token is a square of 2 × 2 latents."""
    count, channels = latents.shape[1:]
    side = (width * height / (4 * count)) ** 0.5
    rows, columns = round(height / (2 * side)), round(width / (2 * side))
    if rows * columns != count or channels % 4:
        return None
    tiles = latents.view(1, rows, columns, channels // 4, 2, 2)
    return tiles.permute(0, 3, 1, 4, 2, 5).reshape(1, channels // 4, 2 * rows, 2 * columns)
