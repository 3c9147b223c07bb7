"""Choosing the next token: repetition penalty, temperature, top-k, top-p, and a draw from a generator of the row's own.

Everything is float32 on the CPU, so that the same logits and seed choose the same token on every device. Knows logits and
ids; knows no model, no cache and no text.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from engine.text.model import Sampling

if TYPE_CHECKING:
    import torch

_LIKELY = 512
"""Tokens that are looked at first: nearly always they reach top_p, and sorting a whole vocabulary takes four times as long."""


class Sampler:
    """One row's chooser; keeps its generator and the tokens seen so far."""

    def __init__(self, sampling: Sampling, seed: int, prompt_ids: Iterable[int]) -> None:
        import torch

        self._sampling = sampling
        self._generator = torch.Generator().manual_seed(seed)
        self._seen = set(prompt_ids) if sampling.repetition_penalty != 1.0 else set()
        self._seen_ids = torch.tensor(sorted(self._seen), dtype=torch.long)

    def choose(self, logits: torch.Tensor) -> int:
        """Return the next token's id. logits: float32 [vocabulary], left as it was."""
        import torch

        sampling = self._sampling
        if sampling.repetition_penalty != 1.0 and len(self._seen_ids):
            logits = self._penalize(logits)
        if sampling.temperature == 0.0:
            token = int(torch.argmax(logits))
        else:
            token = self._draw(logits / sampling.temperature)
        if sampling.repetition_penalty != 1.0 and token not in self._seen:
            self._seen.add(token)
            self._seen_ids = torch.cat([self._seen_ids, torch.tensor([token])])
        return token

    def _penalize(self, logits: torch.Tensor) -> torch.Tensor:
        """Divide positive and multiply negative logits of seen tokens (Keskar et al. 2019, CTRL, section 4.1)."""
        import torch

        seen = logits[self._seen_ids]
        penalty = self._sampling.repetition_penalty
        logits = logits.clone()
        logits[self._seen_ids] = torch.where(seen > 0, seen / penalty, seen * penalty)
        return logits

    def _draw(self, logits: torch.Tensor) -> int:
        """Draw from the likeliest tokens (top-k, then top-p: Holtzman et al. 2020), most likely first."""
        import torch

        top_k, top_p = self._sampling.top_k, self._sampling.top_p
        if 0 < top_k < len(logits):
            values, ids = torch.topk(logits, top_k, sorted=True)
            shares = torch.softmax(values, dim=0)
        else:
            values, ids = torch.topk(logits, min(_LIKELY, len(logits)), sorted=True)
            shares = torch.exp(values - torch.logsumexp(logits, dim=0))
            if float(shares.sum()) < min(top_p, 1.0):  # a flat distribution, or all of it is wanted: sort them all
                values, ids = torch.sort(logits, descending=True, stable=True)
                shares = torch.softmax(values, dim=0)
        upto = torch.cumsum(shares, dim=0)
        if top_p < 1.0:
            # A token stays while the ones before it have not reached top_p yet; the first always stays.
            count = int((upto - shares < top_p).sum())
            upto, ids = upto[: max(1, count)], ids[: max(1, count)]
        point = torch.rand(1, generator=self._generator) * upto[-1]
        place = min(int(torch.searchsorted(upto, point, right=True)), len(ids) - 1)
        return int(ids[place])
