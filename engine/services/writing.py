"""The two jobs of the text service: write answers into their rows, and write one again to see whether it comes out the same.

Knows the model host, drafts and rows that exist already; knows no click, no conversation head and no page.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace
from typing import Any, Protocol

from engine.errors import CancelledError, StudioError, TooLongError
from engine.jobs.runner import JobContext
from engine.models.adapters import BASE, AdapterRef
from engine.services.adapters import check_adapter
from engine.services.click import Started
from engine.services.draft import Draft, DraftWriter, storable
from engine.services.edge import storage_errors
from engine.services.notices import Notice, left_out_notice, shortened_notice, unranked_notice
from engine.services.prompt import keep_last, messages_for, ranking_of, sampling_of
from engine.text.model import GenerateRequest, Message, TextEvent, TextModel
from storage.database import Database
from storage.records import CreationRecord, JobStatus, Json, Kind

log = logging.getLogger(__name__)


class TextHost(Protocol):
    """Where loaded text models come from."""

    def use(self, model_id: str) -> AbstractContextManager[TextModel]:
        """Load it if need be and keep it for the `with` block. Raises NoModelError."""


class Taste(Protocol):
    """Who knows what the rater likes."""

    def require(self, owner_id: str, rater_id: str, task: Kind) -> None:
        """Raises NotEnoughDataError while too little was rated."""

    def score(self, owner_id: str, rater_id: str, task: Kind, items: Sequence[tuple[str, str]]) -> list[float]:
        """How much each (prompt, answer) should be liked; higher is better. Raises NotEnoughDataError."""


@dataclass(frozen=True, slots=True)
class WriteStarted(Started):
    """What a click on Create began. `notices` are those known before the model runs; the job's data has all."""

    creation_ids: tuple[str, ...]
    conversation_id: str | None
    turn_id: str
    seeds: tuple[int, ...]
    model_id: str
    adapter_id: str
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True, slots=True)
class Task:
    """What the model is to write: the prompt in its context, with every parameter."""

    context_id: str | None
    prompt: str
    params: Json
    continue_text: str = ""
    adapter: AdapterRef | None = None
    """None = the base model."""
    is_ranked: bool = False
    """Whether the answers are sorted by taste once all are there."""


def write_data(
    started: WriteStarted, creations: Sequence[Json], notices: Sequence[Json], ranking: Sequence[str] = ()
) -> dict[str, Any]:
    """The data of a writing job, from drafts or from rows. With a `ranking` (ids best first) the creations stand in its order."""
    places = {creation_id: place for place, creation_id in enumerate(ranking)}
    return {
        "conversation_id": started.conversation_id,
        "turn_id": started.turn_id,
        "creations": sorted(creations, key=lambda creation: places.get(creation["id"], len(places))),
        "model_id": started.model_id,
        "adapter_id": started.adapter_id,
        "notices": list(notices),
        **({"ranking": list(ranking)} if ranking else {}),
    }


class WriteJob:
    """Writes the answers of one request. Its rows exist; `body` and `end` are what the runner calls."""

    def __init__(self, owner_id: str, started: WriteStarted, task: Task, parts: Parts) -> None:
        self._owner_id = owner_id
        self._started = started
        self._task = task
        self._parts = parts
        self._notices = [notice.as_json() for notice in started.notices]
        self._drafts = tuple(
            Draft(creation_id, seed, text=task.continue_text, params=task.params)
            for creation_id, seed in zip(started.creation_ids, started.seeds, strict=True)
        )

    def data(self) -> Json:
        """What followers see: all of it, at this moment."""
        return write_data(self._started, [draft.view() for draft in self._drafts], self._notices, self._ranking())

    def body(self, context: JobContext) -> Json:
        """Load, fit, write. Raises CancelledError when it was stopped before every row had ended."""
        self._parts.writer.keep(self._owner_id, self._drafts)
        context.progress(0, 1, phase="loading")
        with self._parts.host.use(self._started.model_id) as model:
            context.cancel.check()
            request = self._fitted(model)
            context.progress(0, 1, phase="writing")
            self._write(context, model, request)
        if self._task.is_ranked:
            self._rank(context)
        ranking = list(self._ranking())
        return {"creation_ids": ranking or list(self._started.creation_ids), **({"ranking": ranking} if ranking else {})}

    def end(self, context: JobContext, status: JobStatus, error: str | None) -> None:
        """Give every row an end of its own and write it, whatever happened before."""
        for draft in self._drafts:
            draft.end(status, error)
        self._parts.writer.finish(self._owner_id, self._drafts)
        context.publish(self.data())

    def _fitted(self, model: TextModel) -> GenerateRequest:
        """The request that fits the model's context; what had to be cut becomes a notice."""
        task = self._task
        wanted = int(task.params["max_new_tokens"])
        messages = messages_for(task.params["system"], self._parts.context(self._owner_id, task.context_id), task.prompt)
        begun = model.count_tokens((*messages, Message("assistant", task.continue_text))) if task.continue_text else 0
        begun -= model.count_tokens(messages) if begun else 0
        fitted, omitted, room = model.fit(messages, wanted + begun)
        max_new_tokens = room - begun
        if max_new_tokens < 1:
            raise TooLongError(
                "The answer already fills the model's context, so it cannot go on. Start from a shorter prompt.",
                key="error.no_room_to_continue",
            )
        if omitted:
            self._notices.append(left_out_notice(omitted).as_json())
        if max_new_tokens < wanted:
            self._notices.append(shortened_notice(max_new_tokens, wanted).as_json())
        params = {**task.params, "max_new_tokens": max_new_tokens, "kept_messages": len(fitted), "notices": list(self._notices)}
        for draft in self._drafts:
            draft.begin(params)
        return GenerateRequest(fitted, sampling_of(params), self._started.seeds, task.continue_text, adapter=task.adapter)

    def _write(self, context: JobContext, model: TextModel, request: GenerateRequest) -> None:
        context.publish(self.data())
        for elapsed_s, event in _timed(model, request, context):
            self._drafts[event.row].take(event, elapsed_s, context.cancel.reason)
            context.publish(self.data())
        if any(draft.finish_reason in (None, "cancelled") for draft in self._drafts):
            context.cancel.check()

    def _ranking(self) -> tuple[str, ...]:
        return ranking_of((draft.creation_id, draft.params) for draft in self._drafts)

    def _rank(self, context: JobContext) -> None:
        """Sort the answers by taste, empty ones last; the conversation goes on from the best unless its reader has moved on."""
        context.progress(0, 1, phase="ranking")
        written = [draft for draft in self._drafts if draft.text.strip()]
        try:
            items = [(self._task.prompt, draft.text) for draft in written]
            scores = self._parts.taste.score(self._owner_id, self._owner_id, "text", items)
        except StudioError as error:  # the answers are there, and that is what was asked for first
            log.warning("job %s was not ranked: %s", context.job_id, error)
            self._notices.append(unranked_notice().as_json())
            for draft in self._drafts:
                draft.note(notices=list(self._notices))
            return
        ranked = sorted(zip(written, scores, strict=True), key=lambda one: -one[1])
        empty = [(draft, None) for draft in self._drafts if draft not in written]
        for rank, (draft, score) in enumerate([*ranked, *empty], start=1):
            draft.note(taste={"rank": rank, "score": score})
        self._parts.move_head(self._owner_id, self._started, self._ranking()[0])
        context.publish(self.data())


