"""Token ids to text while they come: whole characters only, and stop texts never shown.

Knows how to decode ids and look for texts; knows no model and no sampling.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

Decode = Callable[[Sequence[int]], str]
_BROKEN = "\ufffd"
_MAX_HELD_TOKENS = 8
"""A character is at most four bytes, so four byte tokens; past this the bytes are no character and are shown as replaced."""


class Detokenizer:
    """Decodes one token at a time. Text comes out when its characters are complete, so an emoji of four tokens comes at once.

    Decoding starts at the last place known to be whole and is compared with what was out already: tokenizers that put spaces
    by context come out right, and each step costs a few tokens, not the whole answer.
    """

    def __init__(self, decode: Decode, prompt_ids: Sequence[int] = ()) -> None:
        """`prompt_ids`: the end of what came before, for tokenizers whose spaces depend on it."""
        self._decode = decode
        self._ids: list[int] = list(prompt_ids)
        self._start = 0
        self._read = len(self._ids)

    def push(self, token_id: int) -> str:
        """Take a token; return the text that is complete now, or an empty string."""
        self._ids.append(token_id)
        before = self._decode(self._ids[self._start : self._read])
        after = self._decode(self._ids[self._start :])
        held = len(self._ids) - self._read
        if after.endswith(_BROKEN) and held < _MAX_HELD_TOKENS:
            return ""
        self._start, self._read = self._read, len(self._ids)
        return after[len(before) :]


class StopText:
    """Holds text back while it may be the beginning of a stop text."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""

    def push(self, text: str) -> tuple[str, bool]:
        """Take text; return (what may be shown, whether a stop text was found). After one is found nothing more comes."""
        self._held += text
        places = [place for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if places:
            shown, self._held = self._held[: min(places)], ""
            return shown, True
        keep = max((_overlap(self._held, stop) for stop in self._stops), default=0)
        cut = len(self._held) - keep
        shown, self._held = self._held[:cut], self._held[cut:]
        return shown, False

    def rest(self) -> str:
        """What was held back, once no more text will come."""
        shown, self._held = self._held, ""
        return shown


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that `stop` begins with."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
