"""Choosing the next token: penalties for repetition, temperature, top-k, top-p, and a draw from a generator of the row's own.

Everything is float32 on the CPU, so that the same logits and seed choose the same token on every device. Knows logits and
ids; knows no model, no cache and no text.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from engine.arrays import Floats
from engine.text.model import Sampling

_LIKELY = 512
"""Tokens that are looked at first: nearly always they reach top_p, and sorting a whole vocabulary takes four times as long."""

DRY_BASE = 1.75
DRY_ALLOWED_LENGTH = 2
"""From this length on a repeated run of tokens costs something to go on with."""
_DRY_LONGEST = 24
"""Where longer runs are no longer told apart: the cost is enough by then."""


class Sampler:
    """One row's chooser; keeps its generator and the tokens seen so far."""

    def __init__(self, sampling: Sampling, seed: int, prompt_ids: Iterable[int]) -> None:
        self._sampling = sampling
        self._generator = np.random.Generator(np.random.PCG64(seed % 2**64))
        self._seen = set(prompt_ids) if sampling.repetition_penalty != 1.0 else set()
        self._seen_ids = np.array(sorted(self._seen), dtype=np.int64)
        self._written: list[int] = []

    def choose(self, logits: Floats) -> int:
        """Return the next token's id. logits: float32 [vocabulary], left as it was."""
        sampling = self._sampling
        if sampling.repetition_penalty != 1.0 and len(self._seen_ids):
            logits = self._penalize(logits)
        if sampling.dry_multiplier > 0.0:
            logits = self._discourage_loops(logits)
        if sampling.temperature == 0.0:
            token = int(np.argmax(logits))
        else:
            token = self._draw(logits / np.float32(sampling.temperature))
        if sampling.repetition_penalty != 1.0 and token not in self._seen:
            self._seen.add(token)
            self._seen_ids = np.append(self._seen_ids, token)
        if sampling.dry_multiplier > 0.0:
            self._written.append(token)
        return token

    def _penalize(self, logits: Floats) -> Floats:
        """Divide positive and multiply negative logits of seen tokens (Keskar et al. 2019, CTRL, section 4.1)."""
        seen = logits[self._seen_ids]
        penalty = np.float32(self._sampling.repetition_penalty)
        logits = logits.copy()
        logits[self._seen_ids] = np.where(seen > 0, seen / penalty, seen * penalty)
        return logits

    def _discourage_loops(self, logits: Floats) -> Floats:
        """Lower what would lengthen a repeated run of the answer, the more the longer it is (DRY, text-generation-webui 5677)."""
        written = self._written
        longest: dict[int, int] = {}
        for after in range(1, len(written)):
            length = 0
            while length < min(after, _DRY_LONGEST) and written[after - 1 - length] == written[-1 - length]:
                length += 1
            if length >= DRY_ALLOWED_LENGTH:
                longest[written[after]] = max(length, longest.get(written[after], 0))
        if not longest:
            return logits
        logits = logits.copy()
        for token, length in longest.items():
            logits[token] -= np.float32(self._sampling.dry_multiplier * DRY_BASE ** (length - DRY_ALLOWED_LENGTH))
        return logits

    def _draw(self, logits: Floats) -> int:
        """Draw from the likeliest tokens (top-k, then top-p: Holtzman et al. 2020), most likely first."""
        top_k, top_p = self._sampling.top_k, self._sampling.top_p
        if 0 < top_k < len(logits):
            ids = _likeliest(logits, top_k)
            shares = _softmax(logits[ids])
        else:
            ids = _likeliest(logits, min(_LIKELY, len(logits)))
            highest = logits[ids[0]]
            shares = np.exp(logits[ids] - highest) / np.exp(logits - highest).sum()
            if float(shares.sum()) < min(top_p, 1.0):  # a flat distribution, or all of it is wanted: sort them all
                ids = np.argsort(-logits, kind="stable")
                shares = _softmax(logits[ids])
        upto = np.cumsum(shares)
        if top_p < 1.0:
            # A token stays while the ones before it have not reached top_p yet; the first always stays.
            upto = upto[: max(1, int((upto - shares < top_p).sum()))]
        point = self._generator.random(dtype=np.float32) * upto[-1]
        return int(ids[min(int(np.searchsorted(upto, point, side="right")), len(upto) - 1)])


def _likeliest(logits: Floats, count: int) -> NDArray[np.int64]:
    """Ids of so many tokens, most likely first; of equal ones the lower id."""
    ids = np.sort(np.argpartition(logits, len(logits) - count)[len(logits) - count :])
    return ids[np.argsort(-logits[ids], kind="stable")]


def _softmax(values: Floats) -> Floats:
    """Of values whose first is the highest."""
    shares = np.exp(values - values[0])
    return np.asarray(shares / shares.sum(), dtype=np.float32)
