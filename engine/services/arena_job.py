"""The job behind a blind test: both models answer each prompt, and a match is stored as soon as both answers are there.

Sixteen answers at a time, in one batch of the model's scheduler, which gives way to people. What is stored stays: a test that
was cut off goes on with the prompts that have no match yet. Knows the model host and matches; knows no vote and no page.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Protocol

from engine.errors import CancelledError, NotEnoughDataError, StudioError, TooLongError
from engine.evaluation.metrics import answer_figures, shared_surprise
from engine.jobs.job import CancelToken
from engine.jobs.runner import JobContext
from engine.models.adapters import AdapterRef
from engine.services.adapters import check_adapter
from engine.services.draft import storable
from engine.services.edge import storage_errors
from engine.services.evaluations import ArenaPrompt, Evaluation
from engine.services.writing import TextHost
from engine.text.model import GenerateRequest, Message, Sampling, TextEvent, TextModel
from storage.database import Database
from storage.records import Json, Kind

ROWS = 16
"""Answers written at once."""
log = logging.getLogger(__name__)


class Taste(Protocol):
    """What a test asks the taste service."""

    def score(self, owner_id: str, rater_id: str, task: Kind, items: Sequence[tuple[str, str]]) -> Sequence[float]:
        """How much the rater would like each (prompt, answer). Raises NotEnoughDataError."""


@dataclass(frozen=True, slots=True)
class ArenaParts:
    """What the job works with."""

    database: Database
    host: TextHost
    taste: Taste | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """One side: the text, which weights the model says it came from, and the base model's surprise at it."""

    text: str
    adapter: str
    logprobs: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """Both answers to one prompt, on their way."""

    index: int
    candidate: Future[Answer]
    current: Future[Answer]

    @property
    def is_alike(self) -> bool:
        """Whether both say the same; waits for them."""
        return self.candidate.result().text == self.current.result().text


class EvaluateJob:
    """Fills one evaluation with matches."""

    def __init__(
        self, owner_id: str, run_id: str, evaluation: Evaluation, refs: tuple[AdapterRef, AdapterRef | None], parts: ArenaParts
    ) -> None:
        """`refs` are the candidate's and the current model's adapter (None = the base model)."""
        self.evaluation = evaluation
        self._owner_id = owner_id
        self._run_id = run_id
        self._candidate, self._current = refs
        self._parts = parts
        self._sides = evaluation.candidate_is_left

    def data(self, made: int) -> Json:
        """What followers see: nothing of the answers."""
        return {"adapter_id": self.evaluation.adapter_id, "matches": made, "n": self.evaluation.n}

    def body(self, context: JobContext) -> Json:
        """Returns what `data` shows. Raises CancelledError, and StudioError when an answer came from other weights."""
        with storage_errors(), self._parts.database.read() as uow:
            stored = {int(match.metrics["prompt"]) for match in uow.matches.list(self._owner_id, self._run_id)}
        context.progress(len(stored), self.evaluation.n, phase="load")
        pool = ThreadPoolExecutor(ROWS, thread_name_prefix="arena")
        try:
            with self._parts.host.use(self.evaluation.base_model_id) as model:
                made = _Filling(self, model, context, pool).fill(stored)
        finally:
            pool.shutdown(cancel_futures=True)
        return self.data(made)

    def begin(self, model: TextModel, cancel: CancelToken, pool: ThreadPoolExecutor, index: int) -> Pair:
        """Begin both answers to a prompt: the same messages, the same seed. Raises TooLongError."""
        prompt = self.evaluation.prompts[index]
        messages = tuple(Message(one["role"], one["content"]) for one in prompt.messages)
        fitted, _, room = model.fit(messages, self.evaluation.max_new_tokens)
        asked = replace(_sampling(self.evaluation.task), max_new_tokens=room), (self.evaluation.seed_of(index),)
        requests = [GenerateRequest(fitted, *asked, adapter=ref, batched=True) for ref in (self._candidate, self._current)]
        candidate, current = (pool.submit(answer, model, request, cancel) for request in requests)
        return Pair(index, candidate, current)

    def store(self, ordinal: int, pair: Pair) -> None:
        """Keep a match; refuses answers that were computed with other weights than the side's."""
        evaluation, prompt = self.evaluation, self.evaluation.prompts[pair.index]
        candidate, current = pair.candidate.result(), pair.current.result()
        check_adapter(candidate.adapter, self._candidate)
        check_adapter(current.adapter, self._current)
        figures = self._figures(prompt, candidate, current)
        sides: list[tuple[str, str, Answer, Json]] = [
            (evaluation.adapter_id, evaluation.adapter_sha256, candidate, figures[0]),
            (evaluation.against_id, evaluation.against_sha256, current, figures[1]),
        ]
        left, right = sides if self._sides[ordinal] else reversed(sides)
        with storage_errors(), self._parts.database.write() as uow:
            uow.matches.add(
                self._owner_id,
                evaluation_id=self._run_id,
                ordinal=ordinal,
                prompt=prompt.text,
                messages=prompt.messages,
                is_held_out=prompt.is_held_out,
                left_adapter_id=left[0],
                left_sha256=left[1],
                left_output=left[2].text,
                right_adapter_id=right[0],
                right_sha256=right[1],
                right_output=right[2].text,
                metrics={"prompt": pair.index, "left": left[3], "right": right[3]},
            )
            uow.commit()

    def _figures(self, prompt: ArenaPrompt, candidate: Answer, current: Answer) -> tuple[Json, Json]:
        tastes = self._tastes(prompt, candidate, current)
        first, second, tokens = shared_surprise(candidate.logprobs, current.logprobs)
        made = [
            {
                **answer_figures(one.text, prompt.text, logprobs=one.logprobs, liked=prompt.liked, taste=taste),
                "shared_surprise": surprise,
                "shared_tokens": tokens,
            }
            for one, taste, surprise in ((candidate, tastes[0], first), (current, tastes[1], second))
        ]
        return made[0], made[1]

    def _tastes(self, prompt: ArenaPrompt, candidate: Answer, current: Answer) -> Sequence[float | None]:
        if self._parts.taste is None:
            return (None, None)
        items = [(prompt.text, candidate.text), (prompt.text, current.text)]
        try:
            return self._parts.taste.score(self._owner_id, self._owner_id, self.evaluation.task, items)
        except NotEnoughDataError:
            return (None, None)
        except StudioError as error:  # a figure beside the test, not a part of it
            log.warning("no taste score in evaluation %s: %s", self._run_id, error)
            return (None, None)


