"""Guesses at the next tokens of an answer, from what its text already says: prompt lookup.

An answer that quotes, rewrites or sums up often goes on as an earlier place with the same last tokens did (Saxena, "Prompt
Lookup Decoding", 2023). Guesses are checked by the model in one pass and cost little when they are wrong, so how many are made
follows how many were right. Knows ids only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

LONGEST: Final = 10
"""Most tokens guessed at once."""
_COST: Final = 1 / 6
"""Of a step: what one more guess in a pass takes."""
_MEMORY: Final = 0.8
"""How much of what was known before counts when the next guesses are judged."""
_KEY_LENGTHS: Final = (4, 3)
"""Tokens that two places must share; more of them are surer."""


class Drafter:
    """The tokens of one row so far, and where each three and four of them were last."""

    def __init__(self, ids: Iterable[int]) -> None:
        self._ids: list[int] = []
        self._places: dict[tuple[int, ...], int] = {}
        self._right, self._judged = 2.0, 3.0
        for token in ids:
            self.push(token)

    def push(self, token: int) -> None:
        """Take the next token. What it completes is known from the next one on."""
        # The places of keys that end before this token: it is what followed them.
        end = len(self._ids)
        for length in _KEY_LENGTHS:
            if end >= length:
                self._places[tuple(self._ids[end - length :])] = end
        self._ids.append(token)

    def draft(self) -> Sequence[int]:
        """Tokens that may come next; empty where nothing is alike."""
        for length in _KEY_LENGTHS:
            place = self._places.get(tuple(self._ids[-length:]))
            if place is not None and len(self._ids) >= length:
                return self._ids[place : place + self._length()]
        return ()

    def learn(self, guessed: int, right: int) -> None:
        """Hear how many of the guessed tokens were right."""
        if not guessed:
            return
        # What lies behind the first wrong guess was never judged.
        self._right = _MEMORY * self._right + right
        self._judged = _MEMORY * self._judged + min(right + 1, guessed)

    def _length(self) -> int:
        """Tokens to guess: as long as the next one is likelier to be needed than what it costs, if they go on as they went."""
        share = min(0.95, max(0.2, self._right / self._judged))
        return max(1, min(LONGEST, int(math.log(_COST) / math.log(share))))
