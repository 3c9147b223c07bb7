"""Adapters as a backend has them: a pool of loaded ones, and which rows have which.

What they add is in engine/text/low_rank.py. Rows of one model may have different adapters, or none, at the same time, and
putting one on or taking it off costs nothing. Knows no tensors, no model, no request and no thread of computing.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Generic, Protocol, TypeVar

from engine.errors import BadFileError
from engine.models.adapters import AdapterRef, LoraWeights, load_lora

POOL_BYTES = 512 * 2**20
"""Memory for loaded adapters; the least recently used go first. A rank-16 adapter of a 135M model has 20 MB."""


def grouped(adapters: Sequence[object]) -> tuple[list[int], list[slice]]:
    """Rows put in an order in which those of one adapter are neighbours: (the order, the span of each adapter)."""
    order = sorted(range(len(adapters)), key=lambda row: id(adapters[row]))
    spans, start = [], 0
    for _, members in groupby(order, key=lambda row: id(adapters[row])):
        end = start + len(list(members))
        spans.append(slice(start, end))
        start = end
    return order, spans


def does_not_fit(reason: str) -> BadFileError:
    """The error for an adapter of another model."""
    return BadFileError(f"This adapter was trained for another model: {reason}.", key="error.adapter_fit", reason=reason)


class LoadedAdapter(Protocol):
    """An adapter in the form that a backend computes with."""

    @property
    def sha256(self) -> str:
        """Of the bytes it was made from."""

    @property
    def size_bytes(self) -> int:
        """Memory that it holds."""


A = TypeVar("A", bound=LoadedAdapter)


class AdapterPool(Generic[A]):
    """Adapters loaded on first use, kept by their sha256 up to a number of bytes. Thread-safe."""

    def __init__(self, prepare: Callable[[LoraWeights], A], limit_bytes: int = POOL_BYTES) -> None:
        """`prepare` turns checked weights into the backend's form; raises BadFileError when they do not fit the model."""
        self._prepare = prepare
        self._limit_bytes = limit_bytes
        self._loaded: OrderedDict[str, A] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def size_bytes(self) -> int:
        """Memory of those that are kept."""
        with self._lock:
            return sum(adapter.size_bytes for adapter in self._loaded.values())

    def get(self, ref: AdapterRef | None) -> A | None:
        """The loaded adapter; None for the base model. Raises BadFileError. What is dropped lives on in rows that use it."""
        if ref is None:
            return None
        with self._lock:
            adapter = self._loaded.get(ref.sha256)
            if adapter is None:
                adapter = self._prepare(load_lora(ref.folder, ref.sha256))
                self._loaded[ref.sha256] = adapter
            self._loaded.move_to_end(ref.sha256)
            held = sum(kept.size_bytes for kept in self._loaded.values())
            while held > self._limit_bytes and len(self._loaded) > 1:
                held -= self._loaded.popitem(last=False)[1].size_bytes
            return adapter

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._loaded.clear()
