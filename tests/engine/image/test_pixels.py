"""Premultiplied and straight pixels say the same, and clear pixels have no colour."""

from __future__ import annotations

import torch

from engine.image.pixels import on_white, premultiplied, straight


def test_opaque_and_clear_pixels_come_back_as_they_were() -> None:
    rgba = torch.randint(0, 256, (2, 4, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    rgba[:, 3] = torch.where(rgba[:, 3] > 127, 255, 0).to(torch.uint8)
    rgba[:, :3] *= (rgba[:, 3:] > 0).to(torch.uint8)
    assert torch.equal(straight(premultiplied(rgba)), rgba)


def test_half_clear_pixels_keep_their_colour_within_a_step() -> None:
    rgba = torch.tensor([200, 100, 50, 128], dtype=torch.uint8).view(1, 4, 1, 1)
    assert (straight(premultiplied(rgba)).int() - rgba.int()).abs().max() <= 1


def test_what_is_clear_is_white_on_white() -> None:
    rgba = torch.zeros(1, 4, 2, 2, dtype=torch.uint8)
    rgba[0, :, 0, 0] = torch.tensor([10, 20, 30, 255])
    shown = on_white(rgba)
    assert shown[0, :, 0, 0].tolist() == [10, 20, 30]
    assert shown[0, :, 1, 1].tolist() == [255, 255, 255]
