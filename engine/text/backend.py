"""What a backend is to the scheduler: it turns token ids into logits, and keeps what it computed in caches.

Knows shapes; knows no chat, no sampling and no threads. A backend is called from one thread only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch


class RowCache(Protocol):
    """Keys and values of one row's tokens."""

    @property
    def length(self) -> int:
        """Tokens in it."""

    @property
    def size_bytes(self) -> int:
        """Memory it holds."""


class TextBackend(Protocol):
    """A loaded language model.

    The result of a call depends only on its cache's history of calls, never on other rows: that is what makes an answer
    reproducible from its recorded schedule.
    """

    @property
    def vocabulary_size(self) -> int: ...

    @property
    def size_bytes(self) -> int:
        """Memory of the weights."""

    @property
    def max_rows(self) -> int:
        """How many rows one `step` may take."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What a path records: engine, engine_version, torch, dtype, device, batched."""

    def new_cache(self) -> Any:
        """An empty RowCache of this backend's own kind."""

    def prefill(self, cache: Any, ids: Sequence[int]) -> None:
        """Append `ids` to the cache in one pass. No logits."""

    def step(self, caches: Sequence[Any], ids: Sequence[int]) -> torch.Tensor:
        """Append one token to each cache; return the logits that follow: float32 on the CPU, [rows, vocabulary]."""

    def fork(self, cache: Any, length: int) -> Any:
        """A cache of its own with the first `length` tokens; the other one stays as it is."""

    def close(self) -> None:
        """Let go of the weights."""
