"""What the jobs behind summaries work with: the reader, the encoder, styles; and what judging a summary gives.

Knows the reader, models' hosts and files; knows no row, no click and no page. The engines are loaded when a job needs them, so
that no start waits for them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from engine.errors import NoModelError
from engine.jobs.job import CancelToken
from engine.jobs.runner import JobContext
from engine.services.edge import storage_errors
from engine.services.summary_documents import DocumentFiles, KeptDocument
from engine.services.summary_records import Length, length_of
from engine.services.taste import Encoder, EncoderHost
from engine.services.writing import TextHost
from engine.summary.document import Document, count_words
from engine.summary.language import document_language
from engine.summary.reading.draft import ReadingLimits
from engine.summary.reading.read import Reading, ReadingProgress, Source, read_documents
from engine.summary.styles import SummaryStyles
from engine.types import SummaryOptions
from storage.database import Database
from storage.records import CreationRecord, Json

if TYPE_CHECKING:
    from engine.summary.abstractive import Wish
    from engine.summary.extractive import Encode
    from engine.summary.support import Author, JudgedSentence

log = logging.getLogger(__name__)
ONE_SENTENCE_WORDS: Final = 40
WRITTEN: Final = "written"
"""In the params of a summary that somebody edited: what was written before the first edit, by a model or out of the documents."""


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


def wish_of(options: SummaryOptions, documents: Sequence[Document], styles: SummaryStyles) -> tuple[Wish, Length]:
    """What the options mean for these documents: what a model is asked for, and the wished length, resolved."""
    from engine.summary.abstractive import Wish

    said = "zh" if documents[0].language == "zh" else "en"
    language = options.language or said
    length = length_of(options, documents, language)
    style = styles.styles[options.style]
    wish = Wish(
        style,
        words=length.words if style.sentences is None else min(length.words, ONE_SENTENCE_WORDS),
        sentences=style.sentences or length.sentences,
        focus=options.focus,
        language=said,
        wanted=language,
    )
    return wish, length


def asked_about(text: str, styles: SummaryStyles) -> tuple[Json, ...]:
    """The messages by which a model is asked for a summary of a text, with every option left at its default."""
    document = Document("", text, document_language(text), count_words(text))
    wish, _ = wish_of(SummaryOptions(), [document], styles)
    return ({"role": "system", "content": wish.question(styles)}, {"role": "user", "content": text})


def judged(
    summary: str,
    documents: Sequence[Document],
    author: Author | None,
    reference: str,
    encode: Encode | None,
    cancel: CancelToken,
) -> dict[str, Any]:
    """{"sentences", "scores"} of a summary, as its row keeps them."""
    from engine.summary.scores import scores_of
    from engine.summary.support import judge

    sentences = judge(summary, documents, encode=encode, cancel=cancel, author=author)
    return {
        "sentences": [as_json(one) for one in sentences],
        "scores": scores_of(summary, documents, sentences, reference=reference),
    }


def invents(model_id: str) -> bool:
    """Whether the model is known to write what stands in no document."""
    from engine.summary.support import support_model

    return model_id in support_model("en").authors


def author_of(creation: CreationRecord, wrote: str) -> Author | None:
    """Who wrote what of a summary stands in `wrote`: its model, unless all of it was picked from the documents."""
    from engine.summary.support import Author

    return None if creation.params["method"] == "extractive" else Author(creation.model_id, wrote)


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
