"""Automatic figures, on texts whose figures can be worked out by hand."""

from __future__ import annotations

import math

import pytest

from engine.evaluation.metrics import (
    answer_figures,
    bleu,
    distinct_n,
    mean_figures,
    odd_share,
    perplexity,
    repetition,
    rouge_l,
    script,
    shared_surprise,
    words,
)

SENTENCE = "The harbour wakes before the bakers do."


def test_words_of_both_languages() -> None:
    assert words("Don't stop, Anna’s café!") == ["don't", "stop", "anna’s", "café"]
    assert words("我爱 tea 茶2") == ["我", "爱", "tea", "茶", "2"]
    assert words("… 🎉") == []


@pytest.mark.parametrize(
    ("character", "name"), [("a", "LATIN"), ("é", "LATIN"), ("я", "CYRILLIC"), ("茶", "CJK"), ("1", ""), ("🎉", "")]
)
def test_scripts(character: str, name: str) -> None:
    assert script(character) == name


def test_letters_of_other_scripts_are_odd_unless_the_prompt_uses_them() -> None:
    assert odd_share(SENTENCE, "Write.") == 0.0
    assert odd_share("Fresh брод", "Write.") == pytest.approx(4 / 10)
    assert odd_share("Fresh брод", "Что такое «брод»?") == 0.0
    assert odd_share("茶 tea", "写一句茶的广告。") == 0.0
    assert odd_share("a\ufffd\x00b", "x") == pytest.approx(0.5)
    assert odd_share("“Déjà vu” — 5 € 🎉\n", "x") == 0.0
    assert odd_share("", "x") == 0.0


def test_repetition() -> None:
    assert repetition(SENTENCE) == 0.0
    assert repetition("too short") == 0.0
    assert repetition("a b c d " * 10) > 0.8
    assert repetition("喝一杯茶" * 10) > 0.8


def test_diversity_is_over_all_texts() -> None:
    assert distinct_n(["a b c", "d e f"], 2) == 1.0
    assert distinct_n(["a b c", "a b c"], 2) == 0.5
    assert distinct_n([], 2) == 1.0


def test_perplexity_of_even_odds() -> None:
    assert perplexity([math.log(1 / 4)] * 7) == pytest.approx(4.0)
    assert perplexity([]) is None


def test_a_short_answer_is_compared_with_the_beginning_of_a_long_one() -> None:
    short, long = [-3.0, -2.0], [-3.0, -2.0, -0.1, -0.1, -0.1]
    assert shared_surprise(short, long) == (5.0, 5.0, 2)
    assert perplexity(short) > 3 * perplexity(long)  # type: ignore[operator]  # what it would say without


def test_closeness_to_liked_answers() -> None:
    assert bleu(SENTENCE, [SENTENCE, "Something else."]) == pytest.approx(100.0)
    assert rouge_l(SENTENCE, ["Something else.", SENTENCE]) == pytest.approx(1.0)
    assert rouge_l("nothing alike", [SENTENCE]) == 0.0
    assert bleu("清晨的港口很安静", ["清晨的港口很安静。"]) > 60
    assert rouge_l("清晨的港口", ["清晨的港口"]) == pytest.approx(1.0)


def test_figures_of_an_answer_leave_out_what_cannot_be_had() -> None:
    assert set(answer_figures(SENTENCE, "p")) == {"words", "characters", "odd_share", "repetition"}
    every = answer_figures(SENTENCE, "p", logprobs=[-1.0, -2.0], liked=[SENTENCE], taste=0.3)
    assert every["perplexity"] == pytest.approx(math.exp(1.5))
    assert (every["words"], every["tokens"], every["taste"], every["rouge_l"]) == (7, 2, 0.3, 1.0)


def test_means_weigh_perplexity_by_tokens() -> None:
    figures = [answer_figures("a b", "p", logprobs=[-1.0]), answer_figures("a b c d", "p", logprobs=[-3.0] * 3)]
    means = mean_figures(figures, ["a b", "a b c d"])
    assert means["words"] == 3.0
    assert means["perplexity"] == pytest.approx(math.exp(10 / 4))
    assert means["distinct_2"] == pytest.approx(3 / 4)
    assert means["bleu"] is None and means["taste"] is None
    assert mean_figures([], [])["words"] is None
