"""The first stage: the autoencoder learns to put pictures into latents and back.

Loss: L1 of premultiplied pixels and of their edges.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from engine.image.autoencoder import StickerAutoencoder
from engine.image.pixels import premultiplied
from engine.image.weights import load_part
from engine.training.recipes.stickers.data import Stickers
from engine.training.recipes.stickers.work import Work, rate_at

NAME: Final = "vae"
BATCH: Final = 64
RATE: Final = 1e-3
NOISE: Final = 0.05
"""Deviation of what is added to latents while it learns, as a share of theirs: the denoiser will not hit them exactly."""


def train(data: Stickers, work: Work, images: int, seed: int = 0) -> StickerAutoencoder:
    """Train on `images` pictures (with repetition) and keep it in the work folder; a finished one is read from there."""
    if work.path(NAME).is_dir():
        known: StickerAutoencoder = load_part(StickerAutoencoder, work.path(NAME), work.device)
        return known
    torch.manual_seed(seed)
    pixels = trained_pixels(data).to(work.device)
    model: StickerAutoencoder = StickerAutoencoder()
    model.to(work.device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=0.0)
    batch = BATCH * work.breadth
    steps = max(1, images // batch)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step / steps, RATE)
        rows = torch.randint(len(pixels), (batch,), device=work.device)
        x = premultiplied(pixels[rows])
        x = torch.cat([x[: batch // 2], x[batch // 2 :].flip(3)]).contiguous(memory_format=torch.channels_last)
        with work.autocast():
            loss = _loss(model, x)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 0 or step == steps - 1:
            work.log(NAME, step=step, of=steps, loss=round(float(loss.detach()), 4))
    model.to(memory_format=torch.contiguous_format)
    model.eval()
    _normalise(model, pixels, work)
    work.whole(NAME, model.save_pretrained)
    return model


def trained_pixels(data: Stickers) -> Tensor:
    """uint8 [pictures, 4, 64, 64], straight, of all that may be trained on."""
    return torch.from_numpy(data.pixels[[item.row for item in data.train]]).permute(0, 3, 1, 2)


@torch.no_grad()
def latents_of(model: StickerAutoencoder, pixels: Tensor, device: torch.device) -> Tensor:
    """float16 [n, 16, 8, 8] of straight uint8 [n, 4, 64, 64]."""
    found = [
        model.encode(premultiplied(part.to(device))).latent_dist.mode().to("cpu", torch.float16)
        for part in torch.split(pixels, 256)
    ]
    return torch.cat(found)


def _loss(model: StickerAutoencoder, x: Tensor) -> Tensor:
    latents = model.encoder(x).float()
    made = model.decoder(latents + NOISE * latents.detach().std() * torch.randn_like(latents)).float()
    edges = sum((torch.diff(made, dim=side) - torch.diff(x, dim=side)).abs().mean() for side in (2, 3))
    loss: Tensor = (made - x).abs().mean() + 0.5 * edges + 1e-3 * latents.square().mean()
    return loss


def _normalise(model: StickerAutoencoder, pixels: Tensor, work: Work) -> None:
    """From now on latents have mean 0 and deviation 1."""
    latents = latents_of(model, pixels, work.device).float()
    model.mean.copy_(latents.mean((0, 2, 3), keepdim=True))
    model.deviation.copy_(latents.std((0, 2, 3), keepdim=True))
