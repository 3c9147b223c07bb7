"""The sentences of documents, to look others up in: which fit, how well, and who is spoken of where.

A name reaches further than the sentence it stands in: to the next ones, to what follows in its paragraph, and over all of a
letter or a turn that it heads. Knows texts and a function that encodes them; knows no figures and no database.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import log
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from engine.jobs.job import CancelToken
from engine.summary.extractive import ENCODE_ROWS, ENCODED_LANGUAGES, Encode, Text
from engine.summary.names import chinese_names, english_names
from engine.summary.numerals import numbers
from engine.summary.sentences import sentence_spans
from engine.summary.terms import HAN, inverse_frequencies, terms
from engine.summary.units import implied, restated

NEAR: Final = 2
"""Sentences before and after the best one that still speak of the same."""
EVIDENCE: Final = 3
"""Sentences that together support one of a summary."""
SHORTLIST: Final = 12
"""Of a long source only so many sentences, by shared terms, are encoded for each sentence of a summary."""
SHORT_SOURCE: Final = 600
REACH: Final = 5
"""Sentences behind a name, in its paragraph, in which a pronoun may still mean it."""
_LETTER: Final = re.compile(r"(?:From|发件人|寄件人)\s?[:：]")
_TURN: Final = re.compile(rf"(?:[-*•–\d.]+\s)?(?:(?:[A-Z][\w’'-]*\s?){{1,3}}:|[{HAN}]{{1,4}}[：:])")

Evidence: TypeAlias = tuple[tuple[int, float], ...]
"""Places in `Passages.sentences` with their fit 0 … 1, best first."""
Flags: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class SourceSentence:
    """One sentence of a source, `documents[document].text[start:end]`."""

    document: int
    start: int
    end: int
    text: str
    terms: frozenset[str]


@dataclass(frozen=True, slots=True)
class Fit:
    """How well each sentence of the source fits, [sentences] each, 0 … 1."""

    shared: npt.NDArray[np.float64]
    meaning: npt.NDArray[np.float64] | None
    total: npt.NDArray[np.float64]


class Passages:
    """The sentences of all documents. Those that are compared in meaning are encoded once, when they are first needed."""

    def __init__(self, documents: Sequence[Text], encode: Encode | None, cancel: CancelToken) -> None:
        self._cancel = cancel
        self.language = documents[0].language if documents else "en"
        is_known = bool(documents) and all(one.language in ENCODED_LANGUAGES for one in documents)
        self._encode = encode if is_known else None
        self._documents = documents
        self.sentences = [
            SourceSentence(number, start, end, one.text[start:end], frozenset(terms(one.text[start:end], one.language)))
            for number, one in enumerate(documents)
            for start, end in sentence_spans(one.text)
        ]
        self._inverse = inverse_frequencies([list(one.terms) for one in self.sentences])
        self._rare = log(1 + len(self.sentences)) + 1
        self._holding: dict[str, list[int]] = defaultdict(list)
        for place, one in enumerate(self.sentences):
            for term in one.terms:
                self._holding[term].append(place)
        self._titles = "\n".join(one.title for one in documents).casefold()
        self._all = "\n".join((self._titles, *(one.text.casefold() for one in documents)))
        self._small = [one.text.casefold() for one in self.sentences]
        self._vectors: dict[int, npt.NDArray[np.float32]] = {}

    @property
    def has_encoder(self) -> bool:
        """Whether meaning is compared, or shared terms alone."""
        return self._encode is not None

    def evidence(self, claim: str) -> Evidence:
        """Where it lies alone: much faster than to judge it."""
        if not self.sentences:
            return ()
        fit = self._fit(claim)
        return with_fit(self._evidence(claim, fit), fit)

    @cached_property
    def _values(self) -> set[float]:
        """Every number that the source states, in other units too."""
        return set[float]().union(*self._sentence_values)

    @cached_property
    def _sentence_values(self) -> list[set[float]]:
        found = []
        for sentence in self.sentences:
            stated = numbers(sentence.text)
            values = {one.value for one in stated}
            found.append(values.union(implied(sentence.text), *(restated(one, sentence.text) for one in stated)))
        return found

    @cached_property
    def _names(self) -> set[str]:
        find = chinese_names if self.language == "zh" else english_names
        return {name for one in self._documents for text in (one.title, one.text) for name in find(text)}

    def _fit(self, claim: str) -> Fit:
        self._cancel.check()
        shared = self._shared_by(claim)
        meaning = self._meaning(claim, shared)
        return Fit(shared, meaning, shared if meaning is None else 0.5 * shared + 0.5 * np.maximum(meaning, 0))

    def _weight(self, term: str) -> float:
        return self._inverse.get(term, self._rare)

    def _shared_by(self, claim: str) -> npt.NDArray[np.float64]:
        """[sentences] share of the claim's terms, by weight, that each holds."""
        said = list(dict.fromkeys(terms(claim, self.language)))
        shared = np.zeros(len(self.sentences))
        for term in said:
            shared[self._holding.get(term, [])] += self._weight(term)
        return np.asarray(shared / max(1e-9, sum(map(self._weight, said))), np.float64)

    def _meaning(self, claim: str, shared: npt.NDArray[np.float64]) -> npt.NDArray[np.float64] | None:
        """[sentences] likeness in meaning; of a long source only for the sentences that share most terms."""
        if self._encode is None:
            return None
        count = len(self.sentences)
        places = range(count) if count <= SHORT_SOURCE else [int(place) for place in np.argsort(-shared)[:SHORTLIST]]
        missing = [place for place in places if place not in self._vectors]
        for first in range(0, len(missing), ENCODE_ROWS):
            self._cancel.check()
            rows = missing[first : first + ENCODE_ROWS]
            self._vectors.update(zip(rows, self._encode([self.sentences[row].text for row in rows]), strict=True))
        vector = self._encode([claim])[0]
        found = np.zeros(count)
        for place in places:
            found[place] = float(self._vectors[place] @ vector)
        return found

    def _evidence(self, claim: str, fit: Fit) -> list[int]:
        """The best sentence, and those that hold what it lacks; near ones are preferred."""
        best = int(np.argmax(fit.total))
        said = list(dict.fromkeys(terms(claim, self.language)))
        chosen = [best]
        missing = {term for term in said if term not in self.sentences[best].terms}
        while missing and len(chosen) < EVIDENCE:
            gains: dict[int, float] = defaultdict(float)
            for term in missing:
                for place in self._holding.get(term, []):
                    gains[place] += self._weight(term) * (1.3 if abs(place - best) <= NEAR else 1.0)
            gains = {place: gain for place, gain in gains.items() if place not in chosen}
            if not gains:
                break
            place = max(gains, key=lambda one: (gains[one] + fit.total[one], -one))
            if gains[place] < 0.15 * sum(map(self._weight, said)):
                break
            chosen.append(place)
            missing -= self.sentences[place].terms
        return chosen

    def _near(self, place: int) -> list[int]:
        document = self.sentences[place].document
        low, high = max(0, place - NEAR), min(len(self.sentences), place + NEAR + 1)
        return [one for one in range(low, high) if self.sentences[one].document == document]

    def _heard(self, holds: Flags) -> Flags:
        """[sentences] those that hold something, and those whose speaker it is."""
        return np.asarray(holds | holds[self._heads[0]] | holds[self._heads[1]], np.bool_)

    def _meant(self, holds: Flags) -> Flags:
        """[sentences] where a pronoun may mean what `holds` names: as `_heard`, and in what follows in the paragraph."""
        meant = self._heard(holds)
        last: int | None = None
        for place, begins in enumerate(self._begins):
            last = place if holds[place] else None if begins else last
            meant[place] |= last is not None and place - last <= REACH
        return meant

    @cached_property
    def _begins(self) -> Flags:
        """[sentences] whether a line begins with it."""
        found, document, end = list[bool](), -1, 0
        for one in self.sentences:
            found.append(one.document != document or "\n" in self._documents[document].text[end : one.start])
            document, end = one.document, one.end
        return np.array(found, np.bool_)

    @cached_property
    def _heads(self) -> tuple[list[int], list[int]]:
        """[sentences] each: where the letter begins that a sentence is in, and the turn; the sentence itself where in none."""
        letters, turns = list[int](), list[int]()
        letter = turn = None
        document = -1
        for place, (one, begins) in enumerate(zip(self.sentences, self._begins, strict=True)):
            if one.document != document:
                document, letter = one.document, None
            letter = place if _LETTER.match(one.text) else letter
            turn = place if _TURN.match(one.text) else None if begins else turn
            letters.append(place if letter is None else letter)
            turns.append(place if turn is None else turn)
        return letters, turns


def with_fit(places: Iterable[int], fit: Fit) -> Evidence:
    """The places with how well each fits, 0 … 1."""
    return tuple((place, float(min(1.0, fit.total[place]))) for place in places)
