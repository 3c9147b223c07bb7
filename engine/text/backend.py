"""What a backend is to the scheduler: it turns token ids into logits, and keeps what it computed in caches.

Knows shapes; knows no chat, no sampling and no threads. A backend is called from one thread only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from engine.arrays import Floats
from engine.models.adapters import LoraWeights


class RowCache(Protocol):
    """Keys and values of one row's tokens."""

    @property
    def length(self) -> int:
        """Tokens in it."""

    @property
    def size_bytes(self) -> int:
        """Memory it holds."""

    def blocks(self) -> Mapping[int, int]:
        """The same by pieces, each with an identity: forks have some together."""


class TextBackend(Protocol):
    """A loaded language model.

    The result of a call depends only on its cache's history of calls, never on other rows: that is what makes an answer
    reproducible from its recorded schedule. The exception is `step_together` for caches that are not `is_row_by_row`, and
    what it computed says so in its path.
    """

    @property
    def vocabulary_size(self) -> int: ...

    @property
    def size_bytes(self) -> int:
        """Memory of the weights."""

    @property
    def max_together(self) -> int:
        """How many rows one `step_together` may take; 1 = it has nothing to gain from it."""

    def facts(self, cache: Any) -> Mapping[str, Any]:
        """What a path records of this cache's arithmetic: engine, engine_version, torch, dtype, device."""

    def is_row_by_row(self, cache: Any) -> bool:
        """Whether `step_together` gives this cache the very logits, bit by bit, that `step` would."""

    def use_threads(self, count: int) -> None:
        """Compute with so many threads of the CPU from now on. Called by the thread that computes."""

    def can_guess(self, cache: Any) -> bool:
        """Whether several tokens of this cache in one `step_together` cost hardly more than one."""

    def can_cut(self, cache: Any) -> bool:
        """Whether this cache would hold the same bits however its tokens had been cut into passes."""

    def is_current(self, cache: Any) -> bool:
        """Whether a new cache would be computed in the same way; else there is a faster one by now."""

    def prepare_adapter(self, weights: LoraWeights) -> Any:
        """The adapter as this backend computes it (engine.text.lora.LoadedAdapter). May be called from any thread.

        Raises BadFileError when it does not fit the model.
        """

    def new_cache(self, adapter: Any = None, path: Mapping[str, Any] | None = None) -> Any:
        """An empty RowCache of this backend's own kind, whose tokens are all computed with `adapter` (None = the base model).

        `path`: of an answer that is computed again; its arithmetic is used where it is there.
        """

    def adapter_of(self, cache: Any) -> str:
        """The sha256 of the adapter whose weights this cache is computed with, or "base": read from what computes, not asked."""

    def prefill(self, cache: Any, ids: Sequence[int]) -> None:
        """Append `ids` to the cache in one pass. No logits."""

    def step(self, cache: Any, token: int) -> Floats:
        """Append one token; return the logits that follow: [vocabulary]."""

    def step_together(self, caches: Sequence[Any], ids: Sequence[int]) -> Floats:
        """Append one token to each cache, all in one pass; logits [rows, vocabulary].

        The caches may have different adapters. A cache that is `is_row_by_row` and `can_guess` may be given several times: its
        tokens are appended one behind the other. For those that are not row by row the last bits depend on who is in it.
        """

    def log_probabilities(self, cache: Any, ids: Sequence[int], targets: Sequence[int]) -> Floats:
        """Append `ids` in one pass; log-probability of targets[i] right after ids[i]: [tokens]."""

    def fork(self, cache: Any, length: int) -> Any:
        """A cache of its own with the first `length` tokens; the other one stays as it is."""

    def shorten(self, cache: Any, length: int) -> None:
        """Forget what lies behind the first `length` tokens; no fork may have been made of them."""

    def close(self) -> None:
        """Let go of the weights."""
