"""How a sentence of a summary lies on its source: the sentences it may come from, and readable figures of how well it fits them.

A sentence rarely comes from one place, so evidence is gathered: the sentence that fits best, then those that hold what is still
missing. Around the first of them its numbers, names, negations and reasons must be found again. Words fit when their stems do, or
when the encoder finds them alike (BERTScore's idea, Zhang et al. 2020, on single words); Chinese words when their characters do.
Knows texts and a function that encodes them; knows no weights and no database.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.jobs.job import CancelToken
from engine.summary.extractive import ENCODE_ROWS, ENCODED_LANGUAGES, Encode, Text
from engine.summary.names import chinese_names, chinese_names_from, english_names
from engine.summary.numerals import numbers, occurs
from engine.summary.polarity import has_negation, negated, opposites
from engine.summary.sentences import sentence_spans
from engine.summary.terms import HAN, inverse_frequencies, terms

FEATURES: Final = (
    "meaning",
    "shared_best",
    "soft_around",
    "worst_gap",
    "number_missing",
    "small_number_missing",
    "number_away",
    "name_missing",
    "name_away",
    "name_replaced",
    "turned",
    "negation_only_here",
    "negation_only_there",
    "opposite",
    "reason",
    "reason_gap",
    "reason_far",
)
"""What `Alignment.figures` holds, in order. The first three speak for a sentence, all others against it."""
NEAR: Final = 2
"""Sentences before and after the best one that still speak of the same."""
EVIDENCE: Final = 3
"""Sentences that together support one of a summary."""
SHORTLIST: Final = 40
"""Of a long source only so many sentences, by shared terms, are encoded for each sentence of a summary."""
SHORT_SOURCE: Final = 600
MIN_TERMS: Final = 2
"""A clause with more content words than this can be looked up alone."""
ALIKE: Final = (0.35, 0.8)
"""Word likeness from which on a word is a little, and wholly, another one."""
_REASON: Final = re.compile(
    r"\b(?:because(?: of)?|due to|owing to|thanks to|as a result of|since|so that|in order to|caused by|led to|after)\b"
    r"|之所以|是因为|因为|由于|起因是|缘于|出于|是由|导致|因此|所以|以致|使得|为了",
    re.IGNORECASE,
)
_WORD: Final = re.compile(rf"[{HAN}]{{2}}|[{HAN}]|[^\W{HAN}]+(?:[’'.,-][^\W{HAN}]+)*")
_CLAUSE: Final = re.compile(r"[,;:，；：—]|\b(?:and|but|while|who|which|because)\b")
_LETTERS: Final = re.compile(r"[^\W\d_]{3,}")
_HAN_ONE: Final = re.compile(f"[{HAN}]")


@dataclass(frozen=True, slots=True)
class SourceSentence:
    """One sentence of a source, `documents[document].text[start:end]`."""

    document: int
    start: int
    end: int
    text: str
    terms: frozenset[str]


@dataclass(frozen=True, slots=True)
class Alignment:
    """Where a sentence lies: places in `SourceIndex.sentences` with their fit 0 … 1, best first, and the figures."""

    evidence: tuple[tuple[int, float], ...]
    figures: npt.NDArray[np.float64]
    flags: tuple[str, ...]
    """Of "number", "name": what of them occurs nowhere in the source; "negation": the best sentence says it the other way."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How well each sentence of the source fits, [sentences] each, 0 … 1."""

    shared: npt.NDArray[np.float64]
    meaning: npt.NDArray[np.float64] | None
    total: npt.NDArray[np.float64]


