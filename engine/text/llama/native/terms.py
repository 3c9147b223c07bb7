"""An adapter's low-rank terms as step.c reads them: half precision, one record for each linear layer of each block."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch

from engine.text.llama.blocks import Terms
from engine.text.llama.config import LINEARS
from engine.text.llama.native.library import CTerm
from engine.text.low_rank import LowRank


class NativeTerms:
    """The terms, and where step.c finds them."""

    def __init__(self, layers: Sequence[Terms]) -> None:
        self._tensors: list[torch.Tensor] = []
        found = [self._term(getattr(layer, name)) for layer in layers for name in LINEARS]
        self._records = (CTerm * len(found))(*found)

    @property
    def address(self) -> int:
        """Of the records, [blocks][linear layers]."""
        return ctypes.addressof(self._records)

    @property
    def nbytes(self) -> int:
        """Memory of the terms."""
        return sum(tensor.nbytes for tensor in self._tensors)

    def _term(self, term: LowRank | None) -> CTerm:
        if term is None:
            return CTerm(None, None, 0)
        halves = [term.down.half().contiguous(), term.up.half().contiguous()]
        self._tensors += halves
        return CTerm(*(half.data_ptr() for half in halves), len(term.down))
