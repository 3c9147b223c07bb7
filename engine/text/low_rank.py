"""What an adapter adds: low-rank terms beside the layers, which are never changed.

    y = x·W + (x·down)·up        with the scaling in `up` (Hu et al., "LoRA", arXiv:2106.09685)

Knows arrays; knows no torch, no model and no request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.arrays import Floats
from engine.models.adapters import LoraWeights
from engine.text.lora import does_not_fit


@dataclass(frozen=True, slots=True)
class LowRank:
    """What an adapter adds to one linear layer, or to several that are computed as one."""

    down: Floats
    """[rank, in]."""
    up: Floats
    """[rank, out]."""

    @property
    def size_bytes(self) -> int:
        """Memory of both."""
        return int(self.down.nbytes + self.up.nbytes)


def fuse(weights: LoraWeights, modules: Sequence[tuple[str, int]], width: int) -> LowRank | None:
    """One term for linear layers that share their input of `width` and are computed as one.

    modules: each layer's name and outputs, in the order in which the outputs lie. None when the adapter has none of them.
    Raises BadFileError when a shape is not the layer's.
    """
    pairs = [(weights.modules.get(name), name, out) for name, out in modules]
    ranks = [0 if pair is None else pair[0].shape[0] for pair, _, _ in pairs]
    if not any(ranks):
        return None
    down = np.zeros((sum(ranks), width), np.float32)
    up = np.zeros((sum(ranks), sum(out for _, _, out in pairs)), np.float32)
    row = column = 0
    for (pair, name, out), rank in zip(pairs, ranks, strict=True):
        if pair is not None:
            if pair[0].shape[1] != width or pair[1].shape[0] != out:
                raise does_not_fit(f"{name} has other sizes")
            down[row : row + rank] = pair[0]
            up[row : row + rank, column : column + out] = pair[1].T * np.float32(weights.scaling)
        row, column = row + rank, column + out
    return LowRank(down, up)
