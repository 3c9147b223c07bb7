"""One thread that computes everything a model writes: prompts in chunks, then a token for each row in turn.

Rows join as they come and leave at any step. Between two steps of the running rows at most one chunk of one prompt is
computed, so that streams go on while a long prompt is read. Knows schedules and caches; knows no chat and no files.
"""

from __future__ import annotations

import logging
import queue
import threading
from typing import Any

from engine.errors import BusyError, StudioError
from engine.text.backend import TextBackend
from engine.text.generation import Generation, Row
from engine.text.reuse import CachePool, append

CHUNK_ALONE = 256
CHUNK_BESIDE = 64
"""Prompt tokens computed at once; fewer while others are writing, so that they pause for a blink only."""

logger = logging.getLogger(__name__)


class Scheduler:
    """Owns the backend: nobody else calls it."""

    def __init__(self, backend: TextBackend, *, threads: int, cache_limit_bytes: int, name: str = "text") -> None:
        self._backend = backend
        self._threads = threads
        self._pool = CachePool(cache_limit_bytes)
        self._inbox: queue.SimpleQueue[Generation | None] = queue.SimpleQueue()
        self._generations: list[Generation] = []
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"{name}-scheduler", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether it still computes."""
        return self._thread.is_alive()

    def submit(self, generation: Generation) -> None:
        """Let a generation join; its events come through its own queue."""
        if self._closing:
            raise BusyError("This model is being unloaded. Try again.", key="error.model_unloading")
        self._inbox.put(generation)

    def close(self) -> None:
        """End every row as cancelled and wait for the thread; the backend is closed and all caches are dropped."""
        self._closing = True
        self._inbox.put(None)
        self._thread.join()

    def _run(self) -> None:
        import torch

        torch.set_num_threads(self._threads)
        current = self._threads
        while not self._closing:
            self._admit()
            self._drop_ended()
            for generation in self._turns():
                wanted = generation.threads or self._threads
                if wanted != current:
                    torch.set_num_threads(wanted)
                    current = wanted
                self._guarded(generation)
        self._take_inbox()
        for generation in self._generations:
            generation.end_all("cancelled")
        self._generations.clear()
        self._pool.clear()
        self._backend.close()

    def _admit(self) -> None:
        """Take what has come; sleep while there is nothing to do."""
        if not self._generations and self._inbox.empty():
            first = self._inbox.get()
            if first is not None:
                self._generations.append(first)
        self._take_inbox()

    def _take_inbox(self) -> None:
        while not self._inbox.empty():
            generation = self._inbox.get()
            if generation is not None:
                self._generations.append(generation)

    def _drop_ended(self) -> None:
        for generation in self._generations:
            if generation.cancel.cancelled:
                generation.end_all("cancelled")
            if generation.ended:
                self._keep(generation)
        self._generations = [generation for generation in self._generations if not generation.ended]

    def _turns(self) -> list[Generation]:
        """Who computes in this round: every one that writes, and of those that still read, the one with least to read."""
        reading = [generation for generation in self._generations if generation.in_prompt]
        writing = [generation for generation in self._generations if not generation.in_prompt]
        if reading:
            writing.append(min(reading, key=lambda generation: len(generation.ids) - generation.position))
        return writing

    def _guarded(self, generation: Generation) -> None:
        """One turn of one generation; whatever goes wrong in it is its own failure, and the others go on."""
        try:
            if generation.in_prompt:
                self._read(generation)
            else:
                self._write(generation)
        except Exception as error:
            logger.exception("a generation failed")
            generation.fail(self._explain(error))

    def _read(self, generation: Generation) -> None:
        """Compute one chunk of a prompt; with the last token, the first token of each row."""
        if generation.cache is None:
            self._begin(generation)
        writes_beside = any(not other.in_prompt for other in self._generations)
        kind, count = generation.next_step(CHUNK_BESIDE if writes_beside else CHUNK_ALONE)
        start = generation.position
        ids = generation.ids[start : start + count]
        if kind == "prefill":
            self._backend.prefill(generation.cache, ids)
            generation.advance(kind, count)
            return
        logits = self._backend.step([generation.cache], ids)
        generation.advance(kind, 1)
        if generation.in_prompt:
            return
        segments = [list(segment) for segment in generation.segments]
        threads = generation.threads or self._threads
        generation.path = {**self._backend.facts, "threads": threads, "segments": segments, "adapter": "base"}
        for row in generation.rows:
            row.cache = self._backend.fork(generation.cache, len(generation.ids))
            row.take(logits[0])

    def _begin(self, generation: Generation) -> None:
        """Start from the longest kept beginning of the prompt; the last token is always computed, for its logits."""
        cache, segments = (None, []) if generation.is_replay else self._pool.find(generation.ids[:-1])
        generation.segments.extend(segments)
        generation.cache = self._backend.new_cache() if cache is None else self._backend.fork(cache, generation.position)

    def _write(self, generation: Generation) -> None:
        """One token for each row of a generation."""
        live = [row for row in generation.rows if row.is_live]
        for first in range(0, len(live), self._backend.max_rows):
            if generation.cancel.cancelled or generation.abandoned:
                return
            group = live[first : first + self._backend.max_rows]
            logits = self._backend.step([row.cache for row in group], [_token(row) for row in group])
            for row, values in zip(group, logits, strict=True):
                row.take(values)

    def _keep(self, generation: Generation) -> None:
        """Keep what was computed, for the next turn of the same conversation."""
        if generation.cache is None or generation.is_replay:
            return
        if generation.in_prompt:
            if generation.segments and generation.cache.length == generation.position:
                self._pool.keep(generation.ids[: generation.position], generation.segments, generation.cache)
            return
        for row in generation.rows:
            # A row that failed in the middle of a step may hold half of it.
            if row.cache is not None and row.cache.length == len(generation.ids) + len(row.fed):
                segments = list(generation.segments)
                append(segments, "decode", len(row.fed))
                self._pool.keep([*generation.ids, *row.fed], segments, row.cache)

    def _explain(self, error: Exception) -> StudioError:
        if isinstance(error, StudioError):
            return error
        if is_out_of_memory(error):
            self._pool.clear()
            return BusyError(
                "Memory ran out while writing. What was written is kept; use a shorter prompt or a smaller model.",
                key="error.out_of_memory",
            )
        return StudioError("The model failed while writing. What was written is kept; try again.", key="error.model_failed")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch or Python ran out of memory (torch says it on the CPU only in the message)."""
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(word in str(error) for word in words))


def _token(row: Row) -> Any:
    return row.token
