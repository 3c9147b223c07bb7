"""Whether a summary is backed by its documents: for every sentence its sources, and whether what it says stands there.

A small logistic regression over the readable figures of `alignment` decides; its weights (assets/summary_support.json) are fitted
by `python -m bench.summary.fit_support` on documents marked "dev". Their signs are fixed: likeness to the source can only speak
for a sentence, a number or a name from elsewhere only against it, so that what it learned can be read. It does not reason: it
misses an invention that is made of the document's own words. A model known to invent is trusted less than a person: what a small
one says and is true it mostly says in the document's words. Knows texts and a function that encodes them; knows no database.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import exp
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from engine.jobs.job import CancelToken
from engine.summary.alignment import FEATURES, SourceIndex
from engine.summary.extractive import Encode, Text
from engine.summary.passages import Evidence
from engine.summary.sentences import sentence_spans

Flag: TypeAlias = Literal["number", "name", "negation"]
WEIGHTS_PATH: Final = Path(__file__).resolve().parent.parent.parent / "assets" / "summary_support.json"
THRESHOLD: Final = 0.5
_ITEM: Final = re.compile(r"^\s*(?:[-*•·–—]|#{1,6}|\(?\d{1,2}[.)、])\s*")
_LOOSE: Final = re.compile(r"[\s\W]+")


@dataclass(frozen=True, slots=True)
class SourceLink:
    """One passage that a sentence may come from: `documents[document].text[start:end]`; `score` is its fit, 0 … 1."""

    document: int
    start: int
    end: int
    score: float


@dataclass(frozen=True, slots=True)
class JudgedSentence:
    """One sentence of a summary, `summary[start:end]`."""

    text: str
    start: int
    end: int
    sources: tuple[SourceLink, ...]
    """Best first; empty when nothing fits at all."""
    supported: bool
    doubt: float
    """Estimated probability that the documents do not say it, 0 … 1."""
    flags: tuple[Flag, ...]
    """A number or a name that occurs in no document; "negation": the likeliest source says the opposite."""


@dataclass(frozen=True, slots=True)
class Author:
    """The model that wrote a summary, by id, and all that it wrote: other sentences of the summary are a person's."""

    model_id: str
    wrote: str


@dataclass(frozen=True, slots=True)
class SupportModel:
    """Weights by name of the figure."""

    bias: float
    weights: Mapping[str, float]
    authors: Mapping[str, float]
    """By a model's id: what is added for its sentences, in log-odds."""

    def doubt(self, figures: npt.NDArray[np.float64], author: str = "") -> float:
        """Probability that a sentence with these figures has no support; `author`: id of the model that wrote it."""
        total = self.bias + self.authors.get(author, 0.0)
        total += sum(self.weights.get(name, 0.0) * float(value) for name, value in zip(FEATURES, figures, strict=True))
        return 1 / (1 + exp(-max(-30.0, min(30.0, total))))


def judge(
    summary: str,
    documents: Sequence[Text],
    *,
    encode: Encode | None = None,
    cancel: CancelToken | None = None,
    author: Author | None = None,
) -> tuple[JudgedSentence, ...]:
    """Judge every sentence of a summary, in order; without `author` a person wrote it. Raises CancelledError on `cancel`.

    Without `encode`, and in languages that the encoder does not know, shared terms alone decide.
    """
    index = SourceIndex(documents, encode, cancel or CancelToken())
    model = support_model(model_name(index))
    whole = [_loose(one.text) for one in documents]
    return tuple(_judged(summary, start, end, index, model, whole, author) for start, end in sentence_spans(summary))


def is_copy(sentence: str, documents: Sequence[Text]) -> bool:
    """Whether a document holds it word for word, so that it is never judged by figures."""
    return _stands_in(_ITEM.sub("", sentence), [_loose(one.text) for one in documents])


def model_name(index: SourceIndex) -> str:
    """Which weights judge by this index: "zh", "en" with an encoder, or "terms"."""
    return "zh" if index.language == "zh" else "en" if index.has_encoder else "terms"


def support_model(name: str) -> SupportModel:
    """The fitted weights of that name."""
    found = _read(WEIGHTS_PATH)[name]
    weights, authors = ({key: float(value) for key, value in found[part].items()} for part in ("weights", "authors"))
    return SupportModel(float(found["bias"]), weights, authors)


@cache
def _read(path: Path) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _judged(
    summary: str, start: int, end: int, index: SourceIndex, model: SupportModel, whole: Sequence[str], author: Author | None
) -> JudgedSentence:
    text = summary[start:end]
    said = _ITEM.sub("", text)
    if _stands_in(said, whole):
        return JudgedSentence(text, start, end, _sources(index, index.evidence(said)), True, 0.0, ())
    aligned = index.align(said)
    sources = _sources(index, aligned.evidence)
    writer = author.model_id if author is not None and text in author.wrote else ""
    doubt = model.doubt(aligned.figures, writer) if sources else 1.0
    return JudgedSentence(text, start, end, sources, doubt < THRESHOLD, doubt, _flags(aligned.flags))


def _sources(index: SourceIndex, evidence: Evidence) -> tuple[SourceLink, ...]:
    found = ((index.sentences[place], score) for place, score in evidence if score > 0)
    return tuple(SourceLink(one.document, one.start, one.end, score) for one, score in found)


def _flags(names: Sequence[str]) -> tuple[Flag, ...]:
    order: tuple[Flag, ...] = ("number", "name", "negation")
    return tuple(flag for flag in order if flag in names)


def _stands_in(said: str, whole: Sequence[str]) -> bool:
    """Word for word; `whole`: the documents as `_loose` gives them."""
    loose = _loose(said)
    return bool(loose) and any(loose in one for one in whole)


def _loose(text: str) -> str:
    return _LOOSE.sub("", text).casefold()
