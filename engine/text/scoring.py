"""One answer on its way through the scheduler to be scored: how likely the model finds each of its tokens.

Knows ids and log-probabilities; calls no model and no thread. Only the scheduler's thread changes it, except for `abandoned`.
"""

from __future__ import annotations

import queue
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from engine.arrays import Floats
from engine.errors import StudioError
from engine.jobs.job import CancelToken
from engine.text.footprint import CHUNK_ALONE

if TYPE_CHECKING:
    from engine.text.lora import LoadedAdapter


class Scoring:
    """A prompt with its answer. `result` gets the log-probabilities of the answer's tokens, or an error, once."""

    def __init__(
        self, ids: Sequence[int], start: int, cancel: CancelToken, *, adapter: LoadedAdapter | None, adapter_sha256: str
    ) -> None:
        """`ids`: prompt and answer; `start`: place of the answer's first token, at least 1."""
        self.ids = list(ids)
        self.cancel = cancel
        self.adapter = adapter
        self.adapter_sha256 = adapter_sha256
        self.abandoned = False
        self.cache: Any = None
        self.chunk = CHUNK_ALONE
        """Most tokens at once."""
        self.position = 0
        """Tokens computed so far. The last one is never computed: nothing follows it."""
        self.result: queue.SimpleQueue[tuple[float, ...] | StudioError] = queue.SimpleQueue()
        self._start = start
        self._values: list[float] = []
        self._is_failed = False

    @property
    def ended(self) -> bool:
        """Whether nobody waits for more of it."""
        return self.abandoned or self.cancel.cancelled or self._is_failed or self.position >= len(self.ids) - 1

    @property
    def most_tokens(self) -> int:
        """Tokens that it is made of."""
        return len(self.ids)

    def caches(self) -> list[Any]:
        """What is computed of it."""
        return [] if self.cache is None else [self.cache]

    def release(self) -> None:
        """Let go of what is computed of it."""
        self.cache = None

    def next_step(self, chunk: int) -> tuple[list[int], list[int]]:
        """(tokens to compute, the tokens that really follow each); the second is empty while still inside the prompt."""
        first, quiet = self.position, self._start - 1
        end = min(first + chunk, quiet if first < quiet else len(self.ids) - 1)
        return self.ids[first:end], self.ids[first + 1 : end + 1] if first >= quiet else []

    def take(self, count: int, values: Floats | None) -> None:
        """Note that `count` tokens were computed, with the log-probabilities of what follows them."""
        self.position += count
        if values is not None:
            self._values.extend(values.tolist())
        if self.position >= len(self.ids) - 1:
            self.result.put(tuple(self._values))

    def fail(self, error: StudioError) -> None:
        """Hand the reader an error; nothing more is computed."""
        self._is_failed = True
        self.result.put(error)
