"""The sentences of documents that say most of them in a given length: picked, not written.

A sentence is worth what the others say too (LexRank on shared terms and, in the encoder's language, on meaning), a little more
where writers put what matters, less when it is a fragment or a question. Documents of any length are read in blocks, whose best
sentences meet again in one graph, so that neither memory nor time grows with the square; only those are encoded. Which of them
are picked together is `selection`'s work. Knows texts and a function that encodes them; knows no model, no file and no database.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, log
from typing import Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from engine.errors import BadOptionError, NotEnoughDataError
from engine.jobs.job import CancelToken
from engine.summary.centrality import Matrix, Vector, lexrank
from engine.summary.document import count_words
from engine.summary.selection import Candidates, Weights, select
from engine.summary.sentences import is_complete, sentence_spans
from engine.summary.terms import inverse_frequencies, terms, weighted

Encode: TypeAlias = Callable[[Sequence[str]], npt.NDArray[np.float32]]
"""Texts → float32 [texts, width], each of length 1."""

BLOCK: Final = 256
"""Sentences in one graph of the first level."""
FINALISTS: Final = 256
"""Sentences that meet in the last graph, unless more are wished for. To encode them takes most of the time."""
MOST_PICKS: Final = 200
"""Of one graph; a longer summary is made part by part."""
MAX_TERMS: Final = 4000
ENCODE_ROWS: Final = 32
"""Sentences encoded between two looks at the cancel token."""
ENCODED_LANGUAGES: Final = frozenset({"en"})
"""Where the encoder's likeness helps; the starter encoder knows English."""
MIN_WORDS: Final = {"zh": 8}
MIN_WORDS_ELSEWHERE: Final = 5
"""What is shorter says nothing alone."""
_QUESTION: Final = re.compile(r"[?？][\"'”’」』）)]*$")
_NAMED: Final = re.compile(r"(?<=[a-z,;] )[A-Z]\w+")
_FIGURE: Final = re.compile(r"\d+(?:[.,]\d+)*|[二三四五六七八九十百千万亿]{2,}")
_QUOTED: Final = re.compile(r"[\"“”「『]")


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
    """One sentence, `documents[document].text[start:end]`; `score` is its worth beside the other picks, the best one's is 1."""

    document: int
    start: int
    end: int
    score: float


@dataclass(frozen=True, slots=True)
class Priors:
    """What counts how much for a sentence alone; tuned on the documents of bench/summary that are marked "dev"."""

    meaning: float = 0.15
    """Share of the encoder's likeness in the graph; the rest are shared terms."""
    floor: float = 0.15
    """Likeness below this is no link of the graph."""
    lead: float = 0.1
    """For the very beginning of a document; fades out over its first quarter."""
    fragment: float = 0.3
    """Factor for headings, items, signatures."""
    question: float = 0.5
    quoted: float = 0.9
    """Factor for what somebody says: a summary says it itself."""
    title: float = 0.2
    """For all of the title's words; less for some."""
    named: float = 0.15
    """For a name or another capital inside: sentences that say who."""
    figures: float = 0.1
    """Taken away for figures upon figures; a table's row is no summary."""
    focus: float = 3.0


PRIORS: Final = {"zh": Priors(floor=0.06, fragment=0.2, quoted=0.75, title=0.3, figures=0.2)}
"""By language, where they differ: pairs of characters make weaker links that still tell."""


@dataclass(frozen=True, slots=True)
class _Sentence:
    document: int
    start: int
    end: int
    words: int
    place: float
    """Where it begins, 0 … 1 of its document."""
    terms: tuple[str, ...]
    prior: float


