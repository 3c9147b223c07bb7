"""What the Train page says of the ratings: the headline, the panel of the data, examples of TRL's three row formats."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest

from engine.services.trl import dpo_row, kto_row, sft_row
from storage.records import DatasetRecord, Method
from ui.i18n import LANGUAGES, translator
from ui.view_dataset import EXAMPLE_CHARS, GOOD_START, data_view, dataset_view, example_view, headline

T = translator("en")
PROMPT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]


def counts(**sizes: int) -> dict[Any, Any]:
    return {method: {"train": n - 1, "held_out": 1, "prompts": n, "held_out_prompts": 1} for method, n in sizes.items()}


def test_the_headline_counts_what_is_usable_and_what_makes_a_good_start() -> None:
    said = headline(counts(dpo=31, kto=15), "dpo", False, T)
    assert said["headline"] == "You have 46 usable ratings: 31 pairs, 15 thumbs. 14 more pairs make a good start."
    assert said["is_enough"] is False


def test_enough_is_enough() -> None:
    said = headline(counts(dpo=GOOD_START["dpo"], kto=1), "dpo", False, T)
    assert said["is_enough"] and "45 pairs, 1 thumb." in said["headline"]


def test_what_cannot_start_is_not_called_a_start() -> None:
    assert headline(counts(kto=3), "kto", True, T)["headline"] == "You have 3 usable ratings: 3 thumbs."
    assert headline({}, "dpo", True, T) | {"hint": ""} == {
        "headline": "You have no usable ratings yet.",
        "hint": "",
        "is_enough": False,
    }


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("method", ["dpo", "kto", "sft"])
def test_every_sentence_has_its_words(language: str, method: Method) -> None:
    t = translator(language)
    for sizes in ({}, {"sft": 3}, {"dpo": 2, "kto": 9, "sft": 1}, {"dpo": 99, "kto": 99, "sft": 99}):
        said = json.dumps([headline(counts(**sizes), method, False, t), data_view(counts(**sizes), method, (), (), t)])
        assert "train." not in said and not re.search(r"\{\w+\}", said)


@pytest.mark.parametrize(
    ("row", "kinds"),
    [
        (dpo_row(PROMPT, "Hi.", "Greetings to you."), ["chosen", "rejected"]),
        (kto_row(PROMPT, "Hi.", 1.0), ["liked"]),
        (kto_row(PROMPT, "Hi.", -0.5), ["disliked"]),
        (sft_row(PROMPT, "Hi."), ["answer"]),
    ],
)
def test_an_example_shows_prompt_and_answers(row: dict[str, Any], kinds: list[str]) -> None:
    shown = example_view(row)
    assert shown["prompt"] == "Hello" and [one["kind"] for one in shown["answers"]] == kinds
    assert shown["answers"][0]["text"] == "Hi."


def test_of_a_conversation_what_was_asked_last_is_shown() -> None:
    talk = [*PROMPT, {"role": "assistant", "content": "Hi."}, {"role": "user", "content": "And now?"}]
    shown = example_view(sft_row(talk, "Now this."))
    assert (shown["prompt"], shown["earlier"]) == ("And now?", 2)
    assert example_view(sft_row(PROMPT, "Hi."))["earlier"] == 0


def test_a_long_example_is_cut() -> None:
    assert len(example_view(sft_row(PROMPT, "x" * 99_999))["answers"][0]["text"]) == EXAMPLE_CHARS


def test_the_panel_says_balance_duplicates_and_what_is_held_out() -> None:
    found = counts(dpo=12, kto=9)
    found["dpo"]["duplicates"] = 2
    found["kto"] |= {"positive": 7, "negative": 2}
    view = data_view(found, "dpo", ("1 more pair.",), (), T)
    assert view["balance"] == {"liked": 7, "disliked": 2} and view["missing"] == ["1 more pair."]
    assert "2 duplicates are left out." in view["notes"] and any("held out" in note for note in view["notes"])
    assert set(view["methods"]) == {"dpo", "kto"} and view["suggested"] == "dpo"


def test_a_frozen_dataset_without_a_name_is_called_by_its_day() -> None:
    made = datetime(2026, 11, 3, 12, tzinfo=UTC)
    record = DatasetRecord("d" * 32, 1, "owner", "text", "dpo", "", "ab" * 32, {}, {"train": 5, "held_out": 1}, made)
    view = dataset_view(record, T)
    assert "2026-11-0" in view["title"] and view["train"] == 5 and view["sha256"] == "ab" * 32
    json.dumps(view)
