"""Guesses at the next tokens of an answer, from what its text already says: prompt lookup.

An answer that quotes, rewrites or sums up often goes on as an earlier place with the same last tokens did (Saxena, "Prompt
Lookup Decoding", 2023). Guesses are checked by the model in one pass and cost little when they are wrong, so how many are made
follows how many were right. Knows ids only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

LONGEST: Final = 10
"""Tokens guessed at once. Each costs a fifth of a step, behind a long prompt a third."""
_FIRST: Final = 4
_KEY_LENGTHS: Final = (4, 3)
"""Tokens that two places must share; more of them are surer."""
_PAUSE: Final = 8
"""Tokens without guesses after a guess of which nothing was right, doubled each time."""
_LONGEST_PAUSE: Final = 128


class Drafter:
    """The tokens of one row so far, and where each three and four of them were last."""

    def __init__(self, ids: Iterable[int]) -> None:
        self._ids: list[int] = []
        self._places: dict[tuple[int, ...], int] = {}
        self._length = _FIRST
        self._pause = _PAUSE
        self._silent = 0
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
        """Tokens that may come next; empty where nothing is alike, or while guesses were wrong lately."""
        if self._silent > 0:
            self._silent -= 1
            return ()
        for length in _KEY_LENGTHS:
            place = self._places.get(tuple(self._ids[-length:]))
            if place is not None and len(self._ids) >= length:
                return self._ids[place : place + self._length]
        return ()

    def learn(self, guessed: int, right: int) -> None:
        """Hear how many of the guessed tokens were right."""
        if not guessed:
            return
        if right == 0:
            self._silent, self._pause = self._pause, min(2 * self._pause, _LONGEST_PAUSE)
        else:
            self._pause = _PAUSE
        self._length = min(LONGEST, 2 * self._length) if right == guessed else max(2, right + 1)
