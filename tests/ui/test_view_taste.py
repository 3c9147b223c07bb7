"""The line that says what was learned, and where an answer comes from, in both languages."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.evaluation.features import FEATURES
from engine.evaluation.taste import Learned
from engine.services.taste import TasteSummary
from ui.i18n import LANGUAGES, translator
from ui.view_taste import answers_text, taste_line, taste_view

BY_NAME = {feature.name: feature for feature in FEATURES}
SURE = TasteSummary(
    True, 24, 48, accuracy=0.71, interval=(0.55, 0.83),
    learned=(Learned(BY_NAME["words"], -1, 0.6), Learned(BY_NAME["hedges"], -1, 0.2), Learned(BY_NAME["questions"], 1, 0.2)),
)  # fmt: skip


def test_a_sure_taste_is_one_sentence() -> None:
    en, zh = (taste_line(SURE, translator(language)) for language in LANGUAGES)
    assert en == "You tend to prefer short, direct answers that ask questions (from 24 ratings, right about 7 times in 10)."
    assert zh == "您更喜欢简短、直接、会提问的回答（根据 24 次评价，10 次约猜对 7 次）。"


def test_adjectives_alone_and_clauses_alone_read_well() -> None:
    short, direct, asking = SURE.learned
    t = translator("en")
    assert answers_text((short, direct), t) == "short, direct answers"
    assert answers_text((asking, Learned(BY_NAME["lists"], -1, 0.1)), t) == "answers that ask questions and make no lists"


def test_an_unsure_taste_says_so() -> None:
    unsure = replace(SURE, accuracy=0.58, interval=(0.41, 0.73))
    assert taste_line(unsure, translator("en")).startswith("Not sure yet: you may prefer short")
    assert "right about 6 times in 10" in taste_line(unsure, translator("en"))
    assert taste_line(replace(unsure, learned=()), translator("en")).startswith("No clear taste yet")
    assert taste_line(replace(SURE, learned=(), accuracy=0.97), translator("en")).endswith("right nearly every time).")


@pytest.mark.parametrize(("missing", "text"), [(8, "Pick or rate 8 more answers"), (1, "Pick or rate one more answer,")])
def test_too_little_says_how_much_is_missing(missing: int, text: str) -> None:
    summary = TasteSummary(ready=False, ratings=0, pairs=0, missing=missing)
    view = taste_view(summary, False, translator("en"))
    assert view["text"].startswith(text) and not view["ready"] and not view["sure"]
    assert taste_view(None, True, translator("en")) == {"ready": False, "sure": False, "learning": True, "text": ""}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("direction", [1, -1])
def test_every_feature_that_can_be_said_has_words(language: str, direction: int) -> None:
    t = translator(language)
    for feature in FEATURES:
        if feature.is_said:
            assert "taste." not in answers_text((Learned(feature, direction, 0.5),), t), feature.name
