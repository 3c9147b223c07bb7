"""The figures beside a summary, worked out by hand."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from engine.summary.scores import coverage, scores_of
from engine.summary.support import judge


@dataclass(frozen=True, slots=True)
class Source:
    text: str
    language: str = "en"
    title: str = ""


TEXT = Source("The bridge is old. The bridge needs steel. Steel is dear. A cat sleeps.")


def test_all_figures() -> None:
    summary = "The bridge is old."
    found = scores_of(summary, [TEXT], judge(summary, [TEXT]), reference="The bridge is very old.")
    assert found["rouge_1"] == pytest.approx(2 * (4 / 4) * (4 / 5) / (4 / 4 + 4 / 5))
    assert found["rouge_2"] == pytest.approx(2 * (2 / 3) * (2 / 4) / (2 / 3 + 2 / 4))
    assert found["bleu"] is not None and 0 < found["bleu"] < 100
    assert found["compression"] == pytest.approx(4 / 14)
    assert found["coverage"] == pytest.approx(0.5)
    assert found["support"] == 1 and found["words"] == 4


def test_without_a_reference_or_a_sentence() -> None:
    found = scores_of("", [TEXT], ())
    assert found["rouge_1"] is None and found["bleu"] is None and found["support"] is None
    assert found["coverage"] == 0 and found["compression"] == 0
    assert scores_of("Words.", [Source("")], ())["compression"] is None


def test_chinese_counts_characters() -> None:
    found = scores_of("大桥关闭。", [Source("大桥关闭。大桥很旧。", "zh")], (), reference="大桥关闭")
    assert found["rouge_1"] == found["rouge_l"] == 1 and found["words"] == 4


def test_coverage_of_everything_is_one() -> None:
    assert coverage(TEXT.text, [TEXT]) == pytest.approx(1) and coverage("Dogs.", [TEXT]) == 0
