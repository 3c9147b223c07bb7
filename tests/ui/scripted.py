"""A text model that writes what its test says, at the speed its test says, for tests of what surrounds a model.

Knows the TextModel protocol; needs no torch.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from engine.errors import TooLongError
from engine.jobs.job import CancelToken
from engine.models.adapters import AdapterRef
from engine.text.model import GenerateRequest, Message, Scored, TextEvent


@dataclass
class ScriptedModel:
    """Writes "w0 w1 w2 …", one word a token, `seconds_per_token` apart; the first word of row i names its seed.

    With an adapter it writes "you v3 v4 …" instead, and says whose weights it pretended to use.
    """

    id: str = "scripted"
    seconds_per_token: float = 0.0
    fails_after: int | None = None
    languages: tuple[str, ...] = ("en",)
    context_length: int = 1_000_000
    size_bytes: int = 1
    running: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(1000))
    prompts: list[str] = field(default_factory=list)

    def generate(self, request: GenerateRequest, cancel: CancelToken) -> Iterator[TextEvent]:
        """All rows in step."""
        self.prompts.append(request.messages[-1].content)
        total = request.sampling.max_new_tokens
        path = {"engine": "scripted", "adapter": request.adapter.sha256 if request.adapter else "base"}
        for step in range(1, total + 1):
            if cancel.wait(self.seconds_per_token) if self.seconds_per_token else cancel.cancelled:
                for row in range(len(request.seeds)):
                    yield TextEvent(row, "", step - 1, "cancelled", 1, 0.01, path)
                return
            if self.fails_after is not None and step > self.fails_after:
                raise TooLongError("The script says: too long.")
            for row, seed in enumerate(request.seeds):
                said = "you" if request.adapter and step == 2 else f"{'v' if request.adapter else 'w'}{step}"
                word = f"seed{seed}" if step == 1 else f" {said}"
                end = ("length", path) if step == total else (None, None)
                yield TextEvent(row, word, step, end[0], 1, 0.01, end[1])  # type: ignore[arg-type]

    def score(
        self, messages: Sequence[Message], answer: str, *, adapter: AdapterRef | None = None, cancel: CancelToken | None = None
    ) -> Scored:
        """Every word is as likely as every other."""
        return Scored(tuple(-1.0 for _ in answer.split()), tuple(answer.split()))

    def count_tokens(self, messages: tuple[Message, ...]) -> int:
        """Words."""
        return sum(len(message.content.split()) for message in messages)

    def fit(self, messages: tuple[Message, ...], max_new_tokens: int) -> tuple[tuple[Message, ...], int, int]:
        """Everything fits."""
        return messages, 0, max_new_tokens


@dataclass
class ScriptedHost:
    """Gives out its one model."""

    model: ScriptedModel

    @contextmanager
    def use(self, model_id: str) -> Iterator[ScriptedModel]:
        """The model, whatever it is called."""
        yield self.model
