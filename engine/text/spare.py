"""What a scheduler may still take of memory, and the sentence when that does not suffice.

Knows bytes and tokens; knows no rows and no backend.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from engine.errors import BusyError
from engine.models.store import gigabytes
from engine.text.footprint import UNKNOWN, Footprint, rooms

UNBOUNDED: Final = 2**62
CHUNK_SHORT: Final = 32
"""Prompt tokens computed at once for whoever memory was short for."""


class Spare:
    """See the module's docstring. Without arguments there is enough for everything."""

    def __init__(
        self,
        footprint: Footprint = UNKNOWN,
        free_bytes: Callable[[], int] = lambda: UNBOUNDED,
        let_go: Callable[[], int] = lambda: UNBOUNDED,
    ) -> None:
        """`footprint` says what is taken, `free_bytes` what there is; `let_go` makes it more and says how much it is then."""
        self._footprint = footprint
        self._free_bytes = free_bytes
        self.let_go = let_go

    def require(self, lengths: Sequence[int], count: int) -> None:
        """Raises MemoryError when there is too little to append `count` tokens to rows of these lengths.

        A few tokens that fit into the rooms of their caches are not worth asking for.
        """
        grown = sum(rooms(length + count) - rooms(length) for length in lengths)
        if grown or count >= CHUNK_SHORT:
            self._require(grown * self._footprint.token_bytes + self._footprint.pass_bytes(count, max(lengths) + count))

    def require_rows(self, rows: int, tokens: int) -> None:
        """Raises MemoryError when there is too little for so many further rows with so many tokens each."""
        self._require(rows * self._footprint.cache_bytes(tokens))

    def too_little(self, tokens: int) -> BusyError:
        """The error for a piece of work of at most so many tokens that failed."""
        need = self._footprint.cache_bytes(tokens) + self._footprint.pass_bytes(CHUNK_SHORT, tokens)
        needs, have = gigabytes(need), gigabytes(max(0, self._free_bytes()))
        return BusyError(
            f"Memory ran out while writing: this needs up to {needs} beside the model, {have} are free. What was written is "
            "kept; close other programs, ask for less, or use a smaller model.",
            key="error.out_of_memory",
            needs=needs,
            have=have,
        )

    def _require(self, need: int) -> None:
        if need and need > self._free_bytes():
            raise MemoryError(f"{need} bytes are needed")
