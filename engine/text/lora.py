"""Adapters as a backend computes them: low-rank terms beside the layers, which are never changed, and a pool of loaded ones.

    y = x·W + (x·down)·up        with the scaling in `up` (Hu et al., "LoRA", arXiv:2106.09685)

So rows of one model may have different adapters, or none, at the same time, and putting one on or taking it off costs nothing.
Knows tensors; knows no model, no request and no thread of computing.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Generic, Protocol, TypeVar

import torch
import torch.nn.functional as F

from engine.errors import BadFileError
from engine.models.adapters import AdapterRef, LoraWeights, load_lora

POOL_BYTES = 512 * 2**20
"""Memory for loaded adapters; the least recently used go first. A rank-16 adapter of a 135M model has 20 MB."""


@dataclass(frozen=True, slots=True)
class LowRank:
    """What an adapter adds to one linear layer, or to several that are computed as one."""

    down: torch.Tensor
    """[rank, in]."""
    up: torch.Tensor
    """[rank, out]."""

    @property
    def size_bytes(self) -> int:
        """Memory of both."""
        return int(self.down.nbytes + self.up.nbytes)

    def add_to(self, y: torch.Tensor, x: torch.Tensor) -> None:
        """Add the term of x [rows, in] to y [rows, out], in place."""
        y.addmm_(F.linear(x, self.down), self.up)


def fuse(weights: LoraWeights, modules: Sequence[tuple[str, int]], width: int) -> LowRank | None:
    """One term for linear layers that share their input of `width` and are computed as one.

    modules: each layer's name and outputs, in the order in which the outputs lie. None when the adapter has none of them.
    Raises BadFileError when a shape is not the layer's.
    """
    pairs = [(weights.modules.get(name), name, out) for name, out in modules]
    ranks = [0 if pair is None else pair[0].shape[0] for pair, _, _ in pairs]
    if not any(ranks):
        return None
    down = torch.zeros(sum(ranks), width)
    up = torch.zeros(sum(ranks), sum(out for _, _, out in pairs))
    row = column = 0
    for (pair, name, out), rank in zip(pairs, ranks, strict=True):
        if pair is not None:
            if pair[0].shape[1] != width or pair[1].shape[0] != out:
                raise does_not_fit(f"{name} has other sizes")
            down[row : row + rank] = pair[0]
            up[row : row + rank, column : column + out] = pair[1].T * weights.scaling
        row, column = row + rank, column + out
    return LowRank(down, up)


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