class _Filling:
    """One attempt of the job: which prompts are under way, and which came out alike."""

    def __init__(self, job: EvaluateJob, model: TextModel, context: JobContext, pool: ThreadPoolExecutor) -> None:
        self._job = job
        self._model = model
        self._context = context
        self._pool = pool
        self._under_way: deque[Pair] = deque()
        self._alike: deque[Pair] = deque()

    def fill(self, stored: set[int]) -> int:
        """Store matches until there are n; returns how many there are. Pairs that came out alike are shown only when no other
        prompt is left.
        """
        made, n, started_s = len(stored), self._job.evaluation.n, time.monotonic()
        begun = max(stored, default=-1) + 1
        rest = deque(range(begun, len(self._job.evaluation.prompts)))
        rest.extend(index for index in range(begun) if index not in stored)  # came out alike before the test was cut off
        while made < n:
            while rest and made + len(self._under_way) < n:
                self._begin(rest.popleft())
            if not self._under_way and not self._alike:
                break
            pair = self._under_way.popleft() if self._under_way else self._alike.popleft()
            if (self._under_way or rest) and pair.is_alike:
                self._alike.append(pair)
                continue
            self._job.store(made, pair)
            made += 1
            eta_s = (time.monotonic() - started_s) / (made - len(stored)) * (n - made)
            self._context.progress(made, n, phase="write", eta_s=eta_s)
            self._context.publish(self._job.data(made))
        return made

    def _begin(self, index: int) -> None:
        self._context.cancel.check()
        try:
            self._under_way.append(self._job.begin(self._model, self._context.cancel, self._pool, index))
        except TooLongError as error:  # another prompt takes its place
            log.warning("a prompt of evaluation %s is left out: %s", self._context.job_id, error)


def _sampling(task: Kind) -> Sampling:
    """How the next token is chosen where the model is used for this task."""
    if task != "summary":
        return Sampling()
    from engine.summary.abstractive import SAMPLING

    return SAMPLING


def answer(model: TextModel, request: GenerateRequest, cancel: CancelToken) -> Answer:
    """Write one answer and score it with the base model. Raises CancelledError."""
    text, last = "", TextEvent(0, "", 0)
    with closing(model.generate(request, cancel)) as events:  # type: ignore[type-var]
        for last in events:
            text += storable(last.delta)
    if last.finish_reason in (None, "cancelled"):
        raise CancelledError("This was stopped.", key="error.cancelled")
    scored = model.score(request.messages, text, cancel=cancel).token_logprobs if text.strip() else ()
    return Answer(text.strip(), str((last.path or {}).get("adapter", "")), tuple(scored))
