"""The live state of one job, and those who watch it: numbered snapshots, and followers that cost no thread.

Knows event loops and locks; knows no job's work, no database and no page. The worker's thread changes the state and wakes
each follower through its own loop; a follower always reads the newest state, so a slow one skips what it missed.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace

from engine.jobs.job import CancelToken, JobSnapshot

MIN_INTERVAL_S = 0.05
"""No follower gets more than 20 updates a second."""


class LiveJob:
    """One job's newest snapshot. Thread-safe."""

    def __init__(self, snapshot: JobSnapshot, cancel: CancelToken) -> None:
        self.cancel = cancel
        self.ended_at_s: float | None = None
        self.ended = threading.Event()
        """Set when no other snapshot follows: after the final one, or when the job was left."""
        self._snapshot = snapshot
        self._lock = threading.Lock()
        self._wakers: set[_Waker] = set()

    @property
    def snapshot(self) -> JobSnapshot:
        """The newest state; snapshots are frozen."""
        return self._snapshot

    def change(self, **changes: object) -> JobSnapshot:
        """Replace fields of the snapshot, number it, wake all followers. A final state stays as it is."""
        with self._lock:
            if self._snapshot.is_final or self.cancel.is_left:
                return self._snapshot
            self._snapshot = replace(self._snapshot, seq=self._snapshot.seq + 1, **changes)  # type: ignore[arg-type]
            wakers = tuple(self._wakers)
        if self._snapshot.is_final:
            self.ended.set()
        self._wake(wakers)
        return self._snapshot

    def leave(self) -> None:
        """Keep the state as it is for good and end all following: the job's work goes on without this process."""
        with self._lock:
            self.cancel.leave()
            wakers = tuple(self._wakers)
        self.ended.set()
        self._wake(wakers)

    async def follow(self, after: int, interval_s: float) -> AsyncIterator[JobSnapshot]:
        """Yield the newest state now when it is past `after`, then whenever it changed; ends after the final one."""
        loop = asyncio.get_running_loop()
        waker = _Waker(loop)
        next_at_s = 0.0
        with self._lock:
            self._wakers.add(waker)
        try:
            while True:
                waker.rest()  # before reading: a change from here on wakes again
                snapshot = self._snapshot
                if snapshot.seq > after:
                    after = snapshot.seq
                    next_at_s = loop.time() + max(interval_s, MIN_INTERVAL_S)
                    yield snapshot
                if snapshot.is_final or self.cancel.is_left:
                    return
                await waker.wait()
                await asyncio.sleep(max(0.0, next_at_s - loop.time()))
        finally:
            self._detach(waker)

    def _wake(self, wakers: tuple[_Waker, ...]) -> None:
        for waker in wakers:
            if not waker.wake():
                self._detach(waker)

    def _detach(self, waker: _Waker) -> None:
        with self._lock:
            self._wakers.discard(waker)


class _Waker:
    """Wakes one follower from any thread, at most once until it rests again."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._event = asyncio.Event()
        self._is_woken = False

    def rest(self) -> None:
        self._is_woken = False
        self._event.clear()

    async def wait(self) -> None:
        await self._event.wait()

    def wake(self) -> bool:
        """Returns False when the follower's loop is gone."""
        if self._is_woken:
            return True
        self._is_woken = True
        try:
            self._loop.call_soon_threadsafe(self._event.set)
        except RuntimeError:  # the loop was closed under its follower
            return False
        return True
