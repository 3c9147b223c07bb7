"""Which part of a schedule may be used again, and what the pool keeps."""

from __future__ import annotations

from dataclasses import dataclass

from engine.text.reuse import CachePool, Segment, append, length, reusable


@dataclass
class FakeCache:
    length: int
    size_bytes: int = 10


def test_prefill_is_reused_whole_or_not_at_all_and_decode_anywhere() -> None:
    schedule: list[Segment] = [("prefill", 10), ("decode", 5), ("prefill", 4), ("decode", 1)]
    assert reusable(schedule, 9) == []
    assert reusable(schedule, 10) == [("prefill", 10)]
    assert reusable(schedule, 12) == [("prefill", 10), ("decode", 2)]
    assert reusable(schedule, 18) == [("prefill", 10), ("decode", 5)]
    assert reusable(schedule, 99) == schedule


def test_a_prefill_is_cut_where_that_changes_no_bit() -> None:
    schedule: list[Segment] = [("prefill", 10), ("decode", 5)]
    assert reusable(schedule, 9, can_cut=True) == [("prefill", 9)]
    assert reusable(schedule, 0, can_cut=True) == []
    pool = CachePool(100)
    long = FakeCache(6)
    pool.keep([1, 2, 3], [("prefill", 3)], FakeCache(3), can_cut=True)
    pool.keep([1, 2, 3, 4, 5, 6], [("prefill", 6)], long, can_cut=True)
    assert pool.size_bytes == 10  # the shorter one is in the longer one
    assert pool.find([1, 2, 3, 4, 9, 9]) == (long, [("prefill", 4)])


def test_neighbouring_decodes_become_one() -> None:
    schedule: list[Segment] = []
    for kind, count in (("prefill", 3), ("decode", 1), ("decode", 2), ("prefill", 0), ("prefill", 4)):
        append(schedule, kind, count)  # type: ignore[arg-type]
    assert schedule == [("prefill", 3), ("decode", 3), ("prefill", 4)]
    assert length(schedule) == 10


def test_pool_finds_the_longest_beginning() -> None:
    pool = CachePool(1000)
    short, long = FakeCache(3), FakeCache(6)
    pool.keep([1, 2, 3], [("prefill", 3)], short)
    pool.keep([1, 2, 9, 9, 9, 9], [("prefill", 2), ("decode", 4)], long)
    assert pool.find([1, 2, 3, 4]) == (short, [("prefill", 3)])
    assert pool.find([1, 2, 9, 9, 5]) == (long, [("prefill", 2), ("decode", 2)])
    assert pool.find([7]) == (None, [])


def test_pool_drops_what_a_newer_one_covers_and_the_least_recently_used() -> None:
    pool = CachePool(20)
    pool.keep([1, 2, 3], [("prefill", 3)], FakeCache(3))
    pool.keep([1, 2, 3, 4], [("prefill", 3), ("decode", 1)], FakeCache(4))
    assert pool.size_bytes == 10
    pool.keep([5, 6], [("prefill", 2)], FakeCache(2))
    pool.find([1, 2, 3, 4])
    pool.keep([8, 9], [("prefill", 2)], FakeCache(2))
    assert pool.find([5, 6, 7]) == (None, [])
    assert pool.find([1, 2, 3, 4])[0] is not None
