"""The jobs behind summaries: read documents, summarise them, judge a summary's sentences against them.

A summary's row exists before anything is read. What is known is written while it grows: documents as soon as they are read, notes
on the parts of a long one as they are taken, so that a summary that was cut off goes on from there. Knows the reader, the
backends and rows; knows no click and no page. The engines are loaded when a job needs them, so that no start waits for them.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from engine.errors import NoModelError
from engine.jobs.job import CancelToken
from engine.jobs.runner import JobContext
from engine.models.adapters import AdapterRef
from engine.services.adapters import check_adapter
from engine.services.edge import storage_errors
from engine.services.summary_documents import DocumentFiles, KeptDocument, title_of
from engine.services.summary_records import SummaryStarted, length_of, summary_data
from engine.services.taste import Encoder, EncoderHost
from engine.services.writing import TextHost
from engine.summary.document import Document
from engine.summary.reading.draft import ReadingLimits
from engine.summary.reading.read import Reading, ReadingProgress, Source, read_documents
from engine.summary.styles import SummaryStyles
from engine.types import SummaryOptions
from storage.database import Database
from storage.records import BASE, CreationRecord, JobStatus, Json

if TYPE_CHECKING:
    from engine.summary.abstractive import Progress, Wish
    from engine.summary.extractive import Encode, Length
    from engine.summary.support import JudgedSentence

log = logging.getLogger(__name__)
KEEP_S: Final = 1.0
"""How often what is known is written while a summary grows."""
ONE_SENTENCE_WORDS: Final = 40
ASKED_MAX_CHARS: Final = 6000
"""Longer texts are no examples to learn from: a training example is a prompt that is read at once."""
HYBRID_TIMES: Final = 4
"""A hybrid summary is written from so many times its length of the document's own sentences."""


@dataclass(frozen=True, slots=True)
class SummaryParts:
    """What the jobs work with."""

    database: Database
    documents: DocumentFiles
    text_host: TextHost
    encoders: EncoderHost
    styles: SummaryStyles
    limits: ReadingLimits
    tmp_dir: Path

    def read(self, sources: Sequence[Source], context: JobContext) -> tuple[tuple[KeptDocument, ...], list[Json]]:
        """Documents as they are kept, and what could not be read: [{name, message, key, values}].

        Raises the first source's error when none can be read, and CancelledError.
        """

        def report(at: ReadingProgress) -> None:
            context.progress(at.done, at.total, phase="reading", note=at.name)

        context.progress(0, 0, phase="reading")
        read: Reading = read_documents(sources, self.tmp_dir, self.limits, cancel=context.cancel, on_progress=report)
        with storage_errors():
            kept = tuple(self.documents.keep(document) for document in read.documents)
        refused: list[Json] = [
            {"name": one.name, "message": one.error.message, "key": one.error.message_key, "values": dict(one.error.values)}
            for one in read.refused
        ]
        return kept, refused

    @contextmanager
    def encode(self) -> Iterator[Encode | None]:
        """What turns sentences into vectors, each computed once; None without an encoder."""
        from engine.summary.extractive import remembering

        with ExitStack() as used:
            try:
                encoder: Encoder | None = used.enter_context(self.encoders.use_encoder())
            except NoModelError as error:
                log.info("summaries go without an encoder: %s", error)
                encoder = None
            yield None if encoder is None else remembering(encoder.encode)


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


