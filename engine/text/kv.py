"""Keys and values of one row that grow in place and fork without copying.

Each layer writes into a room with space for more; forks share a room, and whoever is first to write behind its end may do so
in place, the others move out then. Knows tensors, torch's or numpy's; knows no tokens, rows or models, and no library's cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

from engine.text.footprint import rooms

GRAIN = 16
"""Rooms are copied in steps of so many tokens: a backend may lay that many keys among each other."""


class Room:
    """Space for keys and values [layers, heads, capacity, width], filled up to `filled` by whichever sharer came first."""

    def __init__(self, keys: Any, values: Any) -> None:
        """Take these tensors, with nothing in them yet."""
        self.capacity = keys.shape[2]
        self.filled = 0
        self.keys = keys
        self.values = values


class GrowingLayer:
    """One attention layer's keys and values, or those of several together; the first `length` tokens of its room are its own."""

    def __init__(self, room: Room | None = None, length: int = 0) -> None:
        self.room = room
        self.length = length

    def append(self, keys: Any, values: Any) -> tuple[Any, Any]:
        """Append [1, heads, tokens, width] each; return all keys and values, as views."""
        start = self.length

        def empty(capacity: int) -> Room:
            return Room(*(like.new_empty((*like.shape[:2], capacity, like.shape[3])) for like in (keys, values)))

        room = self.extend(keys.shape[-2], empty)
        room.keys[:, :, start : self.length] = keys
        room.values[:, :, start : self.length] = values
        return room.keys[:, :, : self.length], room.values[:, :, : self.length]

    def extend(self, count: int, empty: Callable[[int], Room]) -> Room:
        """Make place for `count` more tokens, which the caller fills in. `empty` makes a room of that capacity."""
        end = self.length + count
        # By the number of tokens alone, so that the memory layout, and with it the choice of kernels, is always the same.
        capacity = rooms(end)
        room = self.room
        if room is None or room.capacity != capacity or room.filled != self.length:
            fresh = empty(capacity)
            if room is not None:
                kept = min(room.capacity, capacity, -(-self.length // GRAIN) * GRAIN)
                fresh.keys[:, :, :kept] = room.keys[:, :, :kept]
                fresh.values[:, :, :kept] = room.values[:, :, :kept]
            room = fresh
        room.filled = end
        self.room, self.length = room, end
        return room

    def shorten(self, length: int) -> None:
        """Forget the tokens behind the first `length`; their place is free again when they were the last ones of the room."""
        if self.room is not None and self.room.filled == self.length:
            self.room.filled = length
        self.length = length


class GrowingCache:
    """All layers of one row, and the adapter that all of its tokens are computed with."""

    def __init__(self, layers: Sequence[GrowingLayer], adapter: Any = None) -> None:
        """`adapter`: the backend's own form of it; None = the base model."""
        self.layers = tuple(layers)
        self._adapter = adapter

    @property
    def adapter(self) -> Any:
        """What the backend computes this row with. Fixed: keys and values of two adapters never mix."""
        return self._adapter

    @property
    def length(self) -> int:
        """Tokens in it."""
        return self.layers[0].length

    @property
    def size_bytes(self) -> int:
        """Memory of its rooms; forks that share one count it each."""
        return sum(self.blocks().values())

    def blocks(self) -> dict[int, int]:
        """Bytes of each room, by its identity: what several caches have together is counted once."""
        found = [layer.room for layer in self.layers if layer.room is not None]
        return {id(room): room.keys.nbytes + room.values.nbytes for room in found}

    def fork(self, length: int) -> Self:
        """A cache of its own with the first `length` tokens."""
        layers = [GrowingLayer(layer.room if length else None, length) for layer in self.layers]
        return self._like(layers)

    def shorten(self, length: int) -> None:
        """Forget the tokens behind the first `length`. Nobody may have forked a longer cache from this one since they came."""
        for layer in self.layers:
            layer.shorten(length)

    def _like(self, layers: Sequence[GrowingLayer]) -> Self:
        return type(self)(layers, self._adapter)
