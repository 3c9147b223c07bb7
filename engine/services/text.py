"""Writing: a prompt becomes rows, then a job fills them. Also edits, reproducing and going on from what was cut off.

Rows are committed before the model runs, so a prompt is never lost; what cannot work (an unknown id or option, a missing
model) is refused before anything is written. Knows storage, the runner and the model host; knows no page.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from engine.errors import BadOptionError, BusyError
from engine.jobs.job import FINAL
from engine.jobs.runner import JobRunner
from engine.models.adapters import AdapterRef
from engine.safety.limits import PROMPT_MAX_CHARS, SYSTEM_MAX_CHARS, clean_text
from engine.services.adapters import PROMOTED
from engine.services.click import check_edit, clean_edit, clean_key, seed_or_drawn
from engine.services.draft import DraftWriter
from engine.services.edge import storage_errors
from engine.services.living import living_head
from engine.services.notices import SpeaksLanguages, language_notice
from engine.services.prompt import asked_params, params_of, title_of
from engine.services.writing import Parts, ReproduceJob, Task, Taste, TextHost, WriteJob, WriteStarted
from engine.types import WriteOptions, WriteRequest
from storage.database import Database
from storage.records import ConversationRecord, CreationRecord, Kind
from storage.unit_of_work import UnitOfWork

MAX_STOP_CHARS = 200


class TextModels(Protocol):
    """What the text service asks the model service."""

    def default(self, task: str, owner_id: str) -> str:
        """Id of the default model for a task."""

    def require(self, model_id: str, owner_id: str) -> object:
        """Raises NotFoundError for an unknown id and NoModelError, which says how far the download is, for a missing one."""


class Adapters(Protocol):
    """What the text service asks the adapter service."""

    def resolve(self, owner_id: str, model_id: str, option: str, task: Kind = "text") -> tuple[str, AdapterRef | None]:
        """The adapter that "promoted", "base" or an id means for a task: its id and where it lies (None = the base model).

        Raises NotFoundError, BadOptionError for another model's or task's, BadFileError for a removed or damaged one.
        """


@dataclass(frozen=True, slots=True)
class Edited:
    """The version that an edit made, and the preference that says it beats the one it was made from."""

    creation_id: str
    preference_id: str


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a new Creation stands: its conversation, what it follows, which version it was made from."""

    conversation: ConversationRecord | None
    parent: CreationRecord | None
    context_id: str | None


