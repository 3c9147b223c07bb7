"""Fit what a person's summary is expected to say: `python -m bench.summary.fit_wording`.

Only documents marked "dev": how often their references use each word and pair of neighbouring words of their texts, by Poisson
regression on the readable figures of `engine.summary.wording`. Prints, each document left out in turn, what the fitted rates
explain of the references beyond equal rates. Writes assets/summary_wording.json.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from math import log

import numpy as np
import numpy.typing as npt

from bench.summary.evaluation_set import Example, examples
from engine.evaluation.metrics import words
from engine.summary import wording
from engine.summary.sentences import sentence_spans
from engine.summary.terms import is_function_word
from engine.summary.wording import CONTENT, FUNCTION, PAIR, REFERENCE, Figures, Key, Wording, WordingModel, pairs

UNSEEN = 0.3
"""What is added to the count of each function word, so that none is impossible."""
RIDGE = 1.0
STEPS = 60

Matrix = npt.NDArray[np.float64]


class Reading:
    """One document and its reference, counted."""

    def __init__(self, example: Example) -> None:
        said = [example.text[start:end] for start, end in sentence_spans(example.text)]
        self.wording = Wording(said, example.language, example.title)
        reference = [words(example.reference[start:end]) for start, end in sentence_spans(example.reference)]
        self.counts = Counter(word for one in reference for word in one)
        self.pair_counts = Counter(pair for one in reference for pair in pairs(one))
        self.size = sum(self.counts.values())

    def targets(self, keys: Sequence[Key], counts: Mapping[Key, int]) -> Matrix:
        """How often each occurs in a reference of REFERENCE words."""
        return np.array([counts.get(key, 0) / self.size * REFERENCE for key in keys], float)


def fit(readings: Sequence[Reading]) -> WordingModel:
    """The weights of one language. A function word's rate is that of the other documents' references."""
    language = readings[0].wording.language
    used = Counter[str]()
    for one in readings:
        used.update({word: count for word, count in one.counts.items() if is_function_word(word, language)})
    total = sum(one.size for one in readings)
    rare = UNSEEN / (total + 1)
    rates = {word: round((count + UNSEEN) / (total + 1), 7) for word, count in used.items()}
    content = regress([(one.wording.content_figures, one, one.counts) for one in readings])
    functional = regress([(_function_figures(one, used, total, rare), one, one.counts) for one in readings])
    shares = [sum(count for word, count in one.counts.items() if word in one.wording.content_figures) for one in readings]
    content_share = sum(shares) / total
    known = WordingModel(rates, rare, content_share, content, functional, (0.0,) * len(PAIR))
    of_pairs = regress(
        [(one.wording.pair_figures(wording.word_rates(one.wording, known)), one, one.pair_counts) for one in readings]
    )
    return WordingModel(rates, rare, content_share, content, functional, of_pairs)


def _function_figures(one: Reading, used: Counter[str], total: int, rare: float) -> dict[str, Figures]:
    rest = total - one.size + 1
    rates = {word: (count - one.counts.get(word, 0) + UNSEEN) / rest for word, count in used.items()}
    return one.wording.function_figures(rates, rare)


def regress(parts: Sequence[tuple[Mapping[Key, Figures], Reading, Mapping[Key, int]]]) -> Figures:
    """Poisson regression by Newton's method with step halving; RIDGE draws weights towards 0."""
    figures = np.array([row for found, _, _ in parts for row in found.values()])
    wanted = np.concatenate([reading.targets(list(found), counts) for found, reading, counts in parts])
    weights = np.zeros(figures.shape[1])
    best = _loss(figures, wanted, weights)
    for _ in range(STEPS):
        rates = np.exp(figures @ weights)
        slope = figures.T @ (rates - wanted) + RIDGE * weights
        step = np.linalg.solve((figures * rates[:, None]).T @ figures + RIDGE * np.eye(len(weights)), slope)
        while np.abs(step).max() > 1e-9 and _loss(figures, wanted, weights - step) > best:
            step = step / 2
        weights = weights - step
        best = _loss(figures, wanted, weights)
        if np.abs(step).max() < 1e-7:
            break
    return tuple(float(weight) for weight in weights)


def _loss(figures: Matrix, wanted: Matrix, weights: Matrix) -> float:
    logs = figures @ weights
    with np.errstate(over="ignore"):
        return float((np.exp(logs) - wanted * logs).sum() + RIDGE / 2 * weights @ weights)


def explained(reading: Reading, model: WordingModel) -> tuple[float, float]:
    """(of words, of pairs) log-likelihood of the reference under the rates, beyond the same rate for each."""
    rates, of_pairs = wording.expected(reading.wording, REFERENCE, model)
    return _gain(reading, rates, reading.counts), _gain(reading, of_pairs, reading.pair_counts)


def _gain(reading: Reading, rates: Mapping[Key, float], counts: Mapping[Key, int]) -> float:
    wanted = reading.targets(list(rates), counts)
    expected = np.array(list(rates.values()))
    even = max(1e-9, float(wanted.mean()))
    return float((wanted * np.log(expected) - expected).sum() - (wanted * log(even) - even).sum())


def written(model: WordingModel) -> dict[str, object]:
    """As the file holds it."""
    named = {"content": (CONTENT, model.content), "function": (FUNCTION, model.functional), "pair": (PAIR, model.pair)}
    found: dict[str, object] = {"content_share": round(model.content_share, 4), "rare": round(model.rare, 7)}
    found |= {kind: {name: round(value, 4) for name, value in zip(*both, strict=True)} for kind, both in named.items()}
    return found | {"function_words": dict(sorted(model.function.items(), key=lambda one: (-one[1], one[0])))}


def main() -> None:
    models = {}
    for language in ("en", "zh"):
        readings = [Reading(one) for one in examples("dev", language)]
        gains = [explained(one, fit([other for other in readings if other is not one])) for one in readings]
        words_gain, pairs_gain = np.mean(gains, axis=0)
        print(f"{language}: {len(readings)} documents, each left out: {words_gain:.1f} nats of words, {pairs_gain:.1f} of pairs")
        models[language] = written(fit(readings))
        print(json.dumps({key: value for key, value in models[language].items() if key != "function_words"}))
    wording.WEIGHTS_PATH.write_text(json.dumps(models, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
