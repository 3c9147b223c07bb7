"""The starter image model's autoencoder: 64 × 64 pixels with transparency ↔ 8 × 8 latents of 16 channels.

Convolutions work on unshuffled pixels (Shi et al. 2016, arXiv:1609.05158), never at full size: that is what makes it fast on a
CPU. Pixels are premultiplied, so that a clear pixel has one value only. It answers like diffusers' AutoencoderKL, so that
diffusers' pipelines take it as it is. Knows tensors; knows no prompt and no file but its own.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn


class Exact:
    """The "distribution" of latents that are not drawn: this autoencoder is deterministic."""

    def __init__(self, latents: Tensor) -> None:
        self._latents = latents

    def sample(self, generator: object = None) -> Tensor:
        """The latents, whatever the generator."""
        return self._latents

    def mode(self) -> Tensor:
        """The latents."""
        return self._latents


class StickerAutoencoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """See the module's docstring. Latents that leave and enter have mean 0 and deviation 1 in each channel."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        in_channels: int = 4,
        latent_channels: int = 16,
        block_out_channels: tuple[int, ...] = (24, 48, 96, 192),
        scaling_factor: float = 1.0,
        shift_factor: float = 0.0,
    ) -> None:
        """`block_out_channels` are widths at full, half, quarter and eighth size; pipelines count them to know the scale."""
        super().__init__()
        thin, _, middle, wide = block_out_channels
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(16 * in_channels, middle, 3, padding=1),
            _Residual(middle),
            nn.PixelUnshuffle(2),
            nn.Conv2d(4 * middle, wide, 1),
            _Residual(wide),
            _Residual(wide),
            nn.Conv2d(wide, latent_channels, 1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(latent_channels, wide, 1),
            _Residual(wide),
            _Residual(wide),
            nn.Conv2d(wide, 4 * middle, 1),
            nn.PixelShuffle(2),
            _Residual(middle),
            _Residual(middle),
            nn.Conv2d(middle, 16 * thin, 1),
            nn.PixelShuffle(4),
            nn.SiLU(),
            nn.Conv2d(thin, 16, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(16, in_channels, 3, padding=1),
        )
        self.register_buffer("mean", torch.zeros(1, latent_channels, 1, 1))
        self.register_buffer("deviation", torch.ones(1, latent_channels, 1, 1))

    def encode(self, x: Tensor, return_dict: bool = True) -> Any:
        """Latents [n, 16, h/8, w/8] of premultiplied pixels [n, 4, h, w] in -1 … 1."""
        latents = Exact((self.encoder(x) - self.mean) / self.deviation)
        return AutoencoderKLOutput(latent_dist=latents) if return_dict else (latents,)

    def decode(self, z: Tensor, return_dict: bool = True, generator: object = None) -> Any:
        """Premultiplied pixels [n, 4, 8h, 8w], about -1 … 1, of latents [n, 16, h, w]."""
        pixels = self.decoder(z * self.deviation + self.mean)
        return DecoderOutput(sample=pixels) if return_dict else (pixels,)


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.second(F.silu(self.first(F.silu(self.norm(x)))))
        return x + added
