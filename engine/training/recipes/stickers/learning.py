"""What the two long stages share: weights that learn, their moving average, and a state on disk to go on from at any moment.

Knows transformers; knows no pictures.
"""

from __future__ import annotations

import copy
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from engine.image.transformer import with_examples
from engine.training.recipes.stickers.work import Work, rate_at

AVERAGE: Final = 0.9995
SAVE_S: Final = 300.0
"""Seconds between two states on disk: what a crash costs at most."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large the transformer is and how it learns."""

    width: int = 256
    depth: int = 8
    batch: int = 128
    rate: float = 1e-3


def forward(model: Any, mixed: Tensor, tokens: Tensor, pooled: Tensor, times: Tensor, seen: Tensor | None) -> Tensor:
    """What the transformer's own forward says of `mixed` [n, 16, 8, 8]; with `seen` [n, k], places of the tokens that pass
    through the blocks between the first and the last one, the others go around them.
    """
    beside, pooled = with_examples(mixed, pooled, times)
    state = model.pos_embed(beside).contiguous()
    condition = model.time_text_embed(times, pooled)
    text = model.context_embedder(tokens)
    first, *middle, last = model.transformer_blocks
    text, state = first(hidden_states=state, encoder_hidden_states=text, temb=condition)
    whole = state
    if seen is not None:
        places = seen[..., None].expand(-1, -1, state.shape[-1])
        state = state.gather(1, places)
    for block in middle:
        text, state = block(hidden_states=state, encoder_hidden_states=text, temb=condition)
    if seen is not None:
        state = whole.scatter(1, places, state.to(whole.dtype))
    text, state = last(hidden_states=state, encoder_hidden_states=text, temb=condition)
    state = model.proj_out(model.norm_out(state, condition))
    said: Tensor = state.transpose(1, 2).reshape(mixed.shape)
    return said


class Learning(ABC):
    """The weights that learn, their average, the optimizers, and how many samples they have seen."""

    def __init__(
        self,
        name: str,
        state: str,
        model: Any,
        optimizers: Sequence[torch.optim.Optimizer],
        size: Size,
        work: Work,
        *,
        compiled: bool,
    ) -> None:
        """`name`: of the stage; `state`: the file in the work folder whose state is taken up if it is there."""
        self.average = copy.deepcopy(model).requires_grad_(False)
        self.samples = self.rested_at = 0
        """`rested_at`: how many samples had been seen when the optimizers started anew."""
        self._name = name
        self._state = state
        self._model = model
        self._size = size
        self._work = work
        self._optimizers = optimizers
        self._forward = torch.compile(forward) if compiled else forward
        if work.path(state).is_file():
            self._load()

    @abstractmethod
    def loss(self, done: float) -> Tensor:
        """Of one batch, after that share of the work."""

    def rate(self, done: float) -> float:
        """Learning rate after that share of the work."""
        return rate_at(done, self._size.rate)

    def run(self, until: int, planned: int, seconds: float = float("inf")) -> None:
        """Train to `until` samples seen in all, or for so many seconds; the learning rate ends at `planned` samples."""
        started_s = saved_s = time.monotonic()
        before = self.samples
        losses: list[Tensor] = []
        while self.samples < until and time.monotonic() - started_s < seconds:
            losses.append(self._step(self.samples / planned))
            if len(losses) >= 100:
                mean = round(float(torch.stack(losses).mean()), 4)  # before the clock is read: a GPU has done it all then
                speed = (self.samples - before) / (time.monotonic() - started_s)
                self._work.log(self._name, samples=self.samples, of=planned, loss=mean, samples_per_s=round(speed, 1))
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
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            "samples": self.samples,
            "rested_at": self.rested_at,
            "random": self._work.random_state(),
        }
        self._work.whole(self._state, lambda path: torch.save(state, path))

    def _load(self) -> None:
        state = torch.load(self._work.path(self._state), weights_only=True, map_location=self._work.device)
        self._model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        for optimizer, kept in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        self.samples, self.rested_at = state["samples"], state["rested_at"]
        self._work.set_random_state(state["random"])

    def _step(self, done: float) -> Tensor:
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.rate(done)
        loss = self.loss(done)
        self._model.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        for optimizer in self._optimizers:
            optimizer.step()
        self.samples += self._size.batch
        self._follow()
        return loss.detach()

    @torch.no_grad()
    def _follow(self) -> None:
        step = self.samples / self._size.batch
        keep = min(AVERAGE, (1 + step) / (10 + step))
        torch._foreach_lerp_([*self.average.parameters()], [*self._model.parameters()], 1 - keep)
