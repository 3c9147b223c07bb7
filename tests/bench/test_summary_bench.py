"""The compared summarisers fill the same budget; what judges support and what is expected of a summary are fitted as they say."""

from __future__ import annotations

import random

import numpy as np
import pytest
from sumy.summarizers.lex_rank import LexRankSummarizer
from sumy.summarizers.lsa import LsaSummarizer
from sumy.summarizers.text_rank import TextRankSummarizer

from bench.summary.evaluation_set import Example, examples
from bench.summary.fit_support import SPEAK_FOR, Row, altered, fit, threshold
from bench.summary.fit_wording import Reading, explained, regress, written
from bench.summary.fit_wording import fit as fit_wording
from bench.summary.systems import filled, ranking, sentences
from engine.summary.alignment import FEATURES
from engine.summary.document import count_words
from engine.summary.wording import CONTENT, wording_model


@pytest.fixture(params=["en", "zh"])
def example(request: pytest.FixtureRequest) -> Example:
    return examples("dev", request.param)[0]


@pytest.mark.parametrize("kind", [LexRankSummarizer, TextRankSummarizer, LsaSummarizer])
def test_every_sentence_is_ranked_once_and_the_budget_is_filled(example: Example, kind: object) -> None:
    order = ranking(kind, example)
    assert sorted(order) == list(range(len(sentences(example))))
    budget = count_words(example.reference)
    assert 0.9 * budget <= count_words(filled(example, order, budget)) <= 1.1 * budget


def test_signs_are_fixed_and_what_tells_is_found() -> None:
    chance = np.random.default_rng(0)
    rows = []
    for number in range(200):
        is_false = bool(number % 2)
        figures = chance.random(len(FEATURES)) * 0.1
        figures[FEATURES.index("name_missing")] += is_false
        figures[FEATURES.index("meaning")] += is_false  # the wrong way round: must not be learned
        rows.append(Row(number % 5, "name" if is_false else "true", is_false, figures))
    bias, weights = fit(rows)
    assert weights[FEATURES.index("name_missing")] > 1
    assert all(value <= 0 if name in SPEAK_FOR else value >= 0 for name, value in zip(FEATURES, weights, strict=True))
    scores = np.array([row.figures @ weights + bias for row in rows])
    limit = threshold(rows, scores, 0.14)
    assert np.mean([score > limit for row, score in zip(rows, scores, strict=True) if not row.is_false]) <= 0.14
    assert np.mean([score > limit for row, score in zip(rows, scores, strict=True) if row.is_false]) == 1


def test_altered_sentences_differ_from_their_own(example: Example) -> None:
    own = sentences(example)
    found = altered(example, own, random.Random(1))
    assert found and not {text for _, text in found} & set(own)


def test_poisson_regression_finds_the_weights() -> None:
    chance = np.random.default_rng(0)
    figures = np.column_stack([np.ones(20_000), chance.normal(size=(20_000, 2))])
    counts = chance.poisson(np.exp(figures @ [-1.0, 0.5, -0.3]))
    reading = Reading(Example("one", "en", "news", "", "A text.", " ".join(["word"] * 100), ()))
    rows = {str(place): tuple(row) for place, row in enumerate(figures.tolist())}
    found = regress([(rows, reading, {str(place): int(count) for place, count in enumerate(counts)})])
    assert found == pytest.approx((-1.0, 0.5, -0.3), abs=0.03)


def test_fitted_wording_tells_what_references_hold(example: Example) -> None:
    readings = [Reading(one) for one in examples("dev", example.language)[:6]]
    model = fit_wording(readings[1:])
    of_words, of_pairs = explained(readings[0], model)
    assert of_words > 2 and of_pairs > 0
    kept = written(model)
    assert kept["content"] == {name: round(value, 4) for name, value in zip(CONTENT, model.content, strict=True)}
    assert sum(model.function.values()) < 1 and model.rare < min(model.function.values())


def test_the_shipped_wording_is_a_fitted_one() -> None:
    for language, most in (("en", "the"), ("zh", "的")):
        model = wording_model(language)
        assert max(model.function, key=lambda word: model.function[word]) == most
        assert 0 < model.content_share < 1
        assert all(weight > 0 for weight in model.content[1:])  # what occurs oftener is expected more
