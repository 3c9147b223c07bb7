"""Beside the others: the upscaler learns to bring back pictures that were shrunk to half their size."""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import nn

from engine.image.pixels import premultiplied
from engine.image.upscaler import StickerUpscaler
from engine.image.weights import load_part
from engine.training.recipes.stickers.autoencoder import trained_pixels
from engine.training.recipes.stickers.data import Stickers
from engine.training.recipes.stickers.work import Work, rate_at

NAME: Final = "upscaler"
BATCH: Final = 32
RATE: Final = 1e-3


def train(data: Stickers, work: Work, images: int, seed: int = 0) -> StickerUpscaler:
    """Train on `images` pictures (with repetition) and keep it in the work folder; a finished one is read from there."""
    if work.path(NAME).is_dir():
        known: StickerUpscaler = load_part(StickerUpscaler, work.path(NAME), work.device)
        return known
    torch.manual_seed(seed)
    pixels = trained_pixels(data).to(work.device)
    model: StickerUpscaler = StickerUpscaler()
    model.to(work.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)
    batch = BATCH * work.breadth
    steps = max(1, images // batch)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step / steps, RATE)
        large = premultiplied(pixels[torch.randint(len(pixels), (batch,), device=work.device)])
        # Enlarged ones are as soft as bilinear or area shrinking leaves them; it has to sharpen both.
        small = F.interpolate(large, scale_factor=0.5, mode="area" if step % 2 else "bilinear", antialias=step % 2 == 0)
        with work.autocast():
            made = model(small).float()
        edges = sum((torch.diff(made, dim=side) - torch.diff(large, dim=side)).abs().mean() for side in (2, 3))
        loss = (made - large).abs().mean() + 0.5 * edges
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 0 or step == steps - 1:
            work.log(NAME, step=step, of=steps, loss=round(float(loss.detach()), 4))
    model.eval()
    work.whole(NAME, model.save_pretrained)
    return model
