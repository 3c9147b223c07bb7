"""Summaries: text, files or documents that were read become a row, then a job fills it. Also versions, edits and checks.

Rows are committed before anything is read; what cannot work (an unknown option, a missing model, nothing to read) is refused
before that. Followed and stopped like every job (engine/services/jobs.py). Knows storage, the runner and what the jobs work with;
knows no page.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from engine.errors import BadFileError, BadOptionError, BusyError, NotFoundError
from engine.jobs.job import FINAL, can_resume
from engine.jobs.runner import JobRunner
from engine.models.adapters import AdapterRef
from engine.models.catalog import STARTER_ENCODER_ID
from engine.safety.limits import PROMPT_MAX_CHARS, clean_text
from engine.services.click import check_edit, clean_edit, clean_key, seed_or_drawn
from engine.services.edge import NOTHING_HERE, storage_errors
from engine.services.feedback import picked_of
from engine.services.notices import Notice, SpeaksLanguages
from engine.services.summarizing import ReadJob, SummarizeJob
from engine.services.summary_documents import KeptDocument, title_of
from engine.services.summary_export import SummaryFile, export_summary
from engine.services.summary_judging import CheckJob, JudgeJob
from engine.services.summary_parts import WRITTEN, SummaryParts, invents
from engine.services.summary_records import (
    JUDGE,
    READ,
    SUMMARIZE,
    EditedSummary,
    SummaryStarted,
    SummaryTurn,
    SummaryVersion,
    foreign_notice,
    invents_notice,
    kept_language_notice,
    options_again,
    params_of,
    started_of,
    unread_notice,
)
from engine.services.summary_sources import language_of, source_again, sources_of, title_of_sources
from engine.services.text import Adapters, TextModels
from engine.summary.document import Document
from engine.summary.reading.read import Source
from engine.types import SummaryOptions, SummaryRequest
from storage.records import BASE, CreationRecord, JobRecord
from storage.unit_of_work import UnitOfWork

FOCUS_MAX_CHARS: Final = 500
REFERENCE_MAX_CHARS: Final = 50_000


@dataclass(frozen=True, slots=True)
class _Writer:
    """Who writes the summary."""

    model_id: str
    adapter_id: str = BASE
    adapter: AdapterRef | None = None
    name: str = ""
    languages: tuple[str, ...] = ()
    """That the model writes; empty = not known, or its own words are not asked for."""


class SummaryService:
    """Read, summarise, go on, edit, check; give documents and versions to a page."""

    def __init__(
        self,
        runner: JobRunner,
        models: TextModels,
        adapters: Adapters,
        catalog: Callable[[], Iterable[SpeaksLanguages]],
        parts: SummaryParts,
    ) -> None:
        self._runner = runner
        self._models = models
        self._adapters = adapters
        self._catalog = catalog
        self._parts = parts
        self._database = parts.database

    @storage_errors()
    def read(self, owner_id: str, files: Sequence[Path], text: str | None = None, *, url: str | None = None) -> str:
        """Read files and pasted text, or a web page by its address; returns the job's id.

        Its result has the documents' ids, which `summarize` takes: {"documents": [KeptDocument.about()], "refused": [{name,
        message, key, values}]}; the job fails with the first one's error when none can be read. Raises BadFileError, TooLongError
        for what is refused before that.
        """
        sources = sources_of(text, files, self._parts.limits) if url is None else ()
        with self._database.write() as uow:
            job, _ = uow.jobs.add(owner_id, kind=READ, request={"names": [source.name for source in sources]})
            uow.commit()
        self._runner.start(job, ReadJob(sources, self._parts, url).body, lane="interactive")
        return job.id

    @storage_errors()
    def summarize(self, owner_id: str, request: SummaryRequest) -> SummaryStarted:
        """Commit a job and its Creations, `options.n` versions of one turn; start the job, return at once.

        The same idempotency key returns the same SummaryStarted. Raises BadOptionError, NotFoundError, TooLongError,
        BadFileError and NoModelError, each before anything is written; whatever fails later is in the job and the rows.
        """
        options = self._checked(request.options)
        key = clean_key(request.idempotency_key)
        writer = self._writer(owner_id, options)
        sources = sources_of(request.text, request.files, self._parts.limits) if request.text or request.files else ()
        kept = tuple(self._parts.documents.get(id) for id in request.documents)
        with self._database.write() as uow:
            parent = summary_creation(uow, owner_id, options.parent_id) if options.parent_id is not None else None
            if parent is not None and not sources and not kept:
                kept = self._parts.documents.of(uow, owner_id, parent)
            if not sources and not kept:
                raise BadFileError("There is nothing to summarise. Paste a text or add a file.", key="error.read_nothing")
            if sources and kept:
                sources = (*sources, *(source_again(one) for one in kept))
                kept = ()
            creation_ids, job_id = tuple(uuid.uuid4().hex for _ in range(options.n)), uuid.uuid4().hex
            seed = seed_or_drawn(options.seed)
            started = SummaryStarted(
                job_id,
                creation_ids,
                turn_id=parent.turn_id if parent else creation_ids[0],
                model_id=writer.model_id,
                adapter_id=writer.adapter_id,
                seeds=tuple(seed + number for number in range(options.n)),
                notices=_notices(options, writer, [one.document for one in kept], sources),
            )
            job, is_new = uow.jobs.add(owner_id, kind=SUMMARIZE, request=started.as_json(), idempotency_key=key, id=job_id)
            if not is_new:
                return started_of(job)
            creations = self._add(uow, owner_id, started, options, kept, sources, parent)
            uow.commit()
        self._start(owner_id, job, started, creations, options, writer, sources, kept)
        return started

    @storage_errors()
    def resume(self, owner_id: str, job_id: str) -> SummaryStarted:
        """Queue an interrupted, stopped or failed job again; summaries that are done stay, notes are not taken again.

        Raises NotFoundError, BusyError while it runs, NoModelError, and BadOptionError when nothing is missing or its files were
        not read yet, so that they must be given again.
        """
        with self._database.write() as uow:
            job = uow.jobs.get(owner_id, job_id)
            if job.kind != SUMMARIZE:
                raise BadOptionError("Only summaries can be gone on with here.", key="error.summary_resume_kind")
            started = started_of(job)
            if job.status not in FINAL:
                raise BusyError("This summary is still being made; wait or stop it first.", key="error.summary_running")
            if not can_resume(job.kind, job.status):
                raise BadOptionError("Nothing of this is missing; there is nothing to go on with.", key="error.summary_complete")
            creations = uow.creations.get_many(owner_id, started.creation_ids)
            if not creations:
                raise NotFoundError(NOTHING_HERE, key="error.not_found")
            kept = self._parts.documents.of(uow, owner_id, creations[0])
            if not kept:
                text = "Its files had not been read yet. Add them again."
                raise BadOptionError(text, key="error.summary_unread")
            options = options_again(creations[0])
            writer = self._writer(owner_id, options)
            again = {"status": "queued", "error": None, "finish_reason": None, "output": ""}
            creations = tuple(
                one if one.status == "done" else uow.creations.update(owner_id, one.id, **again) for one in creations
            )
            job = uow.jobs.update(job_id, status="queued", result=None, error=None, finished_at=None)
            uow.commit()
        self._start(owner_id, job, started, creations, options, writer, (), kept)
        return started

    @storage_errors()
    def edit(self, owner_id: str, creation_id: str, text: str) -> EditedSummary:
        """Add the edited text as a version that beats the one it was made from; a job judges its sentences.

        Raises BadOptionError for an empty or unchanged text, BusyError while the summary is still being made.
        """
        text = clean_edit(text)
        with self._database.write() as uow:
            original = summary_creation(uow, owner_id, creation_id)
            if original.status not in FINAL:
                raise BusyError("This summary is still being made; wait or stop it first.", key="error.summary_running")
            check_edit(text, original)
            kept = self._parts.documents.of(uow, owner_id, original)
            made = ("sentences", "scores", "notes")
            edited = uow.creations.add(
                owner_id,
                kind="summary",
                prompt=original.prompt,
                output=text,
                model_id=original.model_id,
                adapter_id=original.adapter_id,
                origin="edited",
                status="done",
                turn_id=original.turn_id,
                parent_id=original.id,
                params={WRITTEN: original.output} | {name: value for name, value in original.params.items() if name not in made},
            )
            uow.inputs.add(owner_id, [one.record(edited.id) for one in kept])
            preference = uow.preferences.set(owner_id, edited.id, original.id, source="edit", is_explicit=False)
            job, _ = uow.jobs.add(owner_id, kind=JUDGE, request={"creation_id": edited.id})
            uow.commit()
        self._runner.start(job, JudgeJob(owner_id, edited, kept, self._parts).body, lane="interactive")
        return EditedSummary(edited.id, preference.id, job.id)

    @storage_errors()
    def check(self, owner_id: str, text: str, summary: str) -> str:
        """Judge any summary against any text; returns the job's id. Its result is {"sentences"}; nothing is kept.

        Raises BadOptionError for an empty one of the two, TooLongError.
        """
        summary = clean_text(summary, max_chars=PROMPT_MAX_CHARS, what="The summary")
        text = clean_text(text, max_chars=self._parts.limits.text_bytes, what="The text")
        if not summary.strip() or not text.strip():
            raise BadOptionError("Give both a text and a summary of it.", key="error.check_empty")
        with self._database.write() as uow:
            job, _ = uow.jobs.add(owner_id, kind=JUDGE, request={})
            uow.commit()
        self._runner.start(job, CheckJob(text, summary, self._parts).body, lane="interactive")
        return job.id

    @storage_errors()
    def documents(self, owner_id: str, creation_id: str) -> tuple[KeptDocument, ...]:
        """What a summary was made of, texts included, in the order its sources count them. Raises NotFoundError."""
        with self._database.read() as uow:
            return self._parts.documents.of(uow, owner_id, summary_creation(uow, owner_id, creation_id))

    @storage_errors()
    def export(self, owner_id: str, creation_id: str, format: str) -> SummaryFile:
        """A summary as a labelled file: markdown, docx, text or json. Raises NotFoundError, BadOptionError for another format."""
        with self._database.read() as uow:
            creation = summary_creation(uow, owner_id, creation_id)
            return export_summary(creation, self._parts.documents.of(uow, owner_id, creation), format)

    def document(self, document_id: str) -> KeptDocument:
        """A document that was read, by its id. Raises NotFoundError."""
        return self._parts.documents.get(document_id)

    @storage_errors()
    def turn(self, owner_id: str, rater_id: str, creation_id: str) -> SummaryTurn:
        """A summary and its versions, for a page. Raises NotFoundError."""
        with self._database.read() as uow:
            return _turn(uow, owner_id, rater_id, summary_creation(uow, owner_id, creation_id).turn_id)

    @storage_errors()
    def recent(
        self, owner_id: str, rater_id: str, *, limit: int = 20, before_job_id: str | None = None
    ) -> tuple[SummaryTurn, ...]:
        """The newest summaries with their versions, newest first; with a job's id those before it."""
        with self._database.read() as uow:
            jobs = uow.jobs.newest(owner_id, (SUMMARIZE,), limit=max(1, min(limit, 100)), before_id=before_job_id)
            turn_ids = dict.fromkeys(str(job.request["turn_id"]) for job in jobs)
            turns = [_turn(uow, owner_id, rater_id, turn_id) for turn_id in turn_ids]
        return tuple(turn for turn in turns if turn.versions)

    def _checked(self, options: SummaryOptions) -> SummaryOptions:
        return replace(
            options,
            focus=clean_text(options.focus, max_chars=FOCUS_MAX_CHARS, what="The question").strip(),
            reference=clean_text(options.reference, max_chars=REFERENCE_MAX_CHARS, what="The reference").strip(),
        )

    def _writer(self, owner_id: str, options: SummaryOptions) -> _Writer:
        if options.method == "extractive":
            return _Writer(STARTER_ENCODER_ID)
        model_id = options.model or self._models.default("text", owner_id)
        self._models.require(model_id, owner_id)
        adapter_id, adapter = self._adapters.resolve(owner_id, model_id, options.adapter, "summary")
        spec = next((spec for spec in self._catalog() if spec.id == model_id), None)
        return _Writer(model_id, adapter_id, adapter, spec.name if spec else "", tuple(spec.languages) if spec else ())

    def _add(
        self,
        uow: UnitOfWork,
        owner_id: str,
        started: SummaryStarted,
        options: SummaryOptions,
        kept: Sequence[KeptDocument],
        sources: Sequence[Source],
        parent: CreationRecord | None,
    ) -> tuple[CreationRecord, ...]:
        params = {
            **params_of(options),
            "documents": [one.about() for one in kept],
            "document_ids": [one.id for one in kept],
            "notices": [notice.as_json() for notice in started.notices],
        }
        creations = tuple(
            uow.creations.add(
                owner_id,
                kind="summary",
                prompt=title_of(kept) if kept else title_of_sources(sources),
                model_id=started.model_id,
                adapter_id=started.adapter_id,
                id=creation_id,
                turn_id=started.turn_id,
                parent_id=parent.id if parent else None,
                job_id=started.job_id,
                seed=seed,
                params=params,
            )
            for creation_id, seed in zip(started.creation_ids, started.seeds, strict=True)
        )
        for creation in creations:
            uow.inputs.add(owner_id, [one.record(creation.id) for one in kept])
        return creations

    def _start(
        self,
        owner_id: str,
        job: JobRecord,
        started: SummaryStarted,
        creations: Sequence[CreationRecord],
        options: SummaryOptions,
        writer: _Writer,
        sources: Sequence[Source],
        kept: Sequence[KeptDocument],
    ) -> None:
        work = SummarizeJob(
            owner_id, started, creations, options, self._parts, sources=sources, kept=kept, adapter=writer.adapter
        )
        lane = "interactive" if options.method == "extractive" else "batch"
        self._runner.start(job, work.body, lane=lane, data=work.data(), on_end=work.end)  # type: ignore[arg-type]


