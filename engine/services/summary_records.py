"""What the summary service answers with and what its rows keep. Knows names and numbers; knows no model and no page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from engine.services.click import Started
from engine.services.notices import LANGUAGE_NAMES, Notice
from engine.summary.document import Document
from engine.types import SummaryOptions
from storage.records import CreationRecord, JobRecord, Json, RatingRecord

SUMMARIZE: Final = "summarize"
READ: Final = "read"
JUDGE: Final = "judge"
"""Kinds of jobs: summarise, read documents, judge a summary's sentences."""
_SHARES: Final[Mapping[str, tuple[float, int, int]]] = {
    "short": (0.05, 30, 60),
    "medium": (0.10, 60, 150),
    "long": (0.20, 120, 400),
}
"""Share of the document's words, at least and at most so many of them."""
_MOST: Final = 0.6
"""A summary is never longer than this share of what it summarises."""
_WORDS_PER_SENTENCE: Final = 18
_CHINESE_PER_WORD: Final = 1.7
"""Chinese characters that say what an English word says."""


@dataclass(frozen=True, slots=True)
class Length:
    """A wished length, resolved: about so many words (Chinese: characters), in about so many sentences."""

    words: int
    sentences: int
    counts_sentences: bool
    """Whether it is the sentences that were asked for."""


def length_of(options: SummaryOptions, documents: Sequence[Document], language: str) -> Length:
    """What options.length means for these documents and a summary in that language."""
    total = sum(one.words for one in documents)
    per_word = _CHINESE_PER_WORD if language == "zh" else 1.0
    per_sentence = _WORDS_PER_SENTENCE * per_word
    wished = options.length
    if isinstance(wished, Mapping):
        ((kind, value),) = wished.items()
        if kind == "sentences":
            return Length(round(value * per_sentence), value, counts_sentences=True)
        words = value if kind == "words" else max(1, round(total * value / 100))
    else:
        share, least, most = _SHARES[wished]
        words = round(min(max(total * share, least * per_word), most * per_word, max(10, total * _MOST)))
    return Length(words, max(1, round(words / per_sentence)), counts_sentences=False)


@dataclass(frozen=True, slots=True)
class SummaryStarted(Started):
    """What a click on Summarise began. The tuples run parallel: one place for each summary."""

    creation_ids: tuple[str, ...]
    turn_id: str
    model_id: str
    adapter_id: str
    seeds: tuple[int, ...]
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True, slots=True)
class SummaryVersion:
    """One summary with what its rater said of it."""

    creation: CreationRecord
    rating: RatingRecord | None = None
    is_picked: bool = False
    """Whether the rater chose it over others of the same documents and none of them over it."""

    @property
    def can_resume(self) -> bool:
        """Whether it was cut off and can go on."""
        return self.creation.status in ("interrupted", "cancelled", "failed") and self.creation.origin == "generated"


@dataclass(frozen=True, slots=True)
class SummaryTurn:
    """All summaries that were made of the same documents as versions of each other, oldest first."""

    turn_id: str
    title: str
    documents: tuple[Json, ...]
    """See KeptDocument.about."""
    versions: tuple[SummaryVersion, ...]


@dataclass(frozen=True, slots=True)
class EditedSummary:
    """The version that an edit made, the preference that says it beats the old one, and the job that judges its sentences."""

    creation_id: str
    preference_id: str
    job_id: str


def summary_data(creations: Sequence[CreationRecord], notices: Sequence[Json]) -> dict[str, Any]:
    """What followers of the job see, from its rows; they share everything but what was written."""
    first = creations[0]
    return {
        "turn_id": first.turn_id,
        "title": first.prompt,
        "method": first.params.get("method"),
        "style": first.params.get("style"),
        "model_id": first.model_id,
        "adapter_id": first.adapter_id,
        "documents": list(first.params.get("documents") or ()),
        "refused": list(first.params.get("refused") or ()),
        "notices": list(notices),
        "creations": [
            {
                "id": one.id,
                "text": one.output,
                "status": one.status,
                "seed": one.seed,
                "sentences": list(one.params.get("sentences") or ()),
                "scores": one.params.get("scores"),
                "error": one.error,
            }
            for one in creations
        ],
    }


def started_of(job: JobRecord) -> SummaryStarted:
    """What the click began, from its job's row; rows from before one click could begin several name one summary."""
    request = dict(job.request)
    if "creation_id" in request:
        request |= {"creation_ids": [request["creation_id"]], "seeds": [request["seed"]]}
    return SummaryStarted.from_json(job.id, request)


def params_of(options: SummaryOptions) -> dict[str, Any]:
    """What was asked for, as the row records it."""
    length = options.length
    return {
        "method": options.method,
        "style": options.style,
        "length": dict(length) if isinstance(length, Mapping) else length,
        "format": options.format,
        "language": options.language,
        "focus": options.focus,
        "reference": options.reference,
    }


def options_again(creation: CreationRecord) -> SummaryOptions:
    """The options that made a summary."""
    params = creation.params
    return SummaryOptions(
        method=params["method"],
        style=params["style"],
        length=params["length"],
        format=params["format"],
        language=params["language"],
        focus=params["focus"],
        reference=params["reference"],
        model=None if params["method"] == "extractive" else creation.model_id,
        adapter=creation.adapter_id,
        seed=creation.seed,
    )


def foreign_notice(document: str, wanted: str, model_name: str) -> Notice:
    """Say that the model does not write the summary's language, and what does."""
    values = {"model": model_name, "wanted": wanted, "document": document}
    said = LANGUAGE_NAMES.get(wanted, wanted)
    text = f"{model_name} does not write {said} well. Choose an extractive summary, or get a model for {said} on the Models page."
    return Notice("notice.summary_language", values, text)


def kept_language_notice(document: str, wanted: str) -> Notice:
    """Say that a document's own sentences stay in its language."""
    values = {"wanted": wanted, "document": document}
    has, said = LANGUAGE_NAMES.get(document, document), LANGUAGE_NAMES.get(wanted, wanted)
    text = f"An extractive summary keeps the document's own sentences, in {has}. For {said} choose abstractive."
    return Notice("notice.summary_kept_language", values, text)


def invents_notice(model_name: str) -> Notice:
    """Say that the model is known to invent, how that is seen, and what does not."""
    text = (
        f"{model_name} is small and invents much of what it writes. Trust only what you find in the document; "
        "an extractive summary quotes it."
    )
    return Notice("notice.summary_invents", {"model": model_name}, text)


def unread_notice(language: str) -> Notice:
    """Say that the document's language is none that summaries are made for."""
    said = LANGUAGE_NAMES.get(language, language)
    text = f"The document seems to be in {said}. Summaries are made for English and Chinese; look at this one with care."
    return Notice("notice.summary_other_language", {"language": language}, text)
