"""Guidance that was learned into the weights: one pass says what several passes against each other said before.

Guidance pushes a picture from what a model draws when nothing is said towards what was asked for (Ho and Salimans 2022,
arXiv:2207.12598). A transformer that was distilled (Meng et al. 2023, arXiv:2210.03142) is told the strength as one more number
of the pooled condition and needs one pass a step. Knows numbers; knows no model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from torch import Tensor

NONE: Final = 1.0
"""Guidance at which what was asked for is drawn as it comes."""
STRONGEST: Final = 6.0
"""The most that is learned; more means the same."""


@dataclass(frozen=True, slots=True)
class Guidance:
    """How one picture is guided."""

    learned: float
    """By the weights alone."""
    passes: float = NONE
    """By a second pass of what is not wanted: the scale that diffusers' pipelines know."""


def guided(guidance: float, *, knows_guidance: bool, is_against: bool) -> Guidance:
    """How `guidance` is reached. `is_against`: there is a negative prompt, which only a second pass can look at.

    Such a pass is guided as the first one is, and both together as strongly as one alone: each by the root of it.
    """
    if not knows_guidance:
        return Guidance(NONE, guidance)
    if not is_against or guidance <= NONE:
        return Guidance(guidance)
    return Guidance(math.sqrt(guidance), math.sqrt(guidance))


def told(guidance: Tensor) -> Tensor:
    """The numbers that a distilled transformer is told: 0 for none."""
    return guidance.clamp(NONE, STRONGEST) - NONE
