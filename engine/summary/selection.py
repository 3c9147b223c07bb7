"""Choosing sentences within a budget whose words and pairs of words are those that a person's summary would use.

What a choice is worth is the overlap to be expected of it: of each word no more counts than a summary is expected to say, so what
is said twice gains little, and nothing when it was said enough (a monotone submodular function of the choice: Lin and Bilmes, "A
Class of Submodular Functions for Document Summarization", ACL 2011). First the best one for its length, again and again; then
exchanges while they help, from several beginnings. Knows numbers and matrices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from engine.summary.wording import coverage_table

Vector: TypeAlias = npt.NDArray[np.float64]

SLACK: Final = 0.1
"""How far from the budget a choice may be."""
MAX_EXCHANGES: Final = 60
MAX_WORK: Final = 10_000
"""Candidates × chosen above which there are no exchanges: among so many the first choice is good enough."""
MOST: Final = 400
"""Repetitions of a word that are told apart."""
EXPONENTS: Final = (0.4, 0.7, 1.0)
"""A gain is divided by its length to this power: 0 likes long sentences, 1 the densest ones. Each is a beginning."""
NEW_DOCUMENT: Final = 0.05
"""For the first sentence from another document, as a share of the budget."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """n sentences that may be chosen."""

    sizes: Vector
    """[n] what each takes of the budget, > 0."""
    holds: Sequence[Mapping[int, int]]
    """[n] how often each key (a word, or a pair of neighbouring ones) occurs in it; none is empty."""
    rates: Vector
    """[keys] how often a summary of the budget's length is expected to hold each."""
    weights: Vector
    """[keys] what one that is held counts."""
    bonus: Vector
    """[n] what each is worth besides."""
    documents: npt.NDArray[np.int64]
    """[n] which document each is from."""


def select(candidates: Candidates, budget: float) -> list[int]:
    """Numbers of the chosen ones, in no order: within SLACK of the budget where whole sentences allow it.

    When every sentence is longer than the budget, the one that is worth most among the shortest.
    """
    choice = _Choice(candidates, budget)
    tried = [choice.filled(EXPONENTS[0])]
    if not tried[0]:
        nearest = float(candidates.sizes.min()) * 1.25
        return [int(np.argmax(np.where(candidates.sizes <= nearest, choice.gains([]), -1)))]
    if len(candidates.sizes) * len(tried[0]) <= MAX_WORK:
        tried += [choice.filled(exponent) for exponent in EXPONENTS[1:]]
        tried = [choice.exchanged(one) for one in tried]
    return max(tried, key=choice.value)


class _Choice:
    """What sets of sentences are worth."""

    def __init__(self, candidates: Candidates, budget: float) -> None:
        self._of = candidates
        self._sizes = candidates.sizes
        self._budget = budget
        self._keys = np.array([key for one in candidates.holds for key in one], np.int64)
        self._counts = np.array([count for one in candidates.holds for count in one.values()], np.int64)
        lengths = [len(one) for one in candidates.holds]
        self._ends = np.cumsum(lengths)
        self._starts = self._ends - lengths
        totals = np.bincount(self._keys, self._counts, len(candidates.rates))
        self._most = int(min(MOST, totals.max()))
        self._table = coverage_table(candidates.rates, self._most) * candidates.weights[:, None]

    def filled(self, exponent: float) -> list[int]:
        """The one that gains most for its length, again and again, until the budget is nearly reached or nothing fits."""
        chosen: list[int] = []
        used = 0.0
        while used < (1 - SLACK / 3) * self._budget:
            fits = self._sizes <= (1 + SLACK) * self._budget - used
            fits[chosen] = False
            if not fits.any():
                break
            scores = self.gains(chosen) / self._sizes**exponent
            chosen.append(int(np.argmax(np.where(fits, scores, -np.inf))))
            used += float(self._sizes[chosen[-1]])
        return chosen

    def exchanged(self, chosen: list[int]) -> list[int]:
        """Another in the place of one while the whole gets better and its length stays within the budget."""
        for _ in range(MAX_EXCHANGES):
            best: tuple[float, int, int] | None = None
            now, used = self.value(chosen), self._sizes[chosen].sum()
            for out in chosen:
                rest = [one for one in chosen if one != out]
                sizes = self._sizes[rest].sum() + self._sizes
                allowed = (sizes <= (1 + SLACK) * self._budget) & (sizes >= min((1 - SLACK) * self._budget, used))
                allowed[chosen] = False
                values = np.where(allowed, (self._worth(rest) + self.gains(rest)) / (sizes + self._budget), -np.inf)
                new = int(np.argmax(values))
                if values[new] > now + 1e-6 and (best is None or values[new] > best[0]):
                    best = (float(values[new]), out, new)
            if best is None:
                break
            chosen = [best[2] if one == best[1] else one for one in chosen]
        return chosen

    def value(self, chosen: list[int]) -> float:
        """What they are worth together for their length, as an F measure counts it."""
        return self._worth(chosen) / float(self._sizes[chosen].sum() + self._budget)

    def gains(self, chosen: list[int]) -> Vector:
        """[n] what each would add to the chosen ones."""
        have = self._held(chosen)[self._keys]
        more = np.minimum(have + self._counts, self._most)
        added = self._table[self._keys, more] - self._table[self._keys, np.minimum(have, self._most)]
        is_new = ~np.isin(self._of.documents, self._of.documents[chosen])
        return np.asarray(
            np.add.reduceat(added, self._starts.tolist()) + self._of.bonus + NEW_DOCUMENT * self._budget * is_new, np.float64
        )

    def _worth(self, chosen: list[int]) -> float:
        held = np.minimum(self._held(chosen), self._most)
        covered = self._table[np.arange(len(held)), held].sum()
        documents = len(np.unique(self._of.documents[chosen]))
        return float(covered + self._of.bonus[chosen].sum() + NEW_DOCUMENT * self._budget * documents)

    def _held(self, chosen: list[int]) -> npt.NDArray[np.int64]:
        """[keys] how often the chosen ones hold each."""
        held = np.zeros(len(self._table), np.int64)
        for one in chosen:
            inside = slice(self._starts[one], self._ends[one])
            held[self._keys[inside]] += self._counts[inside]
        return held
