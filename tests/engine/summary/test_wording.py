"""Expected words of a summary: rates from figures, what is expected once and what twice, and choosing by them."""

from __future__ import annotations

import numpy as np
import pytest

from engine.summary.selection import Candidates, select
from engine.summary.wording import Wording, coverage_table, expected, wording_model

TEXT = [
    "The council of Marlow closed the swimming pool in March.",
    "The pool leaked, and the council had no money for the pipes.",
    "Swimmers collected signatures against the closing of the pool.",
    "A heron stood on the roof.",
]


def test_expected_counts_of_words_and_pairs() -> None:
    of_words, of_pairs = expected(Wording(TEXT, "en", "Pool closed"), 60)
    assert of_words["pool"] > of_words["council"] > of_words["heron"] > 0  # in the title; twice; once
    assert of_words["closed"] > of_words["signatures"]  # another form of it occurs, and the title has it
    assert of_words["the"] > of_words["against"]  # what summaries use, not how content words are rated
    assert of_pairs["the", "pool"] > of_pairs["the", "roof"] > 0
    assert ("pool", "the") not in of_pairs  # never over the end of a sentence
    content = sum(rate for word, rate in of_words.items() if word not in wording_model("en").function)
    assert content == pytest.approx(60 * wording_model("en").content_share, rel=0.05)


def test_rates_grow_with_the_budget() -> None:
    wording = Wording(TEXT, "en")
    short, long = expected(wording, 30)[0], expected(wording, 90)[0]
    assert all(long[word] == pytest.approx(3 * rate) for word, rate in short.items())


@pytest.mark.parametrize(
    ("language", "text"), [("zh", "大桥因桥墩被冲空而关闭。"), ("de", "Die Brücke ist wegen Hochwassers gesperrt.")]
)
def test_other_languages(language: str, text: str) -> None:
    of_words, of_pairs = expected(Wording([text, text], language), 50)
    assert min(*of_words.values(), *of_pairs.values()) > 0
    assert ("桥" in of_words) == (language == "zh")


def test_coverage_is_the_expected_smaller_count() -> None:
    rates = np.array([0.0, 0.4, 3.0])
    drawn = np.random.default_rng(0).poisson(rates, (200_000, 3))
    table = coverage_table(rates, 5)
    for k in range(6):
        assert table[:, k] == pytest.approx(np.minimum(drawn, k).mean(axis=0), abs=0.01)


def candidates(
    holds: list[dict[int, int]], rates: list[float], sizes: list[float], documents: list[int] | None = None
) -> Candidates:
    return Candidates(
        np.array(sizes),
        holds,
        np.array(rates),
        np.ones(len(rates)),
        np.zeros(len(holds)),
        np.array(documents or [0] * len(holds)),
    )


def test_what_is_expected_once_is_not_chosen_twice() -> None:
    same, other = {0: 1, 1: 1}, {2: 1, 3: 1}
    assert sorted(select(candidates([same, same, other], [1, 1, 0.5, 0.5], [10, 10, 10]), 20)) in ([0, 2], [1, 2])
    assert sorted(select(candidates([same, same, other], [6, 6, 0.5, 0.5], [10, 10, 10]), 20)) == [0, 1]


def test_an_exchange_finds_what_the_first_choice_misses() -> None:
    """The densest sentence fills half of the budget so that nothing good fits beside it; two others are better together."""
    holds = [{0: 1, 1: 1, 2: 1}, {0: 1, 1: 1, 3: 1, 4: 1}, {2: 1, 5: 1, 6: 1, 7: 1}, {8: 1}]
    found = select(candidates(holds, [1.0] * 8 + [0.01], [6, 10, 10, 14]), 20)
    assert sorted(found) == [1, 2]


def test_a_second_document_is_preferred_to_more_of_the_first() -> None:
    holds = [{0: 1}, {1: 1}, {2: 1}]
    assert sorted(select(candidates(holds, [0.9, 0.8, 0.7], [10, 10, 10], [0, 0, 1]), 20)) == [0, 2]
