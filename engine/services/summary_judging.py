"""The jobs that judge the sentences of a summary, of one that somebody edited or of any text and summary.

Knows the reader, the encoder and rows; knows no text model, no click and no page.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.jobs.runner import JobContext
from engine.services.edge import storage_errors
from engine.services.summary_documents import KeptDocument
from engine.services.summary_parts import WRITTEN, SummaryParts, as_json, author_of, judged
from engine.summary.reading.read import Source, read_documents
from storage.records import CreationRecord, Json


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
            author, reference = author_of(creation, creation.params.get(WRITTEN, "")), str(creation.params.get("reference") or "")
            found = judged(creation.output, documents, author, reference, encode, context.cancel)
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
