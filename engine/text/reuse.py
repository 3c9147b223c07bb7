"""Caches of finished rows, kept so that the next turn computes only what is new.

Each kept cache has its schedule: segments ["prefill", n] and ["decode", m]. A decode may be cut at any token; a prefill is reused
whole or not at all where a shorter one would be computed differently, and else cut too. So whatever is reused is something
that can be computed again, step by step, from its record. Knows ids and schedules; knows no model and no text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from engine.models.adapters import BASE

Step: TypeAlias = Literal["prefill", "decode"]
Segment: TypeAlias = tuple[Step, int]


def append(segments: list[Segment], kind: Step, count: int) -> None:
    """Add to a schedule; neighbouring decodes become one."""
    if count <= 0:
        return
    if kind == "decode" and segments and segments[-1][0] == "decode":
        count += segments.pop()[1]
    segments.append((kind, count))


def reusable(segments: Sequence[Segment], matched: int, *, can_cut: bool = False) -> list[Segment]:
    """The part of a schedule to keep when only the first `matched` tokens are wanted; `can_cut`: within a prefill too."""
    kept: list[Segment] = []
    for kind, count in segments:
        if count <= matched:
            kept.append((kind, count))
            matched -= count
            continue
        if (can_cut or kind == "decode") and matched > 0:
            kept.append((kind, matched))
        break
    return kept


def length(segments: Sequence[Segment]) -> int:
    """Tokens of a schedule."""
    return sum(count for _, count in segments)


@dataclass(slots=True)
class _Kept:
    adapter: str
    ids: list[int]
    segments: list[Segment]
    cache: Any
    size_bytes: int
    can_cut: bool


class CachePool:
    """The most recently used caches, up to a number of bytes. Used by one thread.

    Each belongs to an adapter (its sha256, or "base"): what one computed is never handed to another.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._kept: list[_Kept] = []
        """Least recently used first."""

    @property
    def size_bytes(self) -> int:
        """Memory the kept caches hold, at most."""
        return sum(kept.size_bytes for kept in self._kept)

    def caches(self) -> list[Any]:
        """All kept ones."""
        return [kept.cache for kept in self._kept]

    def find(self, ids: Sequence[int], adapter: str = BASE) -> tuple[Any, list[Segment]]:
        """Return (cache to fork from, the segments of it to keep) for the longest reusable beginning of `ids`, or (None, [])."""
        best: _Kept | None = None
        best_segments: list[Segment] = []
        for kept in self._kept:
            if kept.adapter != adapter:
                continue
            segments = reusable(kept.segments, matched(kept.ids, ids), can_cut=kept.can_cut)
            if length(segments) > length(best_segments):
                best, best_segments = kept, segments
        if best is None:
            return None, []
        self._kept.remove(best)
        self._kept.append(best)
        return best.cache, best_segments

    def keep(self, ids: list[int], segments: list[Segment], cache: Any, adapter: str = BASE, *, can_cut: bool = False) -> None:
        """Keep a cache of `ids`; what it makes needless goes, then the least recently used beyond the limit. `can_cut`: whether
        its prefills may be reused in part.
        """
        fresh = _Kept(adapter, ids, segments, cache, cache.size_bytes, can_cut)
        self._kept = [kept for kept in self._kept if kept.adapter != adapter or not _covers(fresh, kept)]
        self._kept.append(fresh)
        while self._kept and self.size_bytes > self.limit_bytes:
            self._kept.pop(0)

    def retain(self, is_wanted: Callable[[Any], bool]) -> None:
        """Forget the caches of which that is not true."""
        self._kept = [kept for kept in self._kept if is_wanted(kept.cache)]

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()


def matched(left: Sequence[int], right: Sequence[int]) -> int:
    """How many tokens both begin with."""
    for place, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            return place
    return min(len(left), len(right))


def _covers(newer: _Kept, kept: _Kept) -> bool:
    """Whether everything that `kept` could give can be had from the newer cache too."""
    whole = len(kept.ids)
    if matched(kept.ids, newer.ids) != whole:
        return False
    return newer.can_cut or reusable(newer.segments, whole) == list(kept.segments)
