"""An adapter's low-rank terms as step.c reads them: half precision, one record for each linear layer of each block."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engine.text.llama.native.library import CTerm
from engine.text.low_rank import LowRank


class NativeTerms:
    """The terms, and where step.c finds them."""

    def __init__(self, terms: Sequence[LowRank | None]) -> None:
        """Block by block, in the order of engine.text.llama.config.LINEARS."""
        self._arrays: list[NDArray[np.float16]] = []
        self._records = (CTerm * len(terms))(*map(self._record, terms))

    @property
    def address(self) -> int:
        """Of the records, [blocks][linear layers]."""
        return ctypes.addressof(self._records)

    def _record(self, term: LowRank | None) -> CTerm:
        if term is None:
            return CTerm(None, None, 0)
        halves = [term.down.astype(np.float16), term.up.astype(np.float16)]
        self._arrays += halves
        return CTerm(*(half.ctypes.data for half in halves), len(term.down))
