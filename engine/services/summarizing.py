"""The jobs behind summaries: read documents, summarise them.

A summary's row exists before anything is read. What is known is written while it grows: documents as soon as they are read, notes
on the parts of a long one as they are taken, so that a summary that was cut off goes on from there. Knows the reader, the
backends and rows; knows no click and no page. The engines are loaded when a job needs them, so that no start waits for them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from engine.jobs.job import CancelToken
from engine.jobs.runner import JobContext
from engine.models.adapters import AdapterRef
from engine.services.adapters import check_adapter
from engine.services.edge import storage_errors
from engine.services.summary_documents import KeptDocument, title_of
from engine.services.summary_parts import SummaryParts, author_of, judged, wish_of
from engine.services.summary_records import SummaryStarted, summary_data
from engine.summary.document import Document
from engine.summary.reading.read import Source
from engine.types import SummaryOptions
from storage.records import BASE, CreationRecord, JobStatus, Json

if TYPE_CHECKING:
    from engine.summary.abstractive import Progress, Wish
    from engine.summary.extractive import Encode, Length

KEEP_S: Final = 1.0
"""How often what is known is written while a summary grows."""
ASKED_MAX_CHARS: Final = {"en": 6000, "zh": 2500}
"""Longer texts are not read at once, so they are no prompts to learn from; by the language of the document."""
HYBRID_TIMES: Final = 4
"""A hybrid summary is written from so many times its length of the document's own sentences."""


class ReadJob:
    """Reads files, or a web page by its address, for a page that shows what was read before anything is made of it."""

    def __init__(self, sources: Sequence[Source], parts: SummaryParts, url: str | None = None) -> None:
        self._sources = sources
        self._parts = parts
        self._url = url

    def body(self, context: JobContext) -> Json:
        """Returns {"documents": [KeptDocument.about()], "refused": [{name, message, key, values}]}."""
        sources = self._sources
        if self._url is not None:
            from engine.summary.reading.web import fetch_page

            context.progress(0, 0, phase="reading", note=self._url)
            sources = (fetch_page(self._url, cancel=context.cancel),)
        kept, refused = self._parts.read(sources, context)
        return {"documents": [one.about() for one in kept], "refused": refused}


@dataclass(slots=True)
class _Draft:
    """One summary in the making. The job's thread changes it; others only read."""

    creation: CreationRecord
    """As it was when the job began."""
    text: str
    status: JobStatus
    params: dict[str, Any]
    path: Json

    @property
    def is_done(self) -> bool:
        return self.status == "done"

    def now(self) -> CreationRecord:
        """The row as it is to be."""
        return replace(self.creation, output=self.text, status=self.status, params=self.params)


