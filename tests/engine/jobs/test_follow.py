"""Followers: all see the same, none costs a thread, a slow one skips, closing one touches nothing."""

from __future__ import annotations

import asyncio
import threading
import time

from engine.jobs.job import JobSnapshot
from engine.jobs.runner import JobContext, JobRunner
from storage.records import JobRecord
from tests.engine.jobs.rows import DEADLINE_S, MemoryJobStore


class Counting:
    """A job that counts as far as it is told to."""

    def __init__(self) -> None:
        self.store = MemoryJobStore()
        self.runner = JobRunner(self.store)
        self.job: JobRecord = self.store.add()
        self.permits = threading.Semaphore(0)
        self.total = 0

    def start(self, total: int) -> None:
        self.total = total
        self.runner.start(self.job, self.body, lane="interactive", data={"n": 0})

    def body(self, context: JobContext) -> None:
        for n in range(1, self.total + 1):
            while not self.permits.acquire(timeout=0.01):
                context.cancel.check()
            context.publish({"n": n})

    async def seen(self, after: int = 0, **options: float) -> list[JobSnapshot]:
        return [snapshot async for snapshot in self.runner.follow(self.job.id, after, **options)]

    async def until(self, n: int) -> JobSnapshot:
        """Wait for the count."""
        deadline_s = time.monotonic() + DEADLINE_S
        while (snapshot := self.runner.snapshot(self.job.id)) is None or snapshot.data.get("n", -1) < n:
            assert time.monotonic() < deadline_s
            await asyncio.sleep(0.002)
        return snapshot


def test_a_follower_ends_with_the_final_state_and_numbers_only_grow() -> None:
    async def run() -> None:
        counting = Counting()
        counting.start(5)
        follower = asyncio.create_task(counting.seen())
        for n in range(1, 6):
            counting.permits.release()
            await counting.until(n)
        seen = await asyncio.wait_for(follower, DEADLINE_S)
        numbers = [snapshot.seq for snapshot in seen]
        assert numbers == sorted(set(numbers))
        assert seen[-1].status == "done"
        assert seen[-1].data == {"n": 5}

    asyncio.run(run())


def test_two_followers_see_the_same_end_and_a_late_one_the_whole_state() -> None:
    async def run() -> None:
        counting = Counting()
        counting.start(4)
        early = [asyncio.create_task(counting.seen()) for _ in range(2)]
        counting.permits.release(3)
        await counting.until(3)
        late = asyncio.create_task(counting.seen())
        await asyncio.sleep(0.02)
        counting.permits.release()
        everything = await asyncio.wait_for(asyncio.gather(*early, late), DEADLINE_S)
        assert all(snapshots[-1] == everything[0][-1] for snapshots in everything)
        assert everything[2][0].data["n"] >= 3  # nothing that came before it is missing

    asyncio.run(run())


def test_a_follower_gets_only_what_it_has_not_seen() -> None:
    async def run() -> None:
        counting = Counting()
        counting.start(1)
        counting.permits.release()
        seen = await asyncio.wait_for(counting.seen(), DEADLINE_S)
        assert await counting.seen(after=seen[-1].seq) == []
        again = await counting.seen(after=seen[-1].seq - 1)
        assert [snapshot.seq for snapshot in again] == [seen[-1].seq]

    asyncio.run(run())


def test_closing_a_follower_never_touches_the_job() -> None:
    async def run() -> None:
        counting = Counting()
        counting.start(2)
        follower = counting.runner.follow(counting.job.id)
        await anext(follower)
        await follower.aclose()  # type: ignore[attr-defined]
        dropped = asyncio.create_task(counting.seen())
        await asyncio.sleep(0)
        dropped.cancel()
        counting.permits.release(2)
        seen = await asyncio.wait_for(counting.seen(), DEADLINE_S)
        assert seen[-1].status == "done"
        assert seen[-1].data == {"n": 2}

    asyncio.run(run())


def test_updates_are_at_most_twenty_a_second_and_the_newest_one_comes() -> None:
    async def run() -> None:
        counting = Counting()
        counting.start(3000)
        counting.permits.release(3000)
        started_s = time.monotonic()
        seen = await asyncio.wait_for(counting.seen(interval_s=0.0), DEADLINE_S)
        elapsed_s = time.monotonic() - started_s
        assert len(seen) <= elapsed_s / 0.05 + 2
        assert seen[-1].data == {"n": 3000}

    asyncio.run(run())


def test_a_thousand_followers_cost_no_thread() -> None:
    async def run() -> None:
        counting = Counting()
        counting.start(1)
        await counting.until(0)
        before = threading.active_count()
        followers = [asyncio.create_task(counting.seen()) for _ in range(1000)]
        await asyncio.sleep(0.02)
        assert threading.active_count() <= before
        counting.permits.release()
        ends = await asyncio.wait_for(asyncio.gather(*followers), DEADLINE_S)
        assert all(snapshots[-1].status == "done" for snapshots in ends)

    asyncio.run(run())


def test_followers_in_other_loops_are_woken_and_a_dead_loop_is_forgotten() -> None:
    counting = Counting()
    counting.start(2)

    async def one() -> None:
        await anext(counting.runner.follow(counting.job.id))

    # The loop ends with its follower still attached to the job.
    loop = asyncio.new_event_loop()
    loop.run_until_complete(one())
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    results: list[list[JobSnapshot]] = []
    threads = [threading.Thread(target=lambda: results.append(asyncio.run(counting.seen()))) for _ in range(3)]
    for thread in threads:
        thread.start()
    counting.permits.release(2)
    for thread in threads:
        thread.join(DEADLINE_S)
    assert len(results) == 3
    assert all(seen[-1].data == {"n": 2} and seen[-1].status == "done" for seen in results)


def test_an_unknown_job_has_no_states() -> None:
    async def run() -> None:
        assert [snapshot async for snapshot in JobRunner(MemoryJobStore()).follow("nothing")] == []

    asyncio.run(run())
