"""A classifier of real pictures that says what a generated one shows. It never trains, chooses or ranks for the generator.

Three answers of one small residual network (He et al. 2016, arXiv:1512.03385) for 64 × 64 pixels on white: which concept (of
those drawn in six or more styles), which style, and where the picture lies among the sentence vectors of captions, which lets it
judge concepts that it has never seen either. Trained on real pictures only, without the kept-back combinations and concepts.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.device import training_dtype
from engine.image.pixels import on_white
from engine.training.recipes.stickers.data import COMBINATION_STYLES, Sticker, Stickers

BATCH = 96
WIDTHS = (48, 96, 192, 288)


class Judge(nn.Module):
    """pixels [n, 3, 64, 64] in -1 … 1 → (concept logits, style logits, caption vectors of length 1 [n, 384])."""

    def __init__(self, concepts: int, styles: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.PixelUnshuffle(2), nn.Conv2d(12, WIDTHS[0], 3, padding=1)]
        for before, width in zip((WIDTHS[0], *WIDTHS), WIDTHS, strict=False):
            if width != before:
                layers += [nn.Conv2d(before, width, 3, stride=2, padding=1)]
            layers += [_Block(width), _Block(width)]
        self.body = nn.Sequential(*layers)
        self.norm = nn.BatchNorm1d(WIDTHS[-1])
        self.concept = nn.Linear(WIDTHS[-1], concepts)
        self.style = nn.Linear(WIDTHS[-1], styles)
        self.caption = nn.Linear(WIDTHS[-1], 384)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found = self.norm(self.body(x).mean((2, 3)))
        return self.concept(F.dropout(found, 0.3, self.training)), self.style(found), F.normalize(self.caption(found), dim=1)


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(self.first(x)))


def judged_concepts(data: Stickers) -> tuple[str, ...]:
    """Concepts that the judge knows: those with so many pictures that one style was kept back."""
    styles = Counter(concept for concept, _ in {(item.concept, item.style) for item in (*data.train, *data.combinations)})
    return tuple(sorted(concept for concept, count in styles.items() if count >= COMBINATION_STYLES))


def pixels_of(data: Stickers, items: tuple[Sticker, ...]) -> Tensor:
    """uint8 [n, 3, 64, 64] on white."""
    rgba = torch.from_numpy(data.pixels[[item.row for item in items]]).permute(0, 3, 1, 2)
    return torch.cat([on_white(part) for part in rgba.split(1024)])


def load_judge(data: Stickers, vectors: dict[str, Tensor], path: Path, epochs: int, device: torch.device) -> Judge:
    """Read the judge from `path`, or train and keep it. `vectors`: the sentence vector of each concept's English name."""
    concepts = judged_concepts(data)
    judge = Judge(len(concepts), len(data.styles)).to(device)
    if path.is_file():
        judge.load_state_dict(torch.load(path, weights_only=True))
        return judge.eval()
    number = {concept: place for place, concept in enumerate(concepts)}
    style = {name: place for place, name in enumerate(data.styles)}
    pixels = pixels_of(data, data.train).to(device)
    concept_of = torch.tensor([number.get(item.concept, -1) for item in data.train], device=device)
    style_of = torch.tensor([style[item.style] for item in data.train], device=device)
    names = sorted({item.concept for item in data.train})
    place = {concept: row for row, concept in enumerate(names)}
    name_of = torch.tensor([place[item.concept] for item in data.train], device=device)
    said = torch.stack([vectors[concept] for concept in names]).to(device)
    batch = torch.arange(BATCH, device=device)
    judge = judge.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(judge.parameters(), lr=2e-3, weight_decay=0.05)
    steps = epochs * len(pixels) // BATCH
    started_s = time.monotonic()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1.0, (step + 1) / 200) * 0.5 * (1 + np.cos(np.pi * step / steps))
        rows = torch.randint(len(pixels), (BATCH,), device=device)
        with torch.autocast(device.type, torch.bfloat16, enabled=training_dtype(device.type) == "bfloat16"):
            answers = judge(_moved(pixels[rows]))
        concept_logits, style_logits, caption = (answer.float() for answer in answers)
        known = concept_of[rows] >= 0
        loss = F.cross_entropy(style_logits, style_of[rows])
        if known.any():
            loss = loss + F.cross_entropy(concept_logits[known], concept_of[rows][known], label_smoothing=0.1)
        meant = name_of[rows]
        alike = (meant[:, None] == meant[None]) & (batch[:, None] != batch)
        scores = (caption @ said[meant].T / 0.07).masked_fill(alike, -1e4)
        loss = loss + F.cross_entropy(scores, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 200 == 0:
            print(f"judge {step} of {steps}, loss {float(loss.detach()):.3f}, {time.monotonic() - started_s:.0f} s", flush=True)
    torch.save(judge.state_dict(), path)
    return judge.eval()


def as_input(pixels: Tensor) -> Tensor:
    """uint8 [n, 3, 64, 64] → -1 … 1, as the judge takes them."""
    return (pixels.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def _moved(pixels: Tensor) -> Tensor:
    """Shifted, scaled and sometimes softened: a generated picture is not aligned to the pixel."""
    x = as_input(pixels)
    count = len(x)
    scale = 1 + (torch.rand(count, device=x.device) - 0.5) * 0.3
    matrix = torch.zeros(count, 2, 3, device=x.device)
    matrix[:, 0, 0] = matrix[:, 1, 1] = scale
    matrix[:, :, 2] = (torch.rand(count, 2, device=x.device) - 0.5) * 0.25
    grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
    made = 1 + F.grid_sample(x - 1, grid, align_corners=False)  # outside is white
    soft = torch.rand(count, device=x.device) < 0.3
    made[soft] = F.avg_pool2d(F.pad(made[soft], (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return made.contiguous(memory_format=torch.channels_last)