class SummarizeJob:
    """Makes the summaries of one click. Their rows exist; `body` and `end` are what the runner calls.

    They share what is read, the notes on it and the model's pass; those that were done before a job was cut off stay.
    """

    def __init__(
        self,
        owner_id: str,
        started: SummaryStarted,
        creations: Sequence[CreationRecord],
        options: SummaryOptions,
        parts: SummaryParts,
        *,
        sources: Sequence[Source] = (),
        kept: Sequence[KeptDocument] = (),
        adapter: AdapterRef | None = None,
    ) -> None:
        self._owner_id = owner_id
        self._started = started
        self._options = options
        self._parts = parts
        self._sources = sources
        self._kept = tuple(kept)
        self._adapter = adapter
        self._notices = [notice.as_json() for notice in started.notices]
        self._drafts = tuple(_Draft(one, one.output, one.status, dict(one.params), one.path) for one in creations)
        self._written_s = 0.0

    @property
    def _missing(self) -> list[_Draft]:
        return [draft for draft in self._drafts if not draft.is_done]

    def data(self) -> Json:
        """What followers see: all of it, at this moment."""
        return summary_data([replace(draft.now(), prompt=self._title()) for draft in self._drafts], self._notices)

    def body(self, context: JobContext) -> Json:
        """Returns what /summarize answers with. Raises what reading and the models raise."""
        began_s = time.monotonic()
        for draft in self._missing:
            draft.status = "running"
        if not self._kept:
            self._kept, refused = self._parts.read(self._sources, context)
            self._read(refused)
            context.publish(self.data())
        documents = [kept.document for kept in self._kept]
        with self._parts.encode() as encode:
            self._make(context, documents, encode)
            context.progress(0, 0, phase="judging")
            context.publish(self.data())
            for draft in self._missing:
                author = author_of(draft.creation, draft.text)
                draft.params |= judged(draft.text, documents, author, self._options.reference, encode, context.cancel)
                draft.params.pop("notes", None)
                draft.status = "done"
                self._write([draft], duration_s=time.monotonic() - began_s, path=draft.path, finish_reason="stop")
                context.publish(self.data())
        return result_of(self._drafts)

    def end(self, context: JobContext, status: JobStatus, error: str | None) -> None:
        """Give the rows their end, with what there is."""
        for draft in self._missing:
            draft.status = status
            self._write([draft], error=error, finish_reason="cancelled" if status == "cancelled" else None)
        context.publish(self.data())

    def _title(self) -> str:
        return title_of(self._kept) if self._kept else self._drafts[0].creation.prompt

    def _note(self, **params: Any) -> None:
        """What became known about all that are missing."""
        for draft in self._missing:
            draft.params |= params

    def _read(self, refused: list[Json]) -> None:
        """The rows learn what was read, before anything is made of it."""
        self._note(
            documents=[kept.about() for kept in self._kept],
            document_ids=[kept.id for kept in self._kept],
            refused=refused,
        )
        with storage_errors(), self._parts.database.write() as uow:
            for draft in self._missing:
                uow.inputs.add(self._owner_id, [kept.record(draft.creation.id) for kept in self._kept])
                changes = {"prompt": self._title(), "params": draft.params, "status": "running"}
                uow.creations.update(self._owner_id, draft.creation.id, **changes)
            uow.commit()

    def _make(self, context: JobContext, documents: Sequence[Document], encode: Encode | None) -> None:
        """Fill the texts, and say how they were made and what was asked."""
        from engine.summary.extractive import Length

        options = self._options
        wish, length = wish_of(options, documents, self._parts.styles)
        self._note(words=length.words, sentences_wished=length.sentences)
        whole = "\n\n".join(document.text for document in documents)
        is_read_at_once = len(whole) <= ASKED_MAX_CHARS.get(wish.language, ASKED_MAX_CHARS["en"])
        self._note(asked=self._asked(wish, whole if is_read_at_once else None))
        if options.method == "extractive":
            context.progress(0, 0, phase="choosing")
            counts = length.counts_sentences or wish.style.is_list or wish.style.sentences is not None
            wished = Length(sentences=wish.sentences) if counts else Length(words=length.words)
            chosen = self._chosen(documents, wished, encode, context.cancel, is_list=wish.style.is_list)
            for draft in self._missing:
                draft.text, draft.path = chosen, {"engine": "extractive", "encoder": encode is not None and bool(options.focus)}
            return
        texts = [document.text for document in documents]
        if options.method == "hybrid":
            context.progress(0, 0, phase="choosing")
            wished = Length(words=length.words * HYBRID_TIMES)
            texts = [self._chosen(documents, wished, encode, context.cancel, is_list=False)]
        read = self._rewrite(context, texts, wish)
        if not is_read_at_once:
            self._note(asked=self._asked(wish, read))

    def _asked(self, wish: Wish, text: str | None) -> Json | None:
        """What training learns from, the question and a text that is read at once: the whole one, the same for every method, or
        what a long one's summary was written from; None for a long one that no model has read.
        """
        return None if text is None else {"system": wish.question(self._parts.styles), "text": text}

    def _chosen(
        self, documents: Sequence[Document], length: Length, encode: Encode | None, cancel: CancelToken, *, is_list: bool
    ) -> str:
        from engine.summary.extractive import extract
        from engine.summary.sentences import is_complete

        picks = extract(documents, length, focus=self._options.focus, encode=encode, cancel=cancel)
        said = [" ".join(documents[one.document].text[one.start : one.end].split()) for one in picks]
        if is_list:
            return "\n".join(f"{self._mark()}{line}" for line in said)
        space = "" if documents[0].language == "zh" else " "
        # A heading or an item has no full stop: on a line of its own it does not run into what follows.
        return "".join(f"{one}{space if is_complete(one) else chr(10)}" for one in said).strip()

    def _mark(self) -> str:
        return "- " if self._options.format == "markdown" else "• "

    def _rewrite(self, context: JobContext, texts: Sequence[str], wish: Wish) -> str:
        """Let the model write what is missing; returns what it was written from."""
        from engine.summary.abstractive import Abstractive

        context.progress(0, 0, phase="loading")
        drafts = self._missing
        notes = {key: note for draft in drafts for key, note in (draft.params.get("notes") or {}).items()}
        self._note(notes=notes)
        seeds = tuple(int(draft.creation.seed or 0) for draft in drafts)
        with self._parts.text_host.use(self._started.model_id) as model:
            work = Abstractive(model, self._parts.styles, wish, seeds, self._adapter, notes)
            began_s = time.monotonic()
            for at in work.write(texts, context.cancel):
                self._grow(context, drafts, at, time.monotonic() - began_s)
        for draft, path in zip(drafts, work.paths, strict=True):
            check_adapter(str(path.get("adapter", BASE)), self._adapter)
            draft.path = dict(path)
        return work.read

    def _grow(self, context: JobContext, drafts: Sequence[_Draft], at: Progress, elapsed_s: float) -> None:
        if at.phase == "notes":
            eta_s = elapsed_s / at.step * (at.total - at.step) if at.step else None
            context.progress(at.step, at.total, phase="notes", eta_s=eta_s)
        else:
            context.progress(at.total, at.total, phase="writing")
            for draft, text in zip(drafts, at.texts, strict=True):
                draft.text = marked(text, self._mark())
        context.publish(self.data())
        if time.monotonic() - self._written_s > KEEP_S:
            self._written_s = time.monotonic()
            self._write(drafts)

    def _write(self, drafts: Sequence[_Draft], **changes: Any) -> None:
        with storage_errors(), self._parts.database.write() as uow:
            for draft in drafts:
                values = {"output": draft.text, "params": draft.params, "status": draft.status, **changes}
                uow.creations.update(self._owner_id, draft.creation.id, **values)
            uow.commit()


def marked(text: str, mark: str) -> str:
    """Items of a list, which begin with "- ", with another mark; a dash inside a line stays."""
    return re.sub(r"^- ", mark, text, flags=re.MULTILINE)


def result_of(drafts: Sequence[_Draft]) -> dict[str, Any]:
    """What /summarize answers with: the first summary, then all of them in lists that run parallel."""
    first = drafts[0].params
    made = [
        {"summary": one.text, "sentences": one.params.get("sentences") or [], "scores": one.params.get("scores") or {}}
        for one in drafts
    ]
    return {
        "creation_id": drafts[0].creation.id,
        **made[0],
        "documents": first.get("documents") or [],
        "refused": first.get("refused") or [],
        "creation_ids": [one.creation.id for one in drafts],
        "seeds": [one.creation.seed for one in drafts],
        "summaries": made,
    }