class TextService:
    """Write, edit, reproduce, resume."""

    def __init__(
        self,
        database: Database,
        runner: JobRunner,
        host: TextHost,
        models: TextModels,
        catalog: Callable[[], Iterable[SpeaksLanguages]],
        adapters: Adapters,
        taste: Taste,
    ) -> None:
        self._database = database
        self._adapters = adapters
        self._taste = taste
        self._runner = runner
        self._models = models
        self._catalog = catalog
        self._parts = Parts(database, host, DraftWriter(database), taste)

    @storage_errors()
    def write(self, owner_id: str, request: WriteRequest) -> WriteStarted:
        """Commit a job and its n Creations, start the job, return at once.

        The same idempotency key returns the same WriteStarted. Raises BadOptionError, NotFoundError, TooLongError, NoModelError,
        BadFileError (the adapter), NotEnoughDataError (rank_by) or BusyError, each before anything is written; whatever fails
        later is in the job and the rows.
        """
        options = request.options
        prompt = clean_text(request.prompt, max_chars=PROMPT_MAX_CHARS, what="The prompt")
        stop = tuple(clean_text(text, max_chars=MAX_STOP_CHARS, what="A stop text") for text in options.stop)
        system = options.system
        if system is not None:
            system = clean_text(system, max_chars=SYSTEM_MAX_CHARS, what="The system prompt")
        key = clean_key(request.idempotency_key)
        is_ranked = options.rank_by == "taste" and options.n > 1
        if is_ranked:
            self._taste.require(owner_id, owner_id, "text")
        model_id = options.model or self._models.default("text", owner_id)
        self._models.require(model_id, owner_id)
        adapter_id, adapter = self._adapters.resolve(owner_id, model_id, self._wanted_adapter(owner_id, options, model_id))
        catalog = tuple(self._catalog())
        with self._database.write() as uow:
            place = _place(uow, owner_id, options)
            prompt = _prompt(prompt, place.parent, is_continuing=options.continue_from is not None)
            notice = language_notice(prompt, model_id, catalog)
            first_seed = seed_or_drawn(options.seed)
            creation_ids = tuple(uuid.uuid4().hex for _ in range(options.n))
            started = WriteStarted(
                job_id=uuid.uuid4().hex,
                creation_ids=creation_ids,
                conversation_id=place.conversation.id if place.conversation else None,
                turn_id=place.parent.turn_id if place.parent else creation_ids[0],
                seeds=tuple(first_seed + index for index in range(options.n)),
                model_id=model_id,
                adapter_id=adapter_id,
                notices=(notice,) if notice else (),
            )
            job, is_new = uow.jobs.add(owner_id, kind="write", request=started.as_json(), idempotency_key=key, id=started.job_id)
            if not is_new:  # before any other check: the first click may be what makes the second one impossible
                return WriteStarted.from_json(job.id, job.request)
            _refuse_unfinished(uow, owner_id, place.context_id)
            params = params_of(options, _system(system, place), stop)
            begun = ""
            if options.continue_from is not None and place.parent is not None:
                begun = place.parent.output
                params["continued_chars"] = len(begun)
            task = Task(place.context_id, prompt, params, begun, adapter, is_ranked)
            _add_rows(uow, owner_id, started, task, place)
            uow.commit()
        work = WriteJob(owner_id, started, task, self._parts)
        self._runner.start(job, work.body, lane="interactive", data=work.data(), on_end=work.end)
        return started

    @storage_errors()
    def edit(self, owner_id: str, creation_id: str, text: str, *, conversation_id: str | None = None) -> Edited:
        """Add the edited text as a version that beats the one it was made from, and move the conversation's head to it.

        `conversation_id` is where the user reads it (a branch may share the row); None = the Creation's own.
        Raises BadOptionError for an empty or unchanged text, BusyError while the answer is still being written.
        """
        text = clean_edit(text)
        with self._database.write() as uow:
            original = _text_creation(uow, owner_id, creation_id)
            _refuse_unfinished(uow, owner_id, original.id)
            check_edit(text, original)
            home_id = conversation_id or original.conversation_id
            edited = uow.creations.add(
                owner_id,
                kind="text",
                prompt=original.prompt,
                output=text,
                model_id=original.model_id,
                adapter_id=original.adapter_id,
                origin="edited",
                status="done",
                turn_id=original.turn_id,
                conversation_id=home_id,
                context_id=original.context_id,
                parent_id=original.id,
                params=asked_params(original.params),
            )
            if home_id is not None:
                uow.conversations.update(owner_id, home_id, head_id=edited.id)
            preference = uow.preferences.set(owner_id, edited.id, original.id, source="edit", is_explicit=False)
            uow.commit()
        return Edited(edited.id, preference.id)

    @storage_errors()
    def reproduce(self, owner_id: str, creation_id: str) -> str:
        """Write the Creation again, alone on the path it records; returns the job's id.

        The job's result is {"text", "identical", "creation_id"}. Raises BadOptionError for what has no recorded path
        (edited, imported, or cut off by a crash), BusyError while it is being written, NoModelError.
        """
        with self._database.read() as uow:
            creation = _text_creation(uow, owner_id, creation_id)
        if creation.status not in FINAL:
            raise BusyError("This answer is still being written; wait or stop it first.", key="error.still_writing")
        if creation.origin != "generated" or not creation.path or creation.seed is None:
            raise BadOptionError(
                "This text has no recorded path, so it cannot be reproduced: it was edited, imported or cut off.",
                key="error.no_path",
            )
        self._models.require(creation.model_id, owner_id)
        _, adapter = self._adapters.resolve(owner_id, creation.model_id, creation.adapter_id)
        with self._database.write() as uow:
            job, _ = uow.jobs.add(owner_id, kind="reproduce", request={"creation_id": creation.id})
            uow.commit()
        work = ReproduceJob(owner_id, creation, adapter, self._parts)
        self._runner.start(job, work.body, lane="interactive", data={"creation_id": creation.id, "text": "", "tokens": 0})
        return job.id

    @storage_errors()
    def resume(
        self, owner_id: str, creation_id: str, *, conversation_id: str | None = None, idempotency_key: str | None = None
    ) -> WriteStarted:
        """Go on from an answer that was interrupted, stopped or cut at its length, with the parameters it records.

        The result is a version that begins with the old text. Raises what `write` raises, and BadOptionError for a text
        that no model wrote.
        """
        with self._database.read() as uow:
            creation = _text_creation(uow, owner_id, creation_id)
        if creation.origin != "generated":
            raise BadOptionError("Only an answer that a model wrote can be resumed.", key="error.resume_origin")
        params = creation.params
        options = WriteOptions(
            model=creation.model_id,
            adapter=creation.adapter_id,
            system=params["system"],
            conversation_id=conversation_id,
            max_new_tokens=params["max_new_tokens"],
            temperature=params["temperature"],
            top_p=params["top_p"],
            top_k=params["top_k"],
            repetition_penalty=params["repetition_penalty"],
            stop=tuple(params["stop"]),
            seed=creation.seed,
            continue_from=creation.id,
        )
        return self.write(owner_id, WriteRequest(prompt="", options=options, idempotency_key=idempotency_key))

    def _wanted_adapter(self, owner_id: str, options: WriteOptions, model_id: str) -> str:
        """Going on with an answer stays with the adapter that began it, unless another one is asked for by its id."""
        if options.continue_from is None or options.adapter != PROMOTED:
            return options.adapter
        with self._database.read() as uow:
            begun = _text_creation(uow, owner_id, options.continue_from)
        return begun.adapter_id if begun.model_id == model_id else options.adapter


