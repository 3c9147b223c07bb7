"""A text model without weights: it says what its script says, as fast as the test lets it. Same protocol as the real ones."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from engine.errors import NoModelError, NotFoundError, TooLongError
from engine.jobs.job import CancelToken
from engine.text.model import GenerateRequest, Message, TextEvent

MODEL_ID = "fake-model"
DEADLINE_S = 20.0

Script = Callable[[GenerateRequest, int], Sequence[str]]


def echo(request: GenerateRequest, row: int) -> list[str]:
    """The last prompt's words and the seed, so that every answer can be told apart and is the same again."""
    return [f"{word} " for word in request.messages[-1].content.split()] + [f"#{request.seeds[row]}"]


class FakeTextModel:
    """Counts words as tokens. With `hold()` every token waits for a `release`."""

    id = MODEL_ID
    languages = ("en",)
    size_bytes = 0

    def __init__(self, script: Script = echo, *, context_length: int = 10_000) -> None:
        self.script = script
        self.context_length = context_length
        self.requests: list[GenerateRequest] = []
        self.fail_after: int | None = None
        self.failure: Exception = NoModelError("The model broke.")
        self.running = 0
        self._permits: threading.Semaphore | None = None

    def hold(self) -> None:
        """From now on no token comes without `release`."""
        self._permits = threading.Semaphore(0)

    def release(self, tokens: int = 1) -> None:
        """Let this many tokens come."""
        assert self._permits is not None
        self._permits.release(tokens)

    def generate(self, request: GenerateRequest, cancel: CancelToken) -> Iterator[TextEvent]:
        """Rows one token each in turn, as the real scheduler does."""
        self.requests.append(request)
        self.running += 1
        try:
            yield from self._rows(request, cancel)
        finally:
            self.running -= 1

    def count_tokens(self, messages: tuple[Message, ...]) -> int:
        return sum(len(message.content.split()) for message in messages)

    def fit(self, messages: tuple[Message, ...], max_new_tokens: int) -> tuple[tuple[Message, ...], int, int]:
        kept, omitted = list(messages), 0
        first = 1 if messages[0].role == "system" else 0
        while self.count_tokens(tuple(kept)) >= self.context_length and len(kept) > first + 1:
            del kept[first : first + 2]
            omitted += 2
        room = self.context_length - self.count_tokens(tuple(kept))
        if room < 1:
            raise TooLongError("The prompt is longer than the model's context.", key="error.prompt_too_long")
        return tuple(kept), omitted, min(max_new_tokens, room)

    def _rows(self, request: GenerateRequest, cancel: CancelToken) -> Iterator[TextEvent]:
        prompt_tokens = self.count_tokens(request.messages)
        scripts = [list(self.script(request, row)) for row in range(len(request.seeds))]
        path = {"engine": "fake", "segments": [["prefill", prompt_tokens]]}
        alive, said, step = list(range(len(scripts))), 0, 0
        while alive:
            for row in tuple(alive):
                token = scripts[row][step] if step < len(scripts[row]) else None
                if token is None or step >= request.sampling.max_new_tokens:
                    alive.remove(row)
                    reason = "stop" if token is None else "length"
                    yield TextEvent(row, "", step, reason, prompt_tokens, 0.01, path)
                    continue
                if self.fail_after is not None and said >= self.fail_after:
                    raise self.failure
                if not self._permitted(cancel):
                    alive.remove(row)
                    yield TextEvent(row, "", step, "cancelled", prompt_tokens, 0.01, path)
                    continue
                said += 1
                yield TextEvent(row, token, step + 1, None, prompt_tokens, 0.01)
            step += 1

    def _permitted(self, cancel: CancelToken) -> bool:
        if self._permits is None:
            return not cancel.cancelled
        deadline_s = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline_s:
            if cancel.cancelled:
                return False
            if self._permits.acquire(timeout=0.005):
                return True
        raise AssertionError("the test held the model for too long")


class FakeHost:
    """One model, loaded already."""

    def __init__(self, model: FakeTextModel) -> None:
        self.model = model

    @contextmanager
    def use(self, model_id: str) -> Iterator[FakeTextModel]:
        assert model_id == self.model.id
        yield self.model


class FakeEncoders:
    """No encoder is installed; with `texts` there is one, which writes down what it was asked."""

    def __init__(self, texts: list[str] | None = None) -> None:
        self.texts = texts

    @contextmanager
    def use_encoder(self) -> Iterator[FakeEncoders]:
        if self.texts is None:
            raise NoModelError("The encoder is not here yet.")
        yield self

    def encode(self, texts: Sequence[str]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        """A text's vector says which of four letters it has."""
        assert self.texts is not None
        self.texts.extend(texts)
        return np.array([[0.5 * (letter in text) for letter in "aeiz"] for text in texts], np.float32)


@dataclass
class FakeModels:
    """The model service: which models there are, and which are installed."""

    installed: set[str] = field(default_factory=lambda: {MODEL_ID})
    missing: set[str] = field(default_factory=lambda: {"missing-model"})

    def default(self, task: str, owner_id: str) -> str:
        assert task in ("text", "summary")
        return MODEL_ID

    def require(self, model_id: str, owner_id: str) -> None:
        if model_id in self.missing:
            raise NoModelError(f"{model_id} is not here yet: 40 % of 94 MB are.", key="error.model_downloading")
        if model_id not in self.installed:
            raise NotFoundError("Nothing with this id.", key="error.not_found")


@dataclass(frozen=True)
class FakeSpec:
    """A row of a catalogue."""

    id: str
    name: str
    languages: tuple[str, ...]


CATALOG = (FakeSpec(MODEL_ID, "Fake", ("en",)), FakeSpec("han", "Han 1B", ("en", "zh")))


def wait_for(condition: Callable[[], object], timeout_s: float = DEADLINE_S) -> None:
    """Until it is true; AssertionError when that takes too long."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not come true in time"
        time.sleep(0.005)
