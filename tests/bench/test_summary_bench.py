"""The compared summarisers fill the same budget, and what judges support is fitted as its docstring says."""

from __future__ import annotations

import random

import numpy as np
import pytest
from sumy.summarizers.lex_rank import LexRankSummarizer
from sumy.summarizers.lsa import LsaSummarizer
from sumy.summarizers.text_rank import TextRankSummarizer

from bench.summary.evaluation_set import Example, examples
from bench.summary.fit_support import SPEAK_FOR, Row, altered, fit, threshold
from bench.summary.systems import filled, ranking, sentences
from engine.summary.alignment import FEATURES
from engine.summary.document import count_words


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
