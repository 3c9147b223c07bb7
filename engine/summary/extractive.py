"""The sentences of documents that say most of them in a given length: picked, not written.

Picked are those whose words are the likeliest in a person's summary (`wording`), together and within the budget (`selection`);
headings, fragments and questions only where statements do not fill it. A question moves the choice to what answers it, in shared
terms and in meaning. Long documents are read in blocks, of which the most central sentences (LexRank on shared terms) meet, so
that neither memory nor time grows with the square. Knows texts and a function that encodes them; knows no model and no database.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from engine.errors import BadOptionError, NotEnoughDataError
from engine.jobs.job import CancelToken
from engine.summary.centrality import Vector, lexrank
from engine.summary.document import count_words
from engine.summary.selection import Candidates, select
from engine.summary.sentences import is_complete, sentence_spans
from engine.summary.terms import inverse_frequencies, terms, weighted
from engine.summary.wording import Wording, expected, pairs

Encode: TypeAlias = Callable[[Sequence[str]], npt.NDArray[np.float32]]
"""Texts → float32 [texts, width], each of length 1."""

BLOCK: Final = 256
"""Sentences in one graph of the first level."""
FINALISTS: Final = 256
"""Sentences that meet in the last choice, unless more are wished for."""
MOST_PICKS: Final = 200
"""Of one choice; a longer summary is made part by part."""
ENCODE_ROWS: Final = 32
"""Sentences encoded between two looks at the cancel token."""
ENCODED_LANGUAGES: Final = frozenset({"en"})
"""Where the encoder's likeness helps; the starter encoder knows English."""
MIN_TERMS: Final = {"zh": 8}
MIN_TERMS_ELSEWHERE: Final = 4
"""A sentence with fewer different ones says nothing alone; Chinese ones are pairs of characters."""
FLOOR: Final = 0.15
"""Likeness below this is no link of the graph."""
PAIR_WEIGHT: Final = 3.0
"""What a pair of neighbouring words counts beside a word."""
SENTENCE: Final = 0.5
"""What a sentence costs, in words that a summary would hold: few full ones read better than many short ones."""
CENTRAL: Final = 0.012
"""What a word of a sentence of average centrality counts besides."""
FOCUS: Final = 3.0
"""The same for a word of the sentence that answers the question best."""
HEADING_WORDS: Final = 12
"""A line without a full stop and with no more words is a heading; a question may be about what stands below it."""
_QUESTION: Final = re.compile(r"[?？][\"'”’」』）)]*$")


class Text(Protocol):
    """What of a document is read here."""

    @property
    def title(self) -> str:
        """What it is about; may be empty."""

    @property
    def text(self) -> str:
        """All of it; offsets are into this."""

    @property
    def language(self) -> str:
        """ISO 639-1 code."""


@dataclass(frozen=True, slots=True)
class Length:
    """How long a summary is to be: exactly one of them. Raises BadOptionError for none, several, or one out of range."""

    words: int | None = None
    """Chinese: characters."""
    sentences: int | None = None
    percent: float | None = None
    """Of the documents' words."""

    def __post_init__(self) -> None:
        given = [value for value in (self.words, self.sentences, self.percent) if value is not None]
        if len(given) != 1 or not 0 < given[0] <= (100 if self.percent is not None else 1_000_000):
            raise BadOptionError("Give the length as one of words, sentences or percent, above 0.", key="error.summary_length")


@dataclass(frozen=True, slots=True)
class Picked:
    """One sentence, `documents[document].text[start:end]`."""

    document: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Sentence:
    document: int
    start: int
    end: int
    words: int
    terms: tuple[str, ...]
    heading: tuple[str, ...]
    """Terms of the heading it stands below."""
    is_statement: bool
    """A whole sentence that asks nothing and says something."""


def extract(
    documents: Sequence[Text],
    length: Length,
    *,
    focus: str = "",
    encode: Encode | None = None,
    cancel: CancelToken | None = None,
) -> tuple[Picked, ...]:
    """The picks in the documents' order, together within 10 % of `length` (or as near as whole sentences come).

    `focus` is a question they should answer; only it needs `encode`, without which shared terms alone decide. Raises
    NotEnoughDataError when there is no sentence, CancelledError when `cancel` says so.
    """
    work = _Extraction(documents, focus, encode, cancel or CancelToken())
    picks = [Picked(one.document, one.start, one.end) for one in work.picks(length)]
    return tuple(sorted(picks, key=lambda one: (one.document, one.start)))


def remembering(encode: Encode) -> Encode:
    """The same function, which computes no text twice: what was picked from is also what a summary is judged against."""
    known: dict[str, npt.NDArray[np.float32]] = {}

    def recall(texts: Sequence[str]) -> npt.NDArray[np.float32]:
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        if missing:
            known.update(zip(missing, encode(missing), strict=True))
        return np.stack([known[text] for text in texts])

    return recall


