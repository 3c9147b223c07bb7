"""The grid of 16 values in every group of 32 on which published 4-bit weights lie (GGUF's Q4_0 and Q4_1), however they were
unpacked since. Knows arrays; knows no layout of packed weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.arrays import Floats

GROUP: Final = 32
"""Weights of one output that share a scale and a minimum."""
_LEVELS: Final = 15
_TOLERANCE: Final = 2.0**-7
"""How far a weight may lie from its grid, as a share of the largest weight of its group: twice bfloat16's rounding."""


@dataclass(frozen=True, slots=True)
class Grid:
    """weight = level x scale + low."""

    levels: NDArray[np.uint8]
    """[out, groups, GROUP], 0 ... 15."""
    scale: Floats
    """[out, groups, 1]."""
    low: Floats
    """[out, groups, 1]."""


def grid_of(weight: Floats) -> Grid | None:
    """The grid of weights [out, in], `in` in whole groups; None when they lie on none."""
    groups = weight.reshape(len(weight), -1, GROUP)
    low = groups.min(-1, keepdims=True)
    scale = (groups.max(-1, keepdims=True) - low) / np.float32(_LEVELS)
    levels = np.rint((groups - low) / np.maximum(scale, np.float32(1e-12)))
    far = np.abs(levels * scale + low - groups).max(-1)
    if bool((far > _TOLERANCE * np.abs(groups).max(-1)).any()):
        return None
    return Grid(levels.astype(np.uint8), scale, low)