class SummarizeJob:
    """Makes one summary. Its row exists; `body` and `end` are what the runner calls."""

    def __init__(
        self,
        owner_id: str,
        started: SummaryStarted,
        creation: CreationRecord,
        options: SummaryOptions,
        parts: SummaryParts,
        *,
        sources: Sequence[Source] = (),
        kept: Sequence[KeptDocument] = (),
        adapter: AdapterRef | None = None,
    ) -> None:
        self._owner_id = owner_id
        self._started = started
        self._creation = creation
        self._options = options
        self._parts = parts
        self._sources = sources
        self._kept = tuple(kept)
        self._adapter = adapter
        self._notices = [notice.as_json() for notice in started.notices]
        self._params: dict[str, Any] = dict(creation.params)
        self._text = creation.output
        self._status: JobStatus = "queued"
        self._written_s = 0.0

    def data(self) -> Json:
        """What followers see: all of it, at this moment."""
        now = replace(self._creation, prompt=self._title(), output=self._text, status=self._status, params=self._params)
        return summary_data(now, self._notices)

    def body(self, context: JobContext) -> Json:
        """Returns what /summarize answers with. Raises what reading and the models raise."""
        self._status, began_s = "running", time.monotonic()
        if not self._kept:
            self._kept, refused = self._parts.read(self._sources, context)
            self._read(refused)
            context.publish(self.data())
        documents = [kept.document for kept in self._kept]
        with self._parts.encode() as encode:
            path = self._make(context, documents, encode)
            context.progress(0, 0, phase="judging")
            context.publish(self.data())
            self._params |= judged(self._text, documents, self._options.reference, encode, context.cancel)
        self._params.pop("notes", None)
        self._status = "done"
        self._write(duration_s=time.monotonic() - began_s, path=path, finish_reason="stop")
        context.publish(self.data())
        return result_of(self._started, self._text, self._params)

    def end(self, context: JobContext, status: JobStatus, error: str | None) -> None:
        """Give the row its end, with what there is."""
        if self._status != "done":
            self._status = status
            self._write(error=error, finish_reason="cancelled" if status == "cancelled" else None)
        context.publish(self.data())

    def _title(self) -> str:
        return title_of(self._kept) if self._kept else self._creation.prompt

    def _read(self, refused: list[Json]) -> None:
        """The row learns what was read, before anything is made of it."""
        self._params |= {
            "documents": [kept.about() for kept in self._kept],
            "document_ids": [kept.id for kept in self._kept],
            "refused": refused,
        }
        with storage_errors(), self._parts.database.write() as uow:
            uow.inputs.add(self._owner_id, [kept.record(self._creation.id) for kept in self._kept])
            uow.creations.update(self._owner_id, self._creation.id, prompt=self._title(), params=self._params, status="running")
            uow.commit()

    def _make(self, context: JobContext, documents: Sequence[Document], encode: Encode | None) -> Json:
        """Fill the text; returns how it was made."""
        from engine.summary.abstractive import Wish
        from engine.summary.extractive import Length

        options = self._options
        said = "zh" if documents[0].language == "zh" else "en"
        language = options.language or said
        length = length_of(options, documents, language)
        self._params |= {"words": length.words, "sentences_wished": length.sentences}
        style = self._parts.styles.styles[options.style]
        wish = Wish(
            style,
            words=length.words if style.sentences is None else min(length.words, ONE_SENTENCE_WORDS),
            sentences=style.sentences or length.sentences,
            focus=options.focus,
            language=said,
            wanted=language,
        )
        self._params["asked"] = self._asked(documents, wish)
        if options.method == "extractive":
            context.progress(0, 0, phase="choosing")
            count = style.sentences or (length.sentences if length.counts_sentences or style.is_list else None)
            wished = Length(sentences=count) if count else Length(words=length.words)
            self._text = self._chosen(documents, wished, encode, context.cancel, is_list=style.is_list)
            return {"engine": "extractive", "encoder": encode is not None}
        texts = [document.text for document in documents]
        if options.method == "hybrid":
            context.progress(0, 0, phase="choosing")
            wished = Length(words=length.words * HYBRID_TIMES)
            texts = [self._chosen(documents, wished, encode, context.cancel, is_list=False)]
        return self._rewritten(context, texts, wish)

    def _asked(self, documents: Sequence[Document], wish: Wish) -> Json | None:
        """What training learns from: the question and the whole text, the same for every method; None for a longer text."""
        text = "\n\n".join(document.text for document in documents)
        if len(text) > ASKED_MAX_CHARS:
            return None
        return {"system": wish.question(self._parts.styles), "text": text}

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

    def _rewritten(self, context: JobContext, texts: Sequence[str], wish: Wish) -> Json:
        from engine.summary.abstractive import Abstractive

        context.progress(0, 0, phase="loading")
        with self._parts.text_host.use(self._started.model_id) as model:
            self._params["notes"] = notes = dict(self._params.get("notes") or {})
            work = Abstractive(model, self._parts.styles, wish, self._started.seed, self._adapter, notes)
            began_s, last = time.monotonic(), None
            for last in work.write(texts, context.cancel):
                self._grow(context, last, time.monotonic() - began_s)
        path: Json = dict((last.event.path if last and last.event else None) or {})
        check_adapter(str(path.get("adapter", BASE)), self._adapter)
        return path

    def _grow(self, context: JobContext, at: Progress, elapsed_s: float) -> None:
        if at.phase == "notes":
            eta_s = elapsed_s / at.step * (at.total - at.step) if at.step else None
            context.progress(at.step, at.total, phase="notes", eta_s=eta_s)
        else:
            context.progress(at.total, at.total, phase="writing")
            self._text = marked(at.text, self._mark())
        context.publish(self.data())
        if time.monotonic() - self._written_s > KEEP_S:
            self._write()

    def _write(self, **changes: Any) -> None:
        self._written_s = time.monotonic()
        values = {"output": self._text, "params": self._params, "status": self._status, **changes}
        with storage_errors(), self._parts.database.write() as uow:
            uow.creations.update(self._owner_id, self._creation.id, **values)
            uow.commit()