@dataclass(frozen=True, slots=True)
class Parts:
    """What the jobs work with."""

    database: Database
    host: TextHost
    writer: DraftWriter
    taste: Taste

    def move_head(self, owner_id: str, started: WriteStarted, creation_id: str) -> None:
        """Let the conversation go on from another of this job's answers, if it still ends at the first."""
        if started.conversation_id is None:
            return
        with storage_errors(), self.database.write() as uow:
            if uow.conversations.get(owner_id, started.conversation_id).head_id == started.creation_ids[0]:
                uow.conversations.update(owner_id, started.conversation_id, head_id=creation_id)
                uow.commit()

    def context(self, owner_id: str, context_id: str | None) -> tuple[CreationRecord, ...]:
        """The turns before, oldest first, also those that were put in the trash since."""
        if context_id is None:
            return ()
        with storage_errors(), self.database.read() as uow:
            return uow.creations.path(owner_id, context_id)


class ReproduceJob:
    """Writes one Creation again, alone on the path it records, and compares. It changes no Creation."""

    def __init__(self, owner_id: str, creation: CreationRecord, adapter: AdapterRef | None, parts: Parts) -> None:
        self._owner_id = owner_id
        self._creation = creation
        self._adapter = adapter
        self._parts = parts

    def body(self, context: JobContext) -> Json:
        """Returns {"text", "identical", "creation_id"}."""
        creation = self._creation
        params = creation.params
        messages = messages_for(params["system"], self._parts.context(self._owner_id, creation.context_id), creation.prompt)
        begun = creation.output[: int(params.get("continued_chars", 0))]
        sampling = sampling_of(params)
        if creation.finish_reason == "cancelled":  # it is the part that was written before the stop that must come again
            sampling = replace(sampling, max_new_tokens=max(1, creation.output_tokens or 0))
        request = GenerateRequest(
            messages=keep_last(messages, int(params.get("kept_messages", len(messages)))),
            sampling=sampling,
            seeds=(creation.seed or 0,),
            continue_text=begun,
            replay=creation.path,
            adapter=self._adapter,
        )
        context.progress(0, 1, phase="loading")
        text = begun
        with self._parts.host.use(creation.model_id) as model:
            context.progress(0, 1, phase="writing")
            for _, event in _timed(model, request, context):
                text += storable(event.delta)
                context.publish({"creation_id": creation.id, "text": text, "tokens": event.tokens})
                if event.finish_reason == "cancelled":
                    raise CancelledError("This was stopped.", key="error.cancelled")
        return {"text": text, "identical": text == creation.output, "creation_id": creation.id}


def _timed(model: TextModel, request: GenerateRequest, context: JobContext) -> Iterator[tuple[float, TextEvent]]:
    """The model's events, each with the seconds since the model was asked."""
    started_s = time.monotonic()
    # Closed at once when the job fails in the middle: its rows must not go on in the model's scheduler.
    with closing(model.generate(request, context.cancel)) as events:  # type: ignore[type-var]
        for event in events:
            if event.path is not None and event.finish_reason != "cancelled":
                check_adapter(event.path.get("adapter", BASE), request.adapter)
            yield time.monotonic() - started_s, event
