"""One request on its way through the scheduler: its prompt's schedule, its rows, and the events it hands out.

Knows ids, caches, sampling and text; calls no model and no thread. Only the scheduler's thread changes it, except for
`abandoned`, which the reader sets.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.arrays import Floats
from engine.errors import BadOptionError, StudioError
from engine.jobs.job import CancelToken
from engine.models.adapters import sha256_of
from engine.text.drafting import Drafter
from engine.text.footprint import CHUNK_ALONE
from engine.text.model import FinishReason, GenerateRequest, Sampling, TextEvent
from engine.text.reuse import Segment, Step, append, length
from engine.text.sampling import Sampler
from engine.text.stream import Decode, Detokenizer, StopText

if TYPE_CHECKING:
    from engine.text.lora import LoadedAdapter

_WORTH_SHARING = 32
"""Tokens; reading so few takes hardly longer than beginning another chunk."""
_CONTEXT_FOR_SPACES = 6
"""Prompt tokens a detokenizer looks back on when it goes on in the middle of an answer."""


class Generation:
    """A prompt and its rows. The prompt is computed once; rows fork from it."""

    def __init__(
        self,
        ids: Sequence[int],
        request: GenerateRequest,
        cancel: CancelToken,
        *,
        decode: Decode,
        stop_ids: frozenset[int],
        adapter: LoadedAdapter | None = None,
        common: int = 0,
    ) -> None:
        """`ids`: the request's prompt, of which `common` tokens may begin other conversations too. `adapter`: the request's,
        loaded. Raises BadOptionError when `replay` is of another prompt or another adapter.
        """
        self.ids = list(ids)
        self._common = common if common >= _WORTH_SHARING else 0
        self.adapter = adapter
        self.adapter_sha256 = sha256_of(request.adapter)
        """What was asked for; what computes is asked of the backend and compared with it."""
        self.is_batched = request.batched and request.replay is None
        self.cancel = cancel
        self.abandoned = False
        self.events: queue.SimpleQueue[TextEvent | StudioError] = queue.SimpleQueue()
        self.started_at = time.monotonic()
        self.cache: Any = None
        self.chunk = CHUNK_ALONE
        """Most prompt tokens at once; less when memory was short, and then nothing is guessed either."""
        self.segments: list[Segment] = []
        self.path: Mapping[str, Any] = {}
        self.threads: int | None = None
        self.replay = request.replay
        self._schedule = None if request.replay is None else self._read_schedule(request.replay)
        before = self.ids[-_CONTEXT_FOR_SPACES:] if request.continue_text else ()
        sampling = request.sampling
        self.rows = [
            Row(self, number, Sampler(sampling, seed, self.ids), Detokenizer(decode, before), sampling, stop_ids)
            for number, seed in enumerate(request.seeds)
        ]

    @property
    def is_replay(self) -> bool:
        """Whether it must compute on a given schedule and reuse nothing."""
        return self._schedule is not None

    @property
    def position(self) -> int:
        """Prompt tokens computed so far."""
        return min(length(self.segments), len(self.ids))

    @property
    def in_prompt(self) -> bool:
        """Whether the prompt is not computed to its end yet."""
        return length(self.segments) < len(self.ids)

    @property
    def ended(self) -> bool:
        """Whether nobody waits for more of it."""
        return self.abandoned or all(row.finish_reason is not None for row in self.rows)

    @property
    def live_rows(self) -> list[Row]:
        """Rows that want another step."""
        return [row for row in self.rows if row.is_live]

    @property
    def most_tokens(self) -> int:
        """Tokens of all its rows when each is as long as it may be."""
        return sum(len(self.ids) + row.limit for row in self.rows)

    def caches(self) -> list[Any]:
        """What is computed of it."""
        return [cache for cache in (self.cache, *(row.cache for row in self.rows)) if cache is not None]

    def release(self) -> None:
        """Let go of what is computed of it."""
        self.cache = None
        for row in self.rows:
            row.cache = None

    def next_step(self, chunk: int) -> Segment:
        """What to compute next of the prompt: at most `chunk` tokens at once; the last one alone, for its logits."""
        done = self.position
        if self._schedule is not None:
            passed = 0
            for kind, count in self._schedule:
                if done < passed + count:
                    return (kind, count if kind == "prefill" else 1)
                passed += count
        # A chunk is reused whole or not at all, so what other conversations may begin with ends one.
        end = self._common if done < self._common else len(self.ids) - 1
        count = min(end - done, chunk)
        return ("prefill", count) if count > 1 else ("decode", 1)

    def advance(self, kind: Step, count: int) -> None:
        """Note that `count` tokens of the prompt were computed."""
        append(self.segments, kind, count)

    def end_all(self, reason: FinishReason) -> None:
        """End every row that has not ended."""
        for row in self.rows:
            row.end(reason)

    def fail(self, error: StudioError) -> None:
        """Hand the reader an error; nothing more is computed."""
        for row in self.rows:
            row.finish_reason = row.finish_reason or "cancelled"
        self.events.put(error)

    def _read_schedule(self, replay: Mapping[str, Any]) -> list[Segment]:
        schedule: list[Segment] = []
        for row in replay.get("segments") or ():
            kind, count = row
            if kind not in ("prefill", "decode") or not isinstance(count, int) or count < 1:
                schedule = []
                break
            schedule.append((kind, count))
        is_same_adapter = replay.get("adapter", self.adapter_sha256) == self.adapter_sha256
        if length(schedule) != len(self.ids) or schedule[-1][0] != "decode" or not is_same_adapter:
            raise BadOptionError(
                "This cannot be computed again: the model or the conversation is not what it was.", key="error.replay_mismatch"
            )
        threads = replay.get("threads")
        self.threads = threads if isinstance(threads, int) and threads > 0 else None
        return schedule


class Row:
    """One answer of a generation."""

    def __init__(
        self,
        generation: Generation,
        number: int,
        sampler: Sampler,
        detokenizer: Detokenizer,
        sampling: Sampling,
        stop_ids: frozenset[int],
    ) -> None:
        self.generation = generation
        self.number = number
        self.cache: Any = None
        self.fed: list[int] = []
        """Answer tokens that are in the cache."""
        self.token: int | None = None
        """The newest token, not in the cache yet."""
        self.tokens = 0
        self.finish_reason: FinishReason | None = None
        self._drafter: Drafter | None = None
        self._sampler = sampler
        self._detokenizer = detokenizer
        self._stop = StopText(sampling.stop)
        self._stop_ids = stop_ids
        self.limit = sampling.max_new_tokens
        """Most tokens that it may have."""
        self._ttft_s: float | None = None

    @property
    def is_live(self) -> bool:
        """Whether it wants another step."""
        return self.finish_reason is None and self.token is not None

    def draft(self) -> Sequence[int]:
        """Guesses at the tokens behind the newest one, no more than may still come."""
        if self._drafter is None and self.token is not None:  # only now: most rows are never asked
            self._drafter = Drafter([*self.generation.ids, *self.fed, self.token])
        return () if self._drafter is None else self._drafter.draft()[: self.limit - self.tokens - 1]

    def take_drafted(self, draft: Sequence[int], logits: Floats) -> int:
        """Choose tokens from the logits behind the newest token and behind each guess, as long as the guesses were right.

        The tokens are those that would have been chosen one by one. Returns how many of the fed tokens, the newest one and the
        guesses, are part of the answer.
        """
        right = 0
        for place, values in enumerate(logits):
            self.take(values)
            if place == len(draft) or not self.is_live or self.token != draft[place]:
                break
            right += 1
        if self._drafter is not None:
            self._drafter.learn(len(draft), right)
        return right + 1

    def take(self, logits: Floats) -> None:
        """Choose the next token and hand out what it completes."""
        token = self._sampler.choose(logits)
        if self.token is not None:
            self.fed.append(self.token)
        self.token = token
        if self._drafter is not None:
            self._drafter.push(token)
        if self._ttft_s is None:
            self._ttft_s = time.monotonic() - self.generation.started_at
        if token in self._stop_ids:
            self._put(self._stop.rest(), "stop")
            return
        self.tokens += 1
        text, stopped = self._stop.push(self._detokenizer.push(token))
        if stopped:
            self._put(text, "stop_text")
        elif self.tokens >= self.limit:
            self._put(text + self._stop.rest(), "length")
        else:
            self._put(text, None)

    def end(self, reason: FinishReason) -> None:
        """End it from outside."""
        if self.finish_reason is None:
            self._put(self._stop.rest(), reason)

    def _put(self, delta: str, reason: FinishReason | None) -> None:
        self.finish_reason = reason
        generation = self.generation
        path = None if reason is None else generation.path
        event = TextEvent(self.number, delta, self.tokens, reason, len(generation.ids), self._ttft_s, path)
        generation.events.put(event)