class JudgeJob:
    """Judges the sentences of a summary that somebody edited, and writes them to its row."""

    def __init__(self, owner_id: str, creation: CreationRecord, kept: Sequence[KeptDocument], parts: SummaryParts) -> None:
        self._owner_id = owner_id
        self._creation = creation
        self._kept = kept
        self._parts = parts

    def body(self, context: JobContext) -> Json:
        """Returns {"creation_id", "sentences", "scores"}."""
        creation, documents = self._creation, [kept.document for kept in self._kept]
        context.progress(0, 0, phase="judging")
        with self._parts.encode() as encode:
            found = judged(creation.output, documents, str(creation.params.get("reference") or ""), encode, context.cancel)
        with storage_errors(), self._parts.database.write() as uow:
            uow.creations.update(self._owner_id, creation.id, params={**creation.params, **found})
            uow.commit()
        return {"creation_id": creation.id, **found}


class CheckJob:
    """Judges any summary against any text. It keeps nothing."""

    def __init__(self, text: str, summary: str, parts: SummaryParts) -> None:
        self._text = text
        self._summary = summary
        self._parts = parts

    def body(self, context: JobContext) -> Json:
        """Returns {"sentences"}."""
        from engine.summary.support import judge

        read = read_documents([Source.pasted(self._text)], self._parts.tmp_dir, self._parts.limits, cancel=context.cancel)
        with self._parts.encode() as encode:
            return {
                "sentences": [as_json(one) for one in judge(self._summary, read.documents, encode=encode, cancel=context.cancel)]
            }


def marked(text: str, mark: str) -> str:
    """Items of a list, which begin with "- ", with another mark; a dash inside a line stays."""
    return re.sub(r"^- ", mark, text, flags=re.MULTILINE)


def judged(
    summary: str, documents: Sequence[Document], reference: str, encode: Encode | None, cancel: CancelToken
) -> dict[str, Any]:
    """{"sentences", "scores"} of a summary, as its row keeps them."""
    from engine.summary.scores import scores_of
    from engine.summary.support import judge

    sentences = judge(summary, documents, encode=encode, cancel=cancel)
    return {
        "sentences": [as_json(one) for one in sentences],
        "scores": scores_of(summary, documents, sentences, reference=reference),
    }


def as_json(sentence: JudgedSentence) -> dict[str, Any]:
    """One judged sentence as /summarize shows it, with its place in the summary."""
    return {
        "text": sentence.text,
        "start": sentence.start,
        "end": sentence.end,
        "sources": [
            {"document": one.document, "start": one.start, "end": one.end, "score": round(one.score, 4)}
            for one in sentence.sources
        ],
        "supported": sentence.supported,
        "flags": list(sentence.flags),
    }


def result_of(started: SummaryStarted, text: str, params: Json) -> dict[str, Any]:
    """What /summarize answers with."""
    return {
        "creation_id": started.creation_id,
        "summary": text,
        "sentences": params.get("sentences") or [],
        "documents": params.get("documents") or [],
        "refused": params.get("refused") or [],
        "scores": params.get("scores") or {},
    }
