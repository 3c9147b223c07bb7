"""The fourth stage, the long one: a small Stable Diffusion 3 transformer learns to turn noise into latents.

Rectified flow with logit-normal times (Esser et al. 2024, arXiv:2403.03206); prompt and style are left out at random for
classifier-free guidance; what is kept is a moving average of the weights. It can be stopped at any moment and goes on from its
newest state.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

import torch
from diffusers import SD3Transformer2DModel
from torch import Tensor, nn

from engine.training.recipes.stickers.prepared import Prepared, caption_batch
from engine.training.recipes.stickers.work import Work, rate_at

NAME: Final = "transformer"
STATE: Final = "denoiser.pt"
NO_TEXT: Final = 0.1
NO_STYLE: Final = 0.2
CHINESE: Final = 0.25
AVERAGE: Final = 0.9995
SAVE_S: Final = 300.0
"""Seconds between two states on disk: what a crash costs at most."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large the transformer is and how it learns."""

    width: int = 256
    depth: int = 8
    batch: int = 96
    rate: float = 1e-3


def new_transformer(size: Size, styles: int) -> Any:
    """An untrained one, in diffusers' own class, so that its pipelines, schedulers and adapters fit."""
    return SD3Transformer2DModel(
        sample_size=8,
        patch_size=1,
        in_channels=16,
        out_channels=16,
        num_layers=size.depth,
        attention_head_dim=64,
        num_attention_heads=size.width // 64,
        caption_projection_dim=size.width,
        joint_attention_dim=384,
        pooled_projection_dim=384 + styles,
        pos_embed_max_size=16,
        qk_norm="rms_norm",
    )


class DenoiserTraining:
    """The weights that learn, their average, the optimizer, and how many samples they have seen."""

    def __init__(self, prepared: Prepared, styles: int, size: Size, work: Work, *, compiled: bool) -> None:
        """Take up the newest state of the work folder, or begin."""
        self._prepared = prepared
        self._size = size
        self._work = work
        self._styles = styles
        torch.manual_seed(0)
        self._model = new_transformer(size, styles).to(work.device)
        self.average = new_transformer(size, styles).to(work.device).requires_grad_(False)
        self.average.load_state_dict(self._model.state_dict())
        self._optimizer = torch.optim.AdamW(self._model.parameters(), lr=size.rate, betas=(0.9, 0.95), weight_decay=0.0)
        self.samples = 0
        if work.path(STATE).is_file():
            self._load()
        self._forward = torch.compile(self._model) if compiled else self._model
        self._latents = prepared.latents.to(work.device)

    def run(self, until: int, planned: int, seconds: float = float("inf")) -> None:
        """Train to `until` samples seen in all, or for so many seconds; the learning rate ends at `planned` samples."""
        started_s = saved_s = time.monotonic()
        before, losses = self.samples, []
        while self.samples < until and time.monotonic() - started_s < seconds:
            for group in self._optimizer.param_groups:
                group["lr"] = rate_at(self.samples / planned, self._size.rate)
            losses.append(self._step())
            if len(losses) >= 100:
                speed = (self.samples - before) / (time.monotonic() - started_s)
                mean = round(sum(losses) / len(losses), 4)
                self._work.log(NAME, samples=self.samples, of=planned, loss=mean, samples_per_s=round(speed, 1))
                losses.clear()
            if time.monotonic() - saved_s > SAVE_S:
                self.save()
                saved_s = time.monotonic()
        self.save()

    def save(self) -> None:
        """Put the state on disk, whole."""
        state = {
            "model": self._model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "samples": self.samples,
            "random": torch.get_rng_state(),
        }
        self._work.whole(STATE, lambda path: torch.save(state, path))

    def _load(self) -> None:
        state = torch.load(self._work.path(STATE), weights_only=True, map_location=self._work.device)
        self._model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.samples = state["samples"]
        torch.set_rng_state(state["random"].cpu())

    def _step(self) -> float:
        rows = torch.multinomial(self._prepared.weights, self._size.batch, replacement=True)
        clean = self._latents[rows].float()
        tokens, pooled = self._said(rows)
        sigma = torch.sigmoid(torch.randn(len(rows))).to(clean.device)
        noise = torch.randn(clean.shape).to(clean.device)
        mixed = torch.lerp(clean, noise, sigma[:, None, None, None])
        with self._work.autocast():
            said = self._forward(mixed, tokens.to(clean.device), pooled.to(clean.device), sigma * 1000, return_dict=False)[0]
        loss = (said.float() - (noise - clean)).square().mean()
        self._optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        self._optimizer.step()
        self.samples += len(rows)
        self._follow()
        return float(loss.detach())

    def _said(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """What the model is told of these pictures: tokens and pooled vectors, some of them left out."""
        from engine.image.prompts import sentence_vectors

        tokens = caption_batch(self._prepared, rows, CHINESE)
        tokens[torch.rand(len(rows)) < NO_TEXT] = 0
        styles = nn.functional.one_hot(self._prepared.styles[rows], self._styles).float()
        styles[torch.rand(len(rows)) < NO_STYLE] = 0
        return tokens, torch.cat([sentence_vectors(tokens), styles], 1)

    @torch.no_grad()
    def _follow(self) -> None:
        step = self.samples / self._size.batch
        keep = min(AVERAGE, (1 + step) / (10 + step))
        average = [*self.average.parameters()]
        torch._foreach_lerp_(average, [*self._model.parameters()], 1 - keep)