def summary_creation(uow: UnitOfWork, owner_id: str, creation_id: str) -> CreationRecord:
    """The Creation. Raises BadOptionError for a text or a picture."""
    creation = uow.creations.get(owner_id, creation_id)
    if creation.kind != "summary":
        raise BadOptionError("This works for summaries only.", key="error.not_a_summary")
    return creation


def _turn(uow: UnitOfWork, owner_id: str, rater_id: str, turn_id: str) -> SummaryTurn:
    creations = uow.creations.versions(owner_id, [turn_id]).get(turn_id, ())
    ids = [one.id for one in creations]
    ratings = uow.ratings.current(rater_id, ids)
    picked = picked_of(ids, uow.preferences.current(rater_id, ids))
    scored = {id: rating for id, rating in ratings.items() if rating.score is not None}
    versions = tuple(SummaryVersion(one, scored.get(one.id), one.id == picked) for one in creations)
    documents = next((one.params["documents"] for one in creations if one.params.get("documents")), ())
    return SummaryTurn(turn_id, creations[0].prompt if creations else "", tuple(documents), versions)


def _notices(
    options: SummaryOptions, writer: _Writer, documents: Sequence[Document], sources: Sequence[Source]
) -> tuple[Notice, ...]:
    """What can be said before the documents are read: of pasted text and of documents that were read before."""
    said = documents[0].language if documents else language_of(sources)
    wanted = options.language or said
    if options.method == "extractive":
        if options.language is not None and said and options.language != said:
            return (kept_language_notice(said, options.language),)
    elif writer.languages and wanted and wanted not in writer.languages:
        return (foreign_notice(said, wanted, writer.name),)
    notices = [unread_notice(said)] if said and said not in ("en", "zh") else []
    if options.method != "extractive" and invents(writer.model_id):
        notices.append(invents_notice(writer.name))
    return tuple(notices)
