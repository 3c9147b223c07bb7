"""How a sentence of a summary lies on its source: the sentences it may come from, and readable figures of how well it fits them.

A sentence rarely comes from one place, so evidence is gathered: the sentence that fits best, then those that hold what is still
missing. Around the first of them its numbers, names, negations and reasons must be found again. Words fit when their stems do,
Chinese words a little when their characters do. Knows texts and a function that encodes them; knows no weights and no database.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.summary.names import chinese_names, chinese_names_from, english_names
from engine.summary.numerals import numbers, occurs
from engine.summary.passages import Evidence, Fit, Flags, Passages, with_fit
from engine.summary.polarity import has_negation, negated, opposites
from engine.summary.terms import HAN, terms

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
MIN_ROOT: Final = 4
"""Letters of a name that is known again with another ending are more than this."""
_REASON: Final = re.compile(
    r"\b(?:because(?: of)?|due to|owing to|thanks to|on account of|as a result of|result(?:s|ed|ing)? (?:in|from)|since|so that|"
    r"in order to|in (?:response|protest) (?:to|at)|for (?:want|lack) of|caused by|led to|after|is why|to blame for|"
    r"account(?:s|ed)? for)\b|之所以|是因为|因为|由于|起因是|缘于|出于|是由|导致|造成|引起|因此|因而|所以|以致|致使|使得|为了|"
    r"为的是|归咎于|归因于|要怪|多亏|看中",
    re.IGNORECASE,
)
_WORD: Final = re.compile(rf"[{HAN}]{{2}}|[{HAN}]|[^\W{HAN}]+(?:[’'.,-][^\W{HAN}]+)*")
_HAN_ONE: Final = re.compile(f"[{HAN}]")


@dataclass(frozen=True, slots=True)
class Alignment:
    """Where a sentence lies, and the figures."""

    evidence: Evidence
    figures: npt.NDArray[np.float64]
    flags: tuple[str, ...]
    """Of "number", "name": what of them occurs nowhere in the source; "negation": the best sentence says it the other way."""


class SourceIndex(Passages):
    """Passages that say how a claim lies on them."""

    def align(self, claim: str) -> Alignment:
        """Look one sentence up. Without a source sentence nothing fits."""
        if not self.sentences:
            return Alignment((), np.zeros(len(FEATURES)), ())
        fit = self._fit(claim)
        evidence = self._evidence(claim, fit)
        best = evidence[0]
        around = sorted({*self._near(best), *evidence})
        figures, flags = self._figures(claim, fit, best, around)
        return Alignment(with_fit(evidence, fit), figures, flags)

    def _figures(self, claim: str, fit: Fit, best: int, around: Sequence[int]) -> tuple[npt.NDArray[np.float64], tuple[str, ...]]:
        values = dict.fromkeys(FEATURES, 0.0)
        values["shared_best"] = float(fit.shared[best])
        if fit.meaning is not None:
            values["meaning"] = float(max(0.0, fit.meaning[best]))
        fits = self._soft(claim, around)
        if fits:
            weights = np.array([weight for _, weight, _ in fits])
            soft = np.array([found for _, _, found in fits])
            values["soft_around"] = float((weights * soft).sum() / weights.sum())
            values["worst_gap"] = float((weights * (1 - soft)).max() / self._rare)
        flags = [*self._number_figures(claim, values), *self._name_figures(claim, best, values)]
        self._polarity_figures(claim, best, values)
        if values["shared_best"] > 0.5 and (values["turned"] > 0.3 or values["opposite"]):
            flags.append("negation")
        self._reason_figures(claim, fits, values)
        return np.array([values[name] for name in FEATURES]), tuple(flags)

    def _soft(self, claim: str, around: Sequence[int]) -> list[tuple[int, float, float]]:
        """(place in the claim, weight, fit 0 … 1) of each content word of the claim, against the sentences around."""
        there = frozenset[str]().union(*(self.sentences[place].terms for place in around))
        text = "".join(self.sentences[place].text for place in around)
        found = []
        for match in _WORD.finditer(claim):
            for term in dict.fromkeys(terms(match.group(), self.language)):
                fit = float(term in there)
                if not fit and _HAN_ONE.match(term):
                    fit = 0.6 * sum(character in text for character in term) / len(term)
                found.append((match.start(), self._weight(term), fit))
        return found

    def _number_figures(self, claim: str, values: dict[str, float]) -> list[str]:
        stated = numbers(claim)
        missing = [one for one in stated if not occurs(one, self._values)]
        values["number_missing"] = float(min(2, sum(not one.is_small_word for one in missing)))
        values["small_number_missing"] = float(min(2, sum(one.is_small_word for one in missing)))
        for one in stated:
            if one not in missing:
                holds = np.array([occurs(one, there) for there in self._sentence_values])
                away = self._away(f"{claim[: one.start]} {claim[one.end :]}", holds, holds)[0]
                values["number_away"] = max(values["number_away"], away)
        return ["number"] if any(not one.is_small_word for one in missing) else []

    def _name_figures(self, claim: str, best: int, values: dict[str, float]) -> list[str]:
        """Where the rest of the claim fits best, its names must stand: there or, behind a pronoun, just before.

        What a title names is spoken of everywhere.
        """
        known, new = self._names_of(claim)
        values["name_missing"] = float(min(2, len(new)))
        for group in _whole(claim, known):
            if any(name in self._titles for name in group):
                continue
            away, replaced = self._misplaced(claim, group, known)
            values["name_away"] = max(values["name_away"], away)
            values["name_replaced"] = max(values["name_replaced"], replaced)
        return ["name"] if new else []

    def _misplaced(self, claim: str, group: Sequence[str], known: set[str]) -> tuple[float, float]:
        """(how much better what is said of a name fits where it is not near, and where others are named instead), 0 … 1.

        `group` are the words of the name, any of which stands for it.
        """
        holds = np.array([any(name in text for name in group) for text in self._small])
        if not holds.any():
            return 0.0, 0.0
        away, best, replaced = self._away(self._without(claim, group), self._heard(holds), self._meant(holds))
        others = self._names_of(self.sentences[best].text)[0] - known
        return away, replaced if others else 0.0

    def _away(self, rest: str, holds: Flags, meant: Flags) -> tuple[float, int, float]:
        """(how much worse `rest` fits near sentences that hold something or mean it, where it fits best, how much worse in those
        that hold it).
        """
        fit = self._shared_by(rest)
        near = meant | holds
        for step in (1, 2):
            near[step:] |= holds[:-step]
        near[:-1] |= holds[1:]
        best = int(np.argmax(fit))
        top = float(fit[best])
        if top <= 0:
            return 0.0, best, 0.0
        strength = min(1.0, 2 * top)  # what fits nowhere belongs nowhere
        away = strength * (1 - float(fit[near].max(initial=0.0)) / top)
        return away, best, strength * (1 - float(fit[holds].max(initial=0.0)) / top)

    def _names_of(self, text: str) -> tuple[set[str], set[str]]:
        """(names that the source has, names that it has not)."""
        if self.language == "zh":
            known = chinese_names_from(text, self._all) | {name for name in self._names if name in text}
            new = {name for name in chinese_names(text) if name not in self._all and name not in known}
            return known, new
        said = set(english_names(text, self._names))
        new = {name for name in said if name not in self._all and not self._derives(name)}
        return said - new, new

    def _derives(self, name: str) -> bool:
        """Whether it is another form of a known name, as American is of America."""
        return any(len(one) > MIN_ROOT and name.startswith(one) for one in self._names)

    def _without(self, claim: str, names: Iterable[str]) -> str:
        rest = claim
        for name in sorted(names, key=len, reverse=True):
            somebody = "某人" if self.language == "zh" else "somebody"
            rest = re.sub(rf"(?i)(?<![^\W{HAN}]){re.escape(name)}(?![^\W{HAN}])", somebody, rest)
        return rest

    def _polarity_figures(self, claim: str, best: int, values: dict[str, float]) -> None:
        """Words that both share, under a negation in only one of them; and words of opposite meaning."""
        source = self.sentences[best]
        both = [term for term in dict.fromkeys(terms(claim, self.language)) if term in source.terms]
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