def _text_creation(uow: UnitOfWork, owner_id: str, creation_id: str) -> CreationRecord:
    creation = uow.creations.get(owner_id, creation_id)
    if creation.kind != "text":
        raise BadOptionError("This works for texts only.", key="error.not_a_text")
    return creation


def _place(uow: UnitOfWork, owner_id: str, options: WriteOptions) -> _Place:
    if options.continue_from is not None and options.parent_id not in (None, options.continue_from):
        raise BadOptionError(
            'Options "continue_from" and "parent_id" name different creations; give one.', key="error.continue_and_parent"
        )
    parent_id = options.continue_from if options.continue_from is not None else options.parent_id
    parent = _text_creation(uow, owner_id, parent_id) if parent_id is not None else None
    if parent is not None and options.continue_from is not None:
        _refuse_unfinished(uow, owner_id, parent.id)
    home_id = options.conversation_id or (parent.conversation_id if parent else None)
    conversation = uow.conversations.get(owner_id, home_id) if home_id is not None else None
    if options.context_id is not None:
        context_id: str | None = _text_creation(uow, owner_id, options.context_id).id
    elif parent is not None:
        context_id = parent.context_id
    else:
        context_id = living_head(uow, owner_id, conversation) if conversation else None
    return _Place(conversation, parent, context_id)


def _prompt(prompt: str, parent: CreationRecord | None, *, is_continuing: bool) -> str:
    if parent is not None and (is_continuing or not prompt.strip()):
        if prompt.strip() and prompt != parent.prompt:
            raise BadOptionError("Going on with an answer keeps its prompt; leave the prompt empty.", key="error.continue_prompt")
        return parent.prompt
    if not prompt.strip():
        raise BadOptionError("Write a prompt first.", key="error.prompt_empty")
    return prompt


def _system(system: str | None, place: _Place) -> str:
    if system is not None:
        return system
    if place.conversation is not None:
        return place.conversation.system
    return str(place.parent.params.get("system", "")) if place.parent else ""


def _refuse_unfinished(uow: UnitOfWork, owner_id: str, creation_id: str | None) -> None:
    """What follows an answer is part of its messages, so the answer must be complete before."""
    if creation_id is not None and uow.creations.get(owner_id, creation_id).status not in FINAL:
        raise BusyError(
            "The answer before is still being written; wait or stop it first. Your text is kept.", key="error.still_writing"
        )


def _add_rows(uow: UnitOfWork, owner_id: str, started: WriteStarted, task: Task, place: _Place) -> None:
    for creation_id, seed in zip(started.creation_ids, started.seeds, strict=True):
        uow.creations.add(
            owner_id,
            kind="text",
            prompt=task.prompt,
            output=task.continue_text,
            model_id=started.model_id,
            adapter_id=started.adapter_id,
            id=creation_id,
            turn_id=started.turn_id,
            conversation_id=started.conversation_id,
            context_id=task.context_id,
            parent_id=place.parent.id if place.parent else None,
            job_id=started.job_id,
            seed=seed,
            params=task.params,
        )
    if place.conversation is not None:
        changes: dict[str, Any] = {"head_id": started.creation_ids[0]}
        if not place.conversation.title:
            changes["title"] = title_of(task.prompt)
        uow.conversations.update(owner_id, place.conversation.id, **changes)
