"""What a text model is to the rest of the studio: requests down, events up.

Knows no torch, no tokenizer, no server and no database. Implementations: engine/text/local.py (weights on this machine)
and engine/text/openai_backend.py (any OpenAI-compatible server).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from engine.jobs.job import CancelToken
from engine.models.adapters import AdapterRef

Role: TypeAlias = Literal["system", "user", "assistant"]
FinishReason: TypeAlias = Literal["stop", "length", "stop_text", "cancelled"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen."""

    temperature: float = 0.7
    """0 = the most likely token (greedy)."""
    top_p: float = 0.95
    """Choose among the likeliest tokens that together have this probability."""
    top_k: int = 50
    """Choose among this many tokens; 0 = all."""
    repetition_penalty: float = 1.1
    """Above 1 makes tokens that were in the prompt or the answer less likely."""
    dry_multiplier: float = 0.0
    """Above 0 makes tokens less likely that would say a run of the answer again ("don't repeat yourself"), not of the prompt."""
    max_new_tokens: int = 512
    stop: tuple[str, ...] = ()
    """Texts at which the answer ends; they are not part of it."""


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """One prompt, one or several answers ("rows"): row i is drawn with `seeds[i]`."""

    messages: tuple[Message, ...]
    sampling: Sampling = Sampling()
    seeds: tuple[int, ...] = (0,)
    continue_text: str = ""
    """Answer text to go on from; events carry only what follows it."""
    replay: Mapping[str, Any] | None = None
    """The `path` of an earlier answer: compute on exactly that schedule, reusing nothing, each row alone."""
    adapter: AdapterRef | None = None
    """What was trained on top of the model; None = the model as it is."""
    batched: bool = False
    """Compute together with other batched rows: several times faster in all, but an answer cannot be reproduced bit by bit,
    and it gives way to answers that somebody waits for."""


@dataclass(frozen=True, slots=True)
class TextEvent:
    """What happened to one row. The last event of a row has `finish_reason` and `path`; `delta` may be empty."""

    row: int
    delta: str
    tokens: int
    """New tokens of this row so far."""
    finish_reason: FinishReason | None = None
    prompt_tokens: int = 0
    ttft_s: float | None = None
    """Seconds from the call of `generate` to this row's first token."""
    path: Mapping[str, Any] | None = None
    """How it was computed; "adapter" is the sha256 of the adapter whose weights the row was computed with, or "base"."""


@dataclass(frozen=True, slots=True)
class Scored:
    """How likely a model finds an answer, token by token."""

    token_logprobs: tuple[float, ...]
    """Natural logarithms of each token's probability, given the prompt and the tokens before it."""
    tokens: tuple[str, ...]

    @property
    def perplexity(self) -> float | None:
        """exp(-mean log-probability); None for an empty answer."""
        count = len(self.token_logprobs)
        return math.exp(-math.fsum(self.token_logprobs) / count) if count else None


class TextModel(Protocol):
    """A loaded model that writes."""

    @property
    def id(self) -> str: ...

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes ("en", "zh") of the languages it is good at; empty = unknown."""

    @property
    def context_length(self) -> int:
        """Tokens that prompt and answer may have together; 0 = unknown."""

    @property
    def size_bytes(self) -> int:
        """Memory that it occupies on this machine."""

    def generate(self, request: GenerateRequest, cancel: CancelToken) -> Iterator[TextEvent]:
        """Write. Rows interleave; the iterator blocks between events and ends when every row has ended.

        Cancelling ends each row with finish_reason "cancelled" within a step; so does closing the iterator, silently.
        Raises TooLongError when the prompt does not fit, BadFileError when the adapter is damaged or of another model,
        BadOptionError when the model takes no adapters, and other StudioErrors when the model or its server fails.
        """

    def score(
        self,
        messages: tuple[Message, ...],
        answer: str,
        *,
        adapter: AdapterRef | None = None,
        cancel: CancelToken | None = None,
    ) -> Scored:
        """How likely the model finds `answer` to `messages`. Blocks; gives way to answers that somebody waits for.

        Raises what `generate` raises, CancelledError, and BadOptionError when the model cannot score.
        """

    def count_tokens(self, messages: tuple[Message, ...]) -> int:
        """Tokens of the whole prompt as the model gets it (an estimate for servers)."""

    def fit(self, messages: tuple[Message, ...], max_new_tokens: int) -> tuple[tuple[Message, ...], int, int]:
        """Return (messages that fit, how many were left out, max_new_tokens that fit).

        Drops the oldest turns, never the system prompt or the last message; raises TooLongError when those alone do not fit.
        """
