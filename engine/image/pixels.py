"""Pixels as the starter model sees them, and as pictures: straight 8-bit RGBA ↔ premultiplied -1 … 1.

Knows numbers; knows no model and no file.
"""

from __future__ import annotations

import torch
from torch import Tensor

VISIBLE = 1 / 255
"""Least opacity at which a pixel has a colour to speak of."""


def premultiplied(rgba: Tensor) -> Tensor:
    """Float [n, 4, h, w] in -1 … 1 of straight uint8 [n, 4, h, w]."""
    unit = rgba.float() / 255
    alpha = unit[:, 3:]
    return torch.cat([unit[:, :3] * alpha, alpha], 1) * 2 - 1


def straight(pixels: Tensor) -> Tensor:
    """uint8 [n, 4, h, w] of premultiplied float [n, 4, h, w] about -1 … 1; clear pixels are 0, 0, 0, 0."""
    unit = ((pixels.float() + 1) / 2).clamp(0, 1)
    alpha = unit[:, 3:]
    colour = (unit[:, :3] / alpha.clamp(min=VISIBLE)).clamp(0, 1)
    alpha = torch.where(alpha < VISIBLE, torch.zeros_like(alpha), alpha)
    return (torch.cat([colour * (alpha > 0), alpha], 1) * 255).round().to(torch.uint8)


def on_white(rgba: Tensor) -> Tensor:
    """uint8 [n, 3, h, w] of straight uint8 [n, 4, h, w], laid on white."""
    unit = rgba.float()
    alpha = unit[:, 3:] / 255
    return (unit[:, :3] * alpha + 255 * (1 - alpha)).round().to(torch.uint8)