def extract(
    documents: Sequence[Text],
    length: Length,
    *,
    focus: str = "",
    encode: Encode | None = None,
    cancel: CancelToken | None = None,
    priors: Priors | None = None,
    weights: Weights | None = None,
) -> tuple[Picked, ...]:
    """The picks in the documents' order, together within 10 % of `length` (or as near as whole sentences come).

    `focus` is a question they should answer. Without `encode` shared terms alone decide. Raises NotEnoughDataError when there
    is no sentence, CancelledError when `cancel` says so.
    """
    priors = priors or PRIORS.get(documents[0].language if documents else "", Priors())
    work = _Extraction(documents, focus, encode, cancel or CancelToken(), priors, weights or Weights())
    picks = work.picks(length)
    best = max(worth for _, worth in picks)
    ordered = sorted(picks, key=lambda one: (one[0].document, one[0].start))
    return tuple(Picked(one.document, one.start, one.end, worth / best if best > 0 else 0.0) for one, worth in ordered)


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
    """One request. All sentences stay in memory, similarities only of one block or of the finalists."""

    def __init__(
        self,
        documents: Sequence[Text],
        focus: str,
        encode: Encode | None,
        cancel: CancelToken,
        priors: Priors,
        weights: Weights,
    ) -> None:
        self._documents = documents
        self._encode = encode if all(one.language in ENCODED_LANGUAGES for one in documents) else None
        self._cancel = cancel
        self._priors = priors
        self._weights = weights
        self._focus = focus.strip()
        self._focus_terms = tuple(terms(self._focus, documents[0].language)) if documents else ()
        self._sentences = [one for number in range(len(documents)) for one in self._read(number)]
        self._inverse = inverse_frequencies(one.terms for one in self._sentences)

    def picks(self, length: Length) -> list[tuple[_Sentence, float]]:
        """The chosen sentences with their worth, in no order."""
        if not self._sentences:
            raise NotEnoughDataError("There is no sentence to pick: the text is empty.", key="error.summary_empty")
        everything = sum(one.words for one in self._sentences)
        by_count = length.sentences is not None
        budget = float(length.sentences or length.words or max(1.0, everything * (length.percent or 0) / 100))
        usable = [one for one in self._sentences if one.prior > 0] or self._sentences
        words = sum(one.words for one in usable)
        if budget >= (len(usable) if by_count else words):
            return [(one, 1.0) for one in usable]
        wanted = budget if by_count else budget * len(usable) / max(1, words)
        parts = ceil(wanted / MOST_PICKS)
        size = ceil(len(usable) / parts)
        found: list[tuple[_Sentence, float]] = []
        for first in range(0, len(usable), size):
            part = usable[first : first + size]
            share = len(part) / len(usable) if by_count else sum(one.words for one in part) / words
            finalists = self._finalists(part, max(FINALISTS, round(3 * wanted * share)))
            candidates = self._candidates(finalists, by_count, round(wanted * share))
            chosen = select(candidates, max(1.0, budget * share), self._weights)
            found += [(finalists[place], float(candidates.worth[place])) for place in chosen]
        return found

    def _read(self, number: int) -> list[_Sentence]:
        document = self._documents[number]
        text, least = document.text, MIN_WORDS.get(document.language, MIN_WORDS_ELSEWHERE)
        title = frozenset(terms(document.title, document.language))
        found: list[_Sentence] = []
        for start, end in sentence_spans(text):
            if len(found) % BLOCK == 0:
                self._cancel.check()
            said = text[start:end]
            words = count_words(said)
            if words:
                place = start / len(text)
                held = tuple(terms(said, document.language))
                prior = self._prior(said, words, place) if words >= least else 0.0
                if prior and title:
                    prior *= 1 + self._priors.title * len(title.intersection(held)) / len(title)
                found.append(_Sentence(number, start, end, words, place, held, prior))
        return found

    def _prior(self, said: str, words: int, place: float) -> float:
        priors = self._priors
        prior = 1 + priors.lead * max(0.0, 1 - 4 * place)
        prior += priors.named * bool(_NAMED.search(said))
        prior *= 1 - priors.figures * min(1.0, 4 * len(_FIGURE.findall(said)) / words)
        if _QUESTION.search(said):
            prior *= priors.question
        elif not is_complete(said):
            prior *= priors.fragment
        if _QUOTED.search(said):
            prior *= priors.quoted
        return prior

    def _finalists(self, sentences: list[_Sentence], most: int) -> list[_Sentence]:
        """The most central ones of each block, until no more than `most` are left; in order."""
        while len(sentences) > most:
            blocks = [sentences[first : first + BLOCK] for first in range(0, len(sentences), BLOCK)]
            left: list[_Sentence] = []
            for block in blocks:
                self._cancel.check()
                vectors = weighted([one.terms for one in block], self._inverse)
                worth = self._worth(block, vectors @ vectors.T)
                keep = max(1, min(len(block) // 2, most * len(block) // len(sentences)))
                left += [block[place] for place in sorted(np.argsort(-worth, kind="stable")[:keep])]
            if len(left) == len(sentences):
                break
            sentences = left
        return sentences

    def _candidates(self, sentences: list[_Sentence], by_count: bool, wanted: int) -> Candidates:
        vectors = weighted([one.terms for one in sentences], self._inverse)
        similarity = np.asarray(vectors @ vectors.T, np.float32)
        meant = self._meaning(sentences)
        closeness = None
        if meant is not None:
            share = self._priors.meaning
            similarity = np.asarray((1 - share) * similarity + share * np.maximum(meant[0] @ meant[0].T, 0), np.float32)
            closeness = meant[1]
        holds, worth = self._terms(sentences)
        sizes = np.array([1 if by_count else one.words for one in sentences], np.float32)
        parts = max(1, min(wanted, 12))
        count = len(self._documents)
        places = [one.document * parts + min(parts - 1, int(one.place * parts)) for one in sentences]
        if count > 1 and wanted < count * parts:
            places = [place // max(1, round(count * parts / max(wanted, 1))) for place in places]
        central = self._worth(sentences, similarity, closeness)
        return Candidates(sizes, central, self._fitness(sentences), similarity, holds, worth, np.array(places))

    def _worth(self, sentences: list[_Sentence], similarity: Matrix, closeness: Vector | None = None) -> Vector:
        """Centrality times what is known beforehand, [n]; with a question first of all how near to it a sentence is."""
        centrality = lexrank(similarity, self._priors.floor)
        worth = np.asarray(centrality * self._fitness(sentences), np.float32)
        if self._focus:
            asked = set(self._focus_terms)
            said = sum(self._inverse.get(term, 1.0) for term in asked) or 1.0
            near = np.array(
                [sum(self._inverse.get(t, 1.0) for t in asked & set(one.terms)) / said for one in sentences], np.float32
            )
            if closeness is not None:
                near = np.asarray(near + np.maximum(closeness, 0), np.float32)
            spread = lexrank(similarity, self._priors.floor, near) if near.any() else near
            asked_for = near / max(float(near.max()), 1e-9) + 0.3 * np.minimum(spread, 3)
            worth = np.asarray(worth * 0.3 + self._priors.focus * asked_for, np.float32)
        return worth

    def _fitness(self, sentences: list[_Sentence]) -> Vector:
        return np.array([one.prior for one in sentences], np.float32)

    def _meaning(self, sentences: list[_Sentence]) -> tuple[Matrix, Vector | None] | None:
        """(vectors [n, width], likeness to the question [n] or None), or None where no encoder helps."""
        if self._encode is None:
            return None
        texts = [self._documents[one.document].text[one.start : one.end] for one in sentences]
        rows = []
        for first in range(0, len(texts), ENCODE_ROWS):
            self._cancel.check()
            rows.append(self._encode(texts[first : first + ENCODE_ROWS]))
        vectors = np.concatenate(rows).astype(np.float32)
        return vectors, (vectors @ self._encode([self._focus])[0] if self._focus else None)

    def _terms(self, sentences: list[_Sentence]) -> tuple[Matrix, Vector]:
        """Which of the terms that several sentences share each one holds [n, terms], and what covering them is worth."""
        counts = Counter(term for one in sentences for term in set(one.terms))
        shared = [term for term, count in counts.most_common(MAX_TERMS) if count > 1]
        places = {term: place for place, term in enumerate(shared)}
        holds = np.zeros((len(sentences), max(1, len(shared))), np.float32)
        for row, one in enumerate(sentences):
            holds[row, [places[term] for term in set(one.terms) if term in places]] = 1
        worth = np.array([log(1 + counts[term]) for term in shared] or [0.0], np.float32)
        return holds, worth
