"""Keys and values of one row that grow in place and fork without copying.

transformers' own dynamic cache copies everything at each token. Here each layer writes into a room with space for more;
forks share a room, and whoever is first to write behind its end may do so in place, the others move out then. Knows tensors
and transformers' cache interface; knows no tokens, rows or models.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

ROOM_TOKENS = 256
"""Rooms are multiples of this. The size depends on the number of tokens alone, so that the memory layout, and with it the
choice of kernels, is the same whenever the same tokens are computed."""


class _Room:
    """Space for keys and values [1, heads, capacity, width], filled up to `filled` by whichever sharer came first."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, capacity: int) -> None:
        self.capacity = capacity
        self.filled = 0
        self.keys = keys.new_empty((*keys.shape[:2], capacity, keys.shape[3]))
        self.values = values.new_empty((*values.shape[:2], capacity, values.shape[3]))


class GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """One attention layer's keys and values; the first `length` tokens of its room are its own."""

    def __init__(self, room: _Room | None = None, length: int = 0) -> None:
        super().__init__()
        self.room = room
        self.length = length
        if room is not None:
            self.dtype, self.device = room.keys.dtype, room.keys.device
            self.keys, self.values = room.keys[:, :, :length], room.values[:, :, :length]
            self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append and return all keys and values, as views."""
        end = self.length + key_states.shape[-2]
        capacity = -(-end // ROOM_TOKENS) * ROOM_TOKENS
        room = self.room
        if room is None or room.capacity != capacity or room.filled != self.length:
            fresh = _Room(key_states, value_states, capacity)
            if room is not None:
                fresh.keys[:, :, : self.length] = room.keys[:, :, : self.length]
                fresh.values[:, :, : self.length] = room.values[:, :, : self.length]
            room = fresh
        room.keys[:, :, self.length : end] = key_states
        room.values[:, :, self.length : end] = value_states
        room.filled = end
        self.room, self.length = room, end
        self.dtype, self.device = room.keys.dtype, room.keys.device
        self.keys, self.values = room.keys[:, :, :end], room.values[:, :, :end]
        self.is_initialized = True
        return self.keys, self.values

    def get_seq_length(self) -> int:
        """Tokens in it."""
        return self.length


class GrowingCache:
    """All layers of one row."""

    def __init__(self, layers: list[GrowingLayer]) -> None:
        self.layers = layers
        self.cache = Cache(layers=list(layers))

    @property
    def length(self) -> int:
        """Tokens in it."""
        return self.layers[0].length

    @property
    def size_bytes(self) -> int:
        """Memory of its rooms; forks that share one count it each."""
        rooms = [layer.room for layer in self.layers if layer.room is not None]
        return sum(room.keys.nbytes + room.values.nbytes for room in rooms)

    def fork(self, length: int) -> GrowingCache:
        """A cache of its own with the first `length` tokens."""
        return GrowingCache([GrowingLayer(layer.room if length else None, length) for layer in self.layers])
