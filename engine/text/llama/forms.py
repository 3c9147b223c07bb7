"""What one way to compute a model is to the backend, and the cache that belongs to it.

Names and versions are what paths record: an answer is reproduced in the form in which it was written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol, Self

from engine.arrays import Floats
from engine.text.kv import GrowingCache, GrowingLayer
from engine.text.llama.adapter import LlamaAdapter

VERSION: Final = "3"
"""Raised when the arithmetic changes: an answer is reproduced on the version its path records."""
FLOAT32: Final = "float32"
PACKED: Final = "int4"
"""Torch's own 4-bit kernel for answers; prompts in float32."""
NATIVE: Final = "native"
"""Behind the bits of its weights ("int4, native"): all of it in C."""


class Form(Protocol):
    """One way to compute tokens. A cache that one form has begun is never computed by another."""

    name: str

    @property
    def nbytes(self) -> int:
        """Memory of its own weights."""

    @property
    def can_cut(self) -> bool:
        """See engine.text.backend.TextBackend."""

    @property
    def needs_float32(self) -> bool:
        """Whether the float32 weights must stay for it."""

    def use_threads(self, count: int) -> None:
        """See engine.text.backend.TextBackend."""

    def new_layers(self) -> list[GrowingLayer]:
        """Keys and values of an empty row."""

    def is_row_by_row(self, adapter: LlamaAdapter | None) -> bool:
        """Whether a row's result is the same, bit by bit, whatever rows are computed with it."""

    def prefill(self, cache: LlamaCache, ids: Sequence[int]) -> None:
        """See engine.text.backend.TextBackend."""

    def step_together(self, caches: Sequence[LlamaCache], ids: Sequence[int]) -> Floats:
        """See engine.text.backend.TextBackend."""

    def log_probabilities(self, cache: LlamaCache, ids: Sequence[int], targets: Sequence[int]) -> Floats:
        """See engine.text.backend.TextBackend."""


class LlamaCache(GrowingCache):
    """One row's keys and values, and the form in which its tokens are computed."""

    def __init__(self, layers: Sequence[GrowingLayer], adapter: LlamaAdapter | None, form: Form) -> None:
        super().__init__(layers, adapter)
        self.form = form

    def _like(self, layers: Sequence[GrowingLayer]) -> Self:
        return type(self)(layers, self.adapter, self.form)