class _Extraction:
    """One request. All sentences stay in memory, similarities only of one block."""

    def __init__(self, documents: Sequence[Text], focus: str, encode: Encode | None, cancel: CancelToken) -> None:
        self._documents = documents
        self._encode = encode if all(one.language in ENCODED_LANGUAGES for one in documents) else None
        self._cancel = cancel
        self._focus = focus.strip()
        self._focus_terms = frozenset(terms(self._focus, documents[0].language)) if self._focus and documents else frozenset()
        self._sentences = [one for number in range(len(documents)) for one in self._read(number)]
        self._inverse = inverse_frequencies(one.terms for one in self._sentences)

    def picks(self, length: Length) -> list[_Sentence]:
        """The chosen sentences, in no order."""
        if not self._sentences:
            raise NotEnoughDataError("There is no sentence to pick: the text is empty.", key="error.summary_empty")
        everything = sum(one.words for one in self._sentences)
        by_count = length.sentences is not None
        budget = float(length.sentences or length.words or max(1.0, everything * (length.percent or 0) / 100))
        usable = [one for one in self._sentences if one.is_statement]
        if budget > sum(1 if by_count else one.words for one in usable):
            usable = self._sentences
        words = sum(one.words for one in usable)
        if budget >= (len(usable) if by_count else words):
            return usable
        wanted = budget if by_count else budget * len(usable) / max(1, words)
        parts = ceil(wanted / MOST_PICKS)
        size = ceil(len(usable) / parts)
        found: list[_Sentence] = []
        for first in range(0, len(usable), size):
            part = usable[first : first + size]
            share = len(part) / len(usable) if by_count else sum(one.words for one in part) / words
            finalists = self._finalists(part, max(FINALISTS, round(3 * wanted * share)))
            budget_here = max(1.0, budget * share)
            mean = sum(one.words for one in finalists) / len(finalists)
            candidates = self._candidates(finalists, by_count, budget_here * mean if by_count else budget_here)
            found += [finalists[place] for place in select(candidates, budget_here)]
        return found

    def _read(self, number: int) -> list[_Sentence]:
        document = self._documents[number]
        text, least = document.text, MIN_TERMS.get(document.language, MIN_TERMS_ELSEWHERE)
        found: list[_Sentence] = []
        heading: tuple[str, ...] = ()
        for start, end in sentence_spans(text):
            if len(found) % BLOCK == 0:
                self._cancel.check()
            said = text[start:end]
            words = count_words(said)
            if words:
                held = tuple(terms(said, document.language))
                is_whole = is_complete(said)
                is_statement = len(set(held)) >= least and is_whole and not _QUESTION.search(said)
                found.append(_Sentence(number, start, end, words, held, heading, is_statement))
                heading = heading if is_whole or words > HEADING_WORDS else held
        return found

    def _finalists(self, sentences: list[_Sentence], most: int) -> list[_Sentence]:
        """The most central ones of each block, until no more than `most` are left; in order."""
        while len(sentences) > most:
            blocks = [sentences[first : first + BLOCK] for first in range(0, len(sentences), BLOCK)]
            left: list[_Sentence] = []
            for block in blocks:
                self._cancel.check()
                worth = self._centrality(block, self._shared(block) if self._focus else None)
                keep = max(1, min(len(block) // 2, most * len(block) // len(sentences)))
                left += [block[place] for place in sorted(np.argsort(-worth, kind="stable")[:keep])]
            if len(left) == len(sentences):
                break
            sentences = left
        return sentences

    def _candidates(self, sentences: list[_Sentence], by_count: bool, words: float) -> Candidates:
        """What the choice needs, for a summary of that many words."""
        language = self._documents[sentences[0].document].language
        wording = Wording(self._texts(sentences), language, " ".join(one.title for one in self._documents))
        of_words, of_pairs = expected(wording, words)
        places = {key: place for place, key in enumerate((*of_words, *of_pairs))}
        rates = np.array([*of_words.values(), *of_pairs.values()])
        weights = np.array([1.0] * len(of_words) + [PAIR_WEIGHT] * len(of_pairs))
        counts = [Counter[str | tuple[str, str]]((*one, *pairs(one))) for one in wording.sentences]
        holds = [{places[key]: count for key, count in one.items()} for one in counts]
        sizes = np.array([1 if by_count else one.words for one in sentences], np.float64)
        documents = np.array([one.document for one in sentences])
        counting = FOCUS * self._answers(sentences) if self._focus else CENTRAL * self._centrality(sentences)
        bonus = np.array([one.words for one in sentences]) * counting - SENTENCE
        return Candidates(sizes, holds, rates, weights, np.asarray(bonus, np.float64), documents)

    def _answers(self, sentences: list[_Sentence]) -> Vector:
        """[n] how well each answers the question, about 2 for the best."""
        near = self._shared(sentences)
        if self._encode is not None:
            rows, texts = [], self._texts(sentences)
            for first in range(0, len(texts), ENCODE_ROWS):
                self._cancel.check()
                rows.append(self._encode(texts[first : first + ENCODE_ROWS]))
            near = near + np.maximum(np.concatenate(rows) @ self._encode([self._focus])[0], 0)
        spread = self._centrality(sentences, near) if near.any() else near
        return np.asarray(near / max(float(near.max()), 1e-9) + 0.3 * np.minimum(spread, 3), np.float32)

    def _centrality(self, sentences: list[_Sentence], start: Vector | None = None) -> Vector:
        vectors = weighted([one.terms for one in sentences], self._inverse)
        return lexrank(np.asarray(vectors @ vectors.T, np.float32), FLOOR, start)

    def _shared(self, sentences: list[_Sentence]) -> Vector:
        """[n] share of the question's terms, by weight, that each holds; half of it for those that only its heading holds."""
        total = self._weight(self._focus_terms) or 1.0
        found = []
        for one in sentences:
            said = self._focus_terms.intersection(one.terms)
            above = self._focus_terms.intersection(one.heading) - said
            found.append((self._weight(said) + self._weight(above) / 2) / total)
        return np.array(found, np.float32)

    def _weight(self, of: Iterable[str]) -> float:
        return sum(self._inverse.get(term, 1.0) for term in of)

    def _texts(self, sentences: Sequence[_Sentence]) -> list[str]:
        return [self._documents[one.document].text[one.start : one.end] for one in sentences]
