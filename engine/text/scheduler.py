"""One thread that computes everything a model writes: prompts in chunks, then a token for each row in turn.

Rows join as they come and leave at any step. Between two steps of the running rows at most one chunk of one prompt is
computed, so that streams go on while a long prompt is read. Batched rows and scores nobody waits for in person: they get
one turn in `BACKGROUND_EVERY` while people wait, and all turns when nobody does. Before caches grow it is looked whether
memory suffices, since a system that has none left ends the process instead of saying so; a turn for which it does not is taken
once more with less at a time, after everything was let go of that nobody needs. Knows schedules and caches; knows no chat and no
files.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from engine.device import is_out_of_memory
from engine.errors import BusyError, StudioError
from engine.text.backend import TextBackend
from engine.text.footprint import CHUNK_ALONE
from engine.text.generation import Generation, Row
from engine.text.reuse import CachePool, append
from engine.text.scoring import Scoring
from engine.text.spare import CHUNK_SHORT, Spare

CHUNK_BESIDE = 64
"""Prompt tokens computed at once while others are writing, so that they pause for a blink only."""
BACKGROUND_EVERY = 4
"""A batched step takes as long as two or three ordinary ones, so people keep more than half of their speed."""

logger = logging.getLogger(__name__)


class Scheduler:
    """Owns the backend: nobody else calls it."""

    def __init__(
        self, backend: TextBackend, *, threads: int, cache_limit_bytes: int, name: str = "text", spare: Spare | None = None
    ) -> None:
        """`spare` is asked for what rows take; None = there is enough."""
        self._backend = backend
        self._spare = spare or Spare()
        self._threads = threads
        self._pool = CachePool(cache_limit_bytes)
        self._inbox: queue.SimpleQueue[Generation | Scoring | None] = queue.SimpleQueue()
        self._generations: list[Generation] = []
        self._scorings: list[Scoring] = []
        self._rounds = self._background_turns = 0
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"{name}-scheduler", daemon=True)
        self._thread.start()

    @property
    def cache_bytes(self) -> int:
        """Memory of the caches of all rows, finished and not."""
        caches = self._pool.caches()
        works: list[Generation | Scoring] = [*self._generations, *self._scorings]
        for work in works:
            caches += work.caches()
        return sum({block: size for cache in caches for block, size in cache.blocks().items()}.values())

    @property
    def is_alive(self) -> bool:
        """Whether it still computes."""
        return self._thread.is_alive()

    def submit(self, work: Generation | Scoring) -> None:
        """Let it join; what comes of it comes through its own queue."""
        if self._closing:
            raise _unloading()
        self._inbox.put(work)

    def close(self) -> None:
        """End every row as cancelled and wait for the thread; the backend is closed and all caches are dropped."""
        self._closing = True
        self._inbox.put(None)
        self._thread.join()

    def _run(self) -> None:
        self._backend.use_threads(self._threads)
        while not self._closing:
            self._admit()
            self._drop_ended()
            self._round()
        self._take_inbox()
        for generation in self._generations:
            generation.end_all("cancelled")
        for scoring in self._scorings:
            scoring.fail(_unloading())
        self._generations.clear()
        self._scorings.clear()
        self._pool.clear()
        self._backend.close()

    def _admit(self) -> None:
        """Take what has come; sleep while there is nothing to do."""
        if not self._generations and not self._scorings and self._inbox.empty():
            self._sort(self._inbox.get())
        self._take_inbox()

    def _take_inbox(self) -> None:
        while not self._inbox.empty():
            self._sort(self._inbox.get())

    def _sort(self, work: Generation | Scoring | None) -> None:
        if isinstance(work, Generation):
            self._generations.append(work)
        elif work is not None:
            self._scorings.append(work)

    def _drop_ended(self) -> None:
        for generation in self._generations:
            if generation.cancel.cancelled:
                generation.end_all("cancelled")
            if generation.ended:
                self._keep(generation)
                generation.release()  # it and its rows hold each other, which would hold the caches too
        self._generations = [generation for generation in self._generations if not generation.ended]
        self._scorings = [scoring for scoring in self._scorings if not scoring.ended]

    def _round(self) -> None:
        """A turn for everybody whom somebody waits for; then, if it is its turn, something from the background."""
        waited_for = [generation for generation in self._generations if not self._is_background(generation)]
        joined = [generation for generation in waited_for if self._joins(generation)]
        for generation in _turns(waited_for):
            if generation not in joined:
                self._backend.use_threads(generation.threads or self._threads)
                self._guarded((generation,), self._read if generation.in_prompt else self._write, generation)
        self._backend.use_threads(self._threads)
        rows = [row for generation in joined for row in generation.live_rows]
        if len(rows) == 1:
            self._guarded((rows[0].generation,), self._write_ahead, rows[0])
        else:
            for first in range(0, len(rows), self._backend.max_together):
                self._write_rows(rows[first : first + self._backend.max_together])
        self._rounds += 1
        if not waited_for or self._rounds % BACKGROUND_EVERY == 0:
            self._backend.use_threads(self._threads)
            self._background()

    def _joins(self, generation: Generation) -> bool:
        """Whether its rows are computed with others': where that changes no bit of them, and on the usual number of threads."""
        is_usual = (generation.threads or self._threads) == self._threads and not generation.in_prompt
        return is_usual and not generation.ended and self._backend.is_row_by_row(generation.cache)

    def _is_background(self, generation: Generation) -> bool:
        return generation.is_batched and self._backend.max_together > 1

    def _background(self) -> None:
        """One step of the batched rows, one chunk of their prompts, or one chunk of a score: in turn, where there are both."""
        batched = [generation for generation in self._generations if self._is_background(generation)]
        self._background_turns += 1
        if self._scorings and (not batched or self._background_turns % 2):
            scoring = self._scorings[0]
            self._guarded((scoring,), self._score, scoring)
        elif batched:
            self._advance(batched)

    def _advance(self, batched: Sequence[Generation]) -> None:
        """Fill the batch with rows first: a step of many takes hardly longer than a step of few."""
        rows = [row for generation in batched if not generation.in_prompt for row in generation.live_rows]
        reading = [generation for generation in batched if generation.in_prompt]
        if reading and len(rows) < self._backend.max_together:
            self._guarded(reading[:1], self._read, reading[0])
        elif rows:
            self._write_rows(rows[: self._backend.max_together])

    def _guarded(self, works: Sequence[Generation | Scoring], turn: Callable[..., None], *what: object) -> None:
        """One turn; whatever goes wrong in it is the failure of those it is for, and the others go on.

        When it is memory, it is tried once more with less at a time, and whoever fails then leaves nothing behind.
        """
        error = self._attempt(turn, *what)
        if error is None:
            return
        if is_out_of_memory(error):
            error = None  # its frames hold what was being computed
            self._relieve()
            for work in works:
                work.chunk = CHUNK_SHORT
            error = self._attempt(turn, *what)
        if error is not None:
            self._fail(works, error)

    def _fail(self, works: Sequence[Generation | Scoring], error: Exception) -> None:
        is_memory = is_out_of_memory(error)
        for work in works:
            work.fail(self._explain(error, work.most_tokens))
            if is_memory:
                work.release()

    def _attempt(self, turn: Callable[..., None], *what: object) -> Exception | None:
        try:
            turn(*what)
        except Exception as error:
            logger.exception("a turn failed")
            return error
        return None

    def _relieve(self) -> None:
        """Let go of what nobody computes with: caches of finished rows, and what is idle elsewhere."""
        self._pool.clear()
        self._spare.let_go()

    @contextmanager
    def _appending(self, caches: Sequence[Any], count: int) -> Iterator[None]:
        """Append `count` tokens to each cache, or nothing: a pass that fails may be repeated. Raises MemoryError before one for
        which there is too little.
        """
        lengths = [cache.length for cache in caches]
        self._spare.require(lengths, count)
        try:
            yield
        except Exception:
            for cache, length in zip(caches, lengths, strict=True):
                self._backend.shorten(cache, length)
            raise

    def _read(self, generation: Generation) -> None:
        """Compute one chunk of a prompt; with the last token, the first token of each row."""
        if generation.cache is None:
            self._begin(generation)
        someone_writes = any(not other.in_prompt and not self._is_background(other) for other in self._generations)
        chunk = CHUNK_BESIDE if someone_writes or self._is_background(generation) else CHUNK_ALONE
        kind, count = generation.next_step(min(chunk, generation.chunk))
        start = generation.position
        ids = generation.ids[start : start + count]
        if kind == "prefill":
            with self._appending([generation.cache], count):
                self._backend.prefill(generation.cache, ids)
            generation.advance(kind, count)
            return
        is_last = start + 1 == len(generation.ids)
        if is_last:  # all rows but one move out of what they have together
            self._spare.require_rows(len(generation.rows) - 1, start + 2)
        with self._appending([generation.cache], 1):
            logits = self._backend.step(generation.cache, ids[0])
        generation.advance(kind, 1)
        if not is_last:
            return
        generation.path = self._path(generation)
        for row in generation.rows:
            row.cache = self._backend.fork(generation.cache, len(generation.ids))
            row.take(logits)

    def _begin(self, generation: Generation) -> None:
        """Start from the longest kept beginning of the prompt; the last token is always computed, for its logits."""
        adapter = generation.adapter_sha256
        self._pool.retain(self._backend.is_current)
        kept, segments = (None, []) if generation.is_replay else self._pool.find(generation.ids[:-1], adapter)
        generation.segments.extend(segments)
        if kept is None:
            generation.cache = self._backend.new_cache(generation.adapter, generation.replay)
        else:
            generation.cache = self._backend.fork(kept, generation.position)
        self._check_adapter(generation.cache, adapter)

    def _path(self, generation: Generation) -> dict[str, Any]:
        """How the rows are computed, as the backend says it is."""
        return {
            **self._backend.facts(generation.cache),
            "threads": generation.threads or self._threads,
            "batched": self._is_background(generation),
            "segments": [list(segment) for segment in generation.segments],
            "adapter": self._backend.adapter_of(generation.cache),
        }

    def _check_adapter(self, cache: Any, wanted: str) -> None:
        """No answer under the wrong name: what computes must be what was asked for."""
        if self._backend.adapter_of(cache) != wanted:
            raise StudioError(
                "The answer would have come from another version of the model; it was stopped. Try again.",
                key="error.adapter_state",
            )

    def _write(self, generation: Generation) -> None:
        """One token for each row of a generation."""
        for row in generation.live_rows:
            if generation.cancel.cancelled or generation.abandoned:
                return
            self._write_row(row)

    def _write_row(self, row: Row) -> None:
        self._check_adapter(row.cache, row.generation.adapter_sha256)
        with self._appending([row.cache], 1):
            row.take(self._backend.step(row.cache, _token(row)))

    def _write_ahead(self, row: Row) -> None:
        """One token for the only row there is, and more where its own text lets the next ones be guessed."""
        self._check_adapter(row.cache, row.generation.adapter_sha256)
        may_guess = row.generation.chunk > CHUNK_SHORT and self._backend.can_guess(row.cache)
        draft, length = row.draft() if may_guess else (), row.cache.length
        tokens = [_token(row), *draft]
        with self._appending([row.cache], len(tokens)):
            logits = self._backend.step_together([row.cache] * len(tokens), tokens)
        fed = row.take_drafted(draft, logits)
        if fed < len(tokens):
            self._backend.shorten(row.cache, length + fed)

    def _write_rows(self, rows: Sequence[Row]) -> None:
        self._guarded(tuple({row.generation: None for row in rows}), self._write_together, rows)

    def _write_together(self, rows: Sequence[Row]) -> None:
        """One token for each of many generations' rows, in one pass."""
        error = self._attempt(self._pass, rows)
        if error is None:
            return
        # Whoever it is the fault of shall fail alone, and memory that was short for all may do for each.
        logger.info("a pass of %d rows failed; each goes alone", len(rows))
        if is_out_of_memory(error):
            error = None
            self._relieve()
        for row in rows:
            if row.is_live:
                self._guarded((row.generation,), self._write_row, row)

    def _pass(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self._check_adapter(row.cache, row.generation.adapter_sha256)
        with self._appending([row.cache for row in rows], 1):
            logits = self._backend.step_together([row.cache for row in rows], [_token(row) for row in rows])
        for row, values in zip(rows, logits, strict=True):
            error = self._attempt(row.take, values)
            if error is not None:
                self._fail((row.generation,), error)

    def _score(self, scoring: Scoring) -> None:
        """One chunk of a prompt and its answer."""
        if scoring.cache is None:
            scoring.cache = self._backend.new_cache(scoring.adapter)
        self._check_adapter(scoring.cache, scoring.adapter_sha256)
        ids, targets = scoring.next_step(min(CHUNK_BESIDE, scoring.chunk))
        values = None
        with self._appending([scoring.cache], len(ids)):
            if targets:
                values = self._backend.log_probabilities(scoring.cache, ids, targets)
            else:
                self._backend.prefill(scoring.cache, ids)
        scoring.take(len(ids), values)

    def _keep(self, generation: Generation) -> None:
        """Keep what was computed, for the next turn of the same conversation."""
        if generation.cache is None or generation.is_replay or self._is_background(generation):
            # A batched row cannot be computed again bit by bit, so nothing that can be may stand on it.
            return
        adapter, can_cut = self._backend.adapter_of(generation.cache), self._backend.can_cut(generation.cache)
        if generation.in_prompt:
            if generation.segments and generation.cache.length == generation.position:
                ids = generation.ids[: generation.position]
                self._pool.keep(ids, generation.segments, generation.cache, adapter, can_cut=can_cut)
            return
        for row in generation.rows:
            # A row that failed in the middle of a step may hold half of it.
            if row.cache is not None and row.cache.length == len(generation.ids) + len(row.fed):
                segments = list(generation.segments)
                append(segments, "decode", len(row.fed))
                self._pool.keep([*generation.ids, *row.fed], segments, row.cache, adapter, can_cut=can_cut)

    def _explain(self, error: Exception, tokens: int) -> StudioError:
        """What went wrong with a piece of work of at most so many tokens."""
        if isinstance(error, StudioError):
            return error
        if is_out_of_memory(error):
            return self._spare.too_little(tokens)
        return StudioError("The model failed while writing. What was written is kept; try again.", key="error.model_failed")


def _turns(generations: Sequence[Generation]) -> list[Generation]:
    """Who computes in this round: every one that writes, and of those that still read, the one with least to read."""
    reading = [generation for generation in generations if generation.in_prompt]
    writing = [generation for generation in generations if not generation.in_prompt]
    if reading:
        writing.append(min(reading, key=lambda generation: len(generation.ids) - generation.position))
    return writing


def _unloading() -> BusyError:
    return BusyError("This model is being unloaded. Try again.", key="error.model_unloading")


def _token(row: Row) -> Any:
    return row.token