class SourceIndex:
    """The sentences of all documents, to look others up in. Sentences are encoded once, when they are first needed."""

    def __init__(self, documents: Sequence[Text], encode: Encode | None, cancel: CancelToken) -> None:
        self._cancel = cancel
        self.language = documents[0].language if documents else "en"
        is_known = bool(documents) and all(one.language in ENCODED_LANGUAGES for one in documents)
        self._encode = encode if is_known else None
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
        texts = [one.text for one in documents]
        self._values = {one.value for text in texts for one in numbers(text)}
        self._sentence_values = [{one.value for one in numbers(sentence.text)} for sentence in self.sentences]
        self._all = "\n".join(texts).casefold()
        self._small = [one.text.casefold() for one in self.sentences]
        find = chinese_names if self.language == "zh" else english_names
        self._names = {name for text in texts for name in find(text)}
        self._vectors: dict[int, npt.NDArray[np.float32]] = {}
        self._words: dict[str, npt.NDArray[np.float32]] = {}

    @property
    def has_encoder(self) -> bool:
        """Whether meaning is compared, or shared terms alone."""
        return self._encode is not None

    def align(self, claim: str) -> Alignment:
        """Look one sentence up. Without a source sentence nothing fits."""
        self._cancel.check()
        if not self.sentences:
            return Alignment((), np.zeros(len(FEATURES)), ())
        said = list(dict.fromkeys(terms(claim, self.language)))
        fit = self._fit(claim)
        best = int(np.argmax(fit.total))
        evidence = self._evidence(said, fit.total, best)
        around = sorted({*self._near(best), *evidence})
        figures, flags = self._figures(claim, said, fit, best, around)
        return Alignment(tuple((place, float(min(1.0, fit.total[place]))) for place in evidence), figures, flags)

    def _fit(self, claim: str) -> Fit:
        shared = self._shared(list(dict.fromkeys(terms(claim, self.language))))
        meaning = self._meaning(claim, shared)
        return Fit(shared, meaning, shared if meaning is None else 0.5 * shared + 0.5 * np.maximum(meaning, 0))

    def _weight(self, term: str) -> float:
        return self._inverse.get(term, self._rare)

    def _shared(self, said: Sequence[str]) -> npt.NDArray[np.float64]:
        """[sentences] share of the claim's terms, by weight, that each holds."""
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

    def _evidence(self, said: Sequence[str], fit: npt.NDArray[np.float64], best: int) -> list[int]:
        """The best sentence, and those that hold what it lacks; near ones are preferred."""
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
            place = max(gains, key=lambda one: (gains[one] + fit[one], -one))
            if gains[place] < 0.15 * sum(map(self._weight, said)):
                break
            chosen.append(place)
            missing -= self.sentences[place].terms
        return chosen

    def _near(self, place: int) -> list[int]:
        document = self.sentences[place].document
        low, high = max(0, place - NEAR), min(len(self.sentences), place + NEAR + 1)
        return [one for one in range(low, high) if self.sentences[one].document == document]

    def _figures(
        self, claim: str, said: Sequence[str], fit: Fit, best: int, around: Sequence[int]
    ) -> tuple[npt.NDArray[np.float64], tuple[str, ...]]:
        values = dict.fromkeys(FEATURES, 0.0)
        values["shared_best"] = float(fit.shared[best])
        if fit.meaning is not None:
            values["meaning"] = float(max(fit.meaning[best], self._meaning_around(claim, best)))
        fits = self._soft(claim, around)
        if fits:
            weights = np.array([weight for _, weight, _ in fits])
            soft = np.array([found for _, _, found in fits])
            values["soft_around"] = float((weights * soft).sum() / weights.sum())
            values["worst_gap"] = float((weights * (1 - soft)).max() / self._rare)
        flags = [*self._number_figures(claim, values), *self._name_figures(claim, best, values)]
        self._polarity_figures(claim, said, best, values)
        if values["shared_best"] > 0.5 and (values["turned"] > 0.3 or values["opposite"]):
            flags.append("negation")
        self._reason_figures(claim, fits, values)
        return np.array([values[name] for name in FEATURES]), tuple(flags)

    def _meaning_around(self, claim: str, best: int) -> float:
        """Likeness to the best sentence together with its neighbours."""
        assert self._encode is not None
        vector = self._encode([claim])[0]
        found = 0.0
        for first, last in ((best - 1, best), (best, best + 1), (best - 1, best + 1)):
            rows = [self._vectors[place] for place in range(first, last + 1) if place in self._vectors]
            if rows:
                whole = np.sum(rows, axis=0)
                found = max(found, float(whole @ vector / max(1e-9, float(np.linalg.norm(whole)))))
        return found

    def _soft(self, claim: str, around: Sequence[int]) -> list[tuple[int, float, float]]:
        """(place in the claim, weight, fit 0 … 1) of each content word of the claim, against the sentences around."""
        there = frozenset[str]().union(*(self.sentences[place].terms for place in around))
        text = "".join(self.sentences[place].text for place in around)
        found = []
        for match in _WORD.finditer(claim):
            for term in dict.fromkeys(terms(match.group(), self.language)):
                if term in there:
                    fit = 1.0
                elif _HAN_ONE.match(term):
                    fit = 0.6 * sum(character in text for character in term) / len(term)
                else:
                    fit = self._alike(match.group().casefold(), around)
                found.append((match.start(), self._weight(term), fit))
        return found

    def _alike(self, word: str, around: Sequence[int]) -> float:
        """How much the encoder finds the word like any of the words around, 0 … 0.9."""
        others = {one.casefold() for place in around for one in _LETTERS.findall(self.sentences[place].text)}
        if self._encode is None or not others:
            return 0.0
        missing = [one for one in (word, *sorted(others)) if one not in self._words]
        if missing:
            self._words.update(zip(missing, self._encode(missing), strict=True))
        likeness = float((np.stack([self._words[one] for one in others]) @ self._words[word]).max())
        low, high = ALIKE
        return 0.9 * min(1.0, max(0.0, (likeness - low) / (high - low)))

    def _number_figures(self, claim: str, values: dict[str, float]) -> list[str]:
        stated = numbers(claim)
        missing = [one for one in stated if not occurs(one, self._values)]
        values["number_missing"] = float(min(2, sum(not one.is_small_word for one in missing)))
        values["small_number_missing"] = float(min(2, sum(one.is_small_word for one in missing)))
        for one in stated:
            if one not in missing:
                holds = np.array([occurs(one, there) for there in self._sentence_values])
                rest = f"{claim[: one.start]} {claim[one.end :]}"
                low, high = self._clause(claim, one.start)
                clause = f"{claim[low : one.start]} {claim[one.end : high]}"
                away = self._away(clause if len(terms(clause, self.language)) > MIN_TERMS else rest, holds)[0]
                values["number_away"] = max(values["number_away"], away)
        return ["number"] if any(not one.is_small_word for one in missing) else []

    def _name_figures(self, claim: str, best: int, values: dict[str, float]) -> list[str]:
        """Where the rest of the claim fits best, its names must stand: there or, behind a pronoun, just before."""
        known, new = self._names_of(claim)
        values["name_missing"] = float(min(2, len(new)))
        for group in _whole(claim, known):
            away, replaced = self._misplaced(claim, group, known)
            values["name_away"] = max(values["name_away"], away)
            values["name_replaced"] = max(values["name_replaced"], replaced)
        return ["name"] if new else []

    def _misplaced(self, claim: str, group: Sequence[str], known: set[str]) -> tuple[float, float]:
        """(how much better what is said of a name fits where it is not near, and where others are named instead), 0 … 1.

        `group` are the words of the name, any of which stands for it.
        """
        low, high = self._clause(claim, max(0, claim.casefold().find(group[0])))
        clause = claim[low:high]
        rest = self._without(clause if len(terms(clause, self.language)) > MIN_TERMS else claim, known)
        holds = np.array([any(name in text for name in group) for text in self._small])
        away, best, replaced = self._away(rest, holds)
        others = self._names_of(self.sentences[best].text)[0] - known
        return away, replaced if others else 0.0

    def _away(self, rest: str, holds: npt.NDArray[np.bool_]) -> tuple[float, int, float]:
        """(how much worse `rest` fits near sentences that hold something, where it fits best, how much worse in them)."""
        fit = self._fit(rest).total
        near = holds.copy()
        for step in (1, 2):  # a pronoun speaks of what was named before
            near[step:] |= holds[:-step]
        near[:-1] |= holds[1:]
        best = int(np.argmax(fit))
        top = float(fit[best])
        if top <= 0:
            return 0.0, best, 0.0
        strength = min(1.0, 2 * top)  # what fits nowhere belongs nowhere
        away = strength * (1 - float(fit[near].max(initial=0.0)) / top)
        return away, best, strength * (1 - float(fit[holds].max(initial=0.0)) / top)

    def _clause(self, claim: str, place: int) -> tuple[int, int]:
        """Where the clause begins and ends that `place` is in."""
        cuts = [match.end() for match in _CLAUSE.finditer(claim)]
        return max((cut for cut in cuts if cut <= place), default=0), min(
            (cut for cut in cuts if cut > place), default=len(claim)
        )

    def _names_of(self, text: str) -> tuple[set[str], set[str]]:
        """(names that the source has, names that it has not)."""
        if self.language == "zh":
            known = chinese_names_from(text, self._all) | {name for name in self._names if name in text}
            new = {name for name in chinese_names(text) if name not in self._all and name not in known}
            return known, new
        said = set(english_names(text, self._names))
        new = {name for name in said if name not in self._all}
        return said - new, new

    def _without(self, claim: str, names: Iterable[str]) -> str:
        rest = claim
        for name in sorted(names, key=len, reverse=True):
            somebody = "某人" if self.language == "zh" else "somebody"
            rest = re.sub(rf"(?i)(?<![^\W{HAN}]){re.escape(name)}(?![^\W{HAN}])", somebody, rest)
        return rest

    def _polarity_figures(self, claim: str, said: Sequence[str], best: int, values: dict[str, float]) -> None:
        """Words that both share, under a negation in only one of them; and words of opposite meaning."""
        source = self.sentences[best]
        both = [term for term in said if term in source.terms]
        there = self._negated_terms(source.text)
        here = self._negated_terms(claim)
        total = sum(map(self._weight, both))
        turned = sum(self._weight(term) for term in both if (term in here) != (term in there))
        values["turned"] = turned / total if total else 0.0
        is_here, is_there = has_negation(claim), has_negation(source.text)
        values["negation_only_here"] = float(is_here and not is_there)
        values["negation_only_there"] = float(is_there and not is_here)
        values["opposite"] = float(min(1, opposites(claim, source.text)))

    def _negated_terms(self, text: str) -> set[str]:
        found = set()
        for match in _WORD.finditer(text):
            if negated(text, match.start()):
                found.update(terms(match.group(), self.language))
        return found

    def _reason_figures(self, claim: str, fits: Sequence[tuple[int, float, float]], values: dict[str, float]) -> None:
        """A reason is a second statement: it must fit too, and where the first one does."""
        match = _REASON.search(claim)
        if match is None or not fits:
            return
        values["reason"] = 1.0
        gaps, places = [], []
        for start, end in ((0, match.start()), (match.end(), len(claim))):
            inside = [(weight, fit) for place, weight, fit in fits if start <= place < end]
            if inside:
                gaps.append(1 - sum(weight * fit for weight, fit in inside) / sum(weight for weight, _ in inside))
                places.append(int(np.argmax(self._fit(claim[start:end]).total)))
        values["reason_gap"] = max(gaps, default=1.0)
        values["reason_far"] = float(len(places) == 2 and abs(places[0] - places[1]) > 1)


def _whole(claim: str, known: set[str]) -> list[list[str]]:
    """The words of each name together: those that follow each other are one."""
    places = sorted((claim.casefold().find(name), name) for name in known)
    groups: list[list[str]] = []
    end = -2
    for place, name in places:
        if groups and 0 <= place - end <= 1:
            groups[-1].append(name)
        else:
            groups.append([name])
        end = place + len(name)
    return groups
