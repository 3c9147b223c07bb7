"""What a person's summary of a text would say: for each word, and each pair of neighbouring words, how often to expect it.

Expected counts are Poisson rates. A content word is expected the more often it and its other forms occur, and when the title
holds it; a function word as often as summaries of the language use it, and a little as often as this text does; a pair by its
two words and its own count. The weights (assets/summary_wording.json) are fitted by `python -m bench.summary.fit_wording` on
documents marked "dev" and can be read. Words are those that ROUGE counts, so to choose what covers them is to choose for the
highest expected overlap (Kumar and Byrne, "Minimum Bayes-Risk Decoding", NAACL 2004). Knows strings; knows no sentence's place.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from math import exp, log
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from engine.evaluation.metrics import words
from engine.summary.terms import is_function_word, stem

Pair: TypeAlias = tuple[str, str]
Figures: TypeAlias = tuple[float, ...]
Key = TypeVar("Key", str, Pair)
WEIGHTS_PATH: Final = Path(__file__).resolve().parent.parent.parent / "assets" / "summary_wording.json"
CONTENT: Final = ("bias", "forms", "count", "title")
FUNCTION: Final = ("bias", "rate", "share")
PAIR: Final = ("function", "mixed", "content", "first", "second", "count")
"""Names of the figures of each kind, in the order in which `Wording` lists them."""
REFERENCE: Final = 100
"""Words of the summary that rates are fitted for; those of other lengths are in proportion."""
LEAST_RATE: Final = 1e-4
"""No word is more unlikely than this: its logarithm is taken."""


@dataclass(frozen=True, slots=True)
class WordingModel:
    """Weights of one language; each kind in the order of its names."""

    function: Mapping[str, float]
    """How often summaries use each function word, per word of a summary."""
    rare: float
    """The same for a function word that none of them used."""
    content_share: float
    """Of a summary's words, those that are content words of its text."""
    content: Figures
    functional: Figures
    pair: Figures


class Wording:
    """The words of a text, given as its sentences, with what their rates depend on."""

    def __init__(self, sentences: Sequence[str], language: str, title: str = "") -> None:
        self.language = language
        self.sentences = [words(one) for one in sentences]
        self._title = frozenset(stem(word, language) for word in words(title))
        self._counts = Counter(word for one in self.sentences for word in one)
        self._pair_counts = Counter(pair for one in self.sentences for pair in pairs(one))

    @cached_property
    def content_figures(self) -> dict[str, Figures]:
        """By content word, as CONTENT names them."""
        stems = {word: stem(word, self.language) for word in self._counts}
        forms = Counter[str]()
        for word, count in self._counts.items():
            forms[stems[word]] += count
        return {
            word: (1.0, log(forms[stems[word]]), log(count), float(stems[word] in self._title))
            for word, count in self._counts.items()
            if not is_function_word(word, self.language)
        }

    def function_figures(self, rates: Mapping[str, float], rare: float) -> dict[str, Figures]:
        """By function word, as FUNCTION names them; `rates` as in `WordingModel.function`."""
        total = max(1, sum(self._counts.values()))
        found = {word: count for word, count in self._counts.items() if is_function_word(word, self.language)}
        return {word: (1.0, log(rates.get(word, rare)), log(count / total)) for word, count in found.items()}

    def pair_figures(self, rates: Mapping[str, float]) -> dict[Pair, Figures]:
        """By pair, as PAIR names them; `rates` are the expected counts of the words in a summary of REFERENCE words."""
        logs = {word: log(rate + LEAST_RATE) for word, rate in rates.items()}
        functional = {word: is_function_word(word, self.language) for word in logs}
        found: dict[Pair, Figures] = {}
        for (first, second), count in self._pair_counts.items():
            kind = functional[first] + functional[second]
            kinds = (float(kind == 2), float(kind == 1), float(kind == 0))
            found[first, second] = (*kinds, logs[first], logs[second], log(count))
        return found


def expected(wording: Wording, budget: float, model: WordingModel | None = None) -> tuple[dict[str, float], dict[Pair, float]]:
    """(expected count of each word, of each pair of neighbours) in a summary of `budget` words.

    Rates of a long text's content words are brought down to what a summary has room for.
    """
    model = model or wording_model(wording.language)
    rates = word_rates(wording, model)
    of_pairs = _rates(wording.pair_figures(rates), model.pair)
    scale = budget / REFERENCE
    return {key: scale * rate for key, rate in rates.items()}, {key: scale * rate for key, rate in of_pairs.items()}


def word_rates(wording: Wording, model: WordingModel) -> dict[str, float]:
    """Expected count of each word in a summary of REFERENCE words."""
    content = _rates(wording.content_figures, model.content)
    share = model.content_share * REFERENCE / max(1e-9, sum(content.values()))
    rates = {word: share * rate for word, rate in content.items()}
    return rates | _rates(wording.function_figures(model.function, model.rare), model.functional)


def pairs(sentence: Sequence[str]) -> list[Pair]:
    """Neighbouring words."""
    return list(zip(sentence, sentence[1:], strict=False))


def coverage_table(rates: npt.NDArray[np.float64], most: int) -> npt.NDArray[np.float64]:
    """[keys, most + 1] expected value of min(k, count) for k = 0 … most, of Poisson counts with these rates [keys]."""
    probability = np.exp(-rates)
    tail = 1 - probability
    columns = [np.zeros_like(rates)]
    for k in range(1, most + 1):
        columns.append(columns[-1] + np.maximum(tail, 0))
        probability = probability * rates / k
        tail = tail - probability
    return np.stack(columns, axis=1)


def wording_model(language: str) -> WordingModel:
    """The fitted weights; English ones for languages that have none."""
    found = _models()
    return found.get(language, found["en"])


@cache
def _models() -> Mapping[str, WordingModel]:
    found = json.loads(WEIGHTS_PATH.read_text(encoding="utf-8"))
    return {
        language: WordingModel(
            one["function_words"],
            one["rare"],
            one["content_share"],
            tuple(one["content"][name] for name in CONTENT),
            tuple(one["function"][name] for name in FUNCTION),
            tuple(one["pair"][name] for name in PAIR),
        )
        for language, one in found.items()
    }


def _rates(figures: Mapping[Key, Figures], weights: Figures) -> dict[Key, float]:
    return {key: exp(sum(weight * value for weight, value in zip(weights, row, strict=True))) for key, row in figures.items()}
