"""A low-rank term (engine/text/low_rank.py) as torch computes it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from engine.text.low_rank import LowRank


@dataclass(frozen=True, slots=True)
class TorchTerm:
    """What an adapter adds to one linear layer, or to several that are computed as one."""

    down: torch.Tensor
    """[rank, in]."""
    up: torch.Tensor
    """[rank, out]."""

    @property
    def size_bytes(self) -> int:
        """Memory of both."""
        return int(self.down.nbytes + self.up.nbytes)

    def add_to(self, y: torch.Tensor, x: torch.Tensor) -> None:
        """Add the term of x [rows, in] to y [rows, out], in place."""
        y.addmm_(F.linear(x, self.down), self.up)


def torch_term(term: LowRank, like: torch.Tensor | None = None) -> TorchTerm:
    """The term for torch: sharing its memory, or in the dtype and on the device of `like`."""
    down, up = torch.from_numpy(term.down), torch.from_numpy(term.up)
    return TorchTerm(down, up) if like is None else TorchTerm(down.to(like), up.to(like))
