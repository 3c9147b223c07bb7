"""Choosing, within a budget, sentences that are worth much, say different things and cover the document.

Each new sentence pays for what it repeats (Carbonell and Goldstein, "MMR", SIGIR 1998) and gains from the terms and the parts of
the document that nothing chosen covers yet (Lin and Bilmes, "A Class of Submodular Functions for Document Summarization", ACL
2011). First the best one for its length, again and again; then exchanges while they help. Knows matrices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.summary.centrality import Matrix, Vector

SLACK: Final = 0.1
"""How far from the budget a choice may be."""
MAX_EXCHANGES: Final = 60
MAX_WORK: Final = 60_000
"""Candidates × chosen above which there are no exchanges: among so many the first choice is good enough."""


@dataclass(frozen=True, slots=True)
class Weights:
    """What counts how much, beside the worth of the sentences itself; tuned on the documents marked "dev" of bench/summary."""

    coverage: float = 1.5
    repetition: float = 0.5
    parts: float = 0.3
    exponent: float = 0.4
    """A gain is divided by its length to this power: 0 likes long sentences, 1 the densest ones."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """n sentences that may be chosen."""

    sizes: Vector
    """[n] what each takes of the budget, > 0."""
    worth: Vector
    """[n] ≥ 0, about 1 for an ordinary one."""
    fitness: Vector
    """[n] factor of what it covers: below 1 for what reads badly in a summary."""
    similarity: Matrix
    """[n, n] 0 … 1."""
    holds: Matrix
    """[n, terms] 1 where a sentence holds a term."""
    term_worth: Vector
    """[terms] ≥ 0."""
    parts: npt.NDArray[np.int64]
    """[n] the part of the documents each is from, 0 …"""


def select(candidates: Candidates, budget: float, weights: Weights) -> list[int]:
    """Numbers of the chosen ones, in the order they were chosen: within SLACK of the budget where whole sentences allow it.

    When every sentence is longer than the budget, the one that is worth most among the shortest.
    """
    choice = _Choice(candidates, budget, weights)
    while choice.used < (1 - SLACK / 3) * budget and (best := choice.best_addition()) is not None:
        choice.chosen.append(best)
    if not choice.chosen:
        nearest = float(candidates.sizes.min()) * 1.25
        return [int(np.argmax(np.where(candidates.sizes <= nearest, candidates.worth, -1)))]
    if len(candidates.sizes) * len(choice.chosen) <= MAX_WORK:
        choice.exchange()
    return choice.chosen


class _Choice:
    """What is chosen so far and what another sentence would add."""

    def __init__(self, candidates: Candidates, budget: float, weights: Weights) -> None:
        self.chosen: list[int] = []
        self._of = candidates
        self._budget = budget
        self._weights = weights
        self._alone = candidates.worth * candidates.sizes / budget
        per_size = float((candidates.holds @ candidates.term_worth / candidates.sizes).mean())
        self._term_worth = np.asarray(candidates.term_worth / max(per_size * budget, 1e-9), np.float32)
        self._part_count = int(candidates.parts.max()) + 1

    @property
    def used(self) -> float:
        """What the chosen ones take of the budget."""
        return float(self._of.sizes[self.chosen].sum()) if self.chosen else 0.0

    def best_addition(self) -> int | None:
        """The one that gains most for its length among those that fit; None when none does."""
        fits = self._of.sizes <= (1 + SLACK) * self._budget - self.used
        fits[self.chosen] = False
        if not fits.any():
            return None
        scores = self._gains(self.chosen) / self._of.sizes**self._weights.exponent
        return int(np.argmax(np.where(fits, scores, -np.inf)))

    def exchange(self) -> None:
        """Put another in the place of one while the whole gets better and its length stays within the budget."""
        for _ in range(MAX_EXCHANGES):
            best: tuple[float, int, int] | None = None
            for out in self.chosen:
                rest = [one for one in self.chosen if one != out]
                size = float(self._of.sizes[rest].sum()) + self._of.sizes
                allowed = (size <= (1 + SLACK) * self._budget) & (size >= min((1 - SLACK) * self._budget, self.used))
                allowed[self.chosen] = False
                if not allowed.any():
                    continue
                gains = self._gains(rest)
                better = np.where(allowed, gains - gains[out], -np.inf)
                new = int(np.argmax(better))
                if better[new] > 1e-4 and (best is None or better[new] > best[0]):
                    best = (float(better[new]), out, new)
            if best is None:
                return
            self.chosen[self.chosen.index(best[1])] = best[2]

    def _gains(self, chosen: list[int]) -> Vector:
        """[n] what each would add to the chosen ones."""
        weights, of = self._weights, self._of
        gains = self._alone.copy()
        covered = of.holds[chosen].max(axis=0) if chosen else np.zeros(len(of.term_worth), np.float32)
        gains += weights.coverage * of.fitness * (of.holds @ (self._term_worth * (1 - covered)))
        if chosen:
            gains -= weights.repetition * of.similarity[:, chosen].max(axis=1) * of.sizes / self._budget
        is_new = ~np.isin(of.parts, of.parts[chosen])
        return np.asarray(gains + weights.parts * is_new / self._part_count, np.float32)
