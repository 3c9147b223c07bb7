"""Readable features: each moves with what it is named after, in English and in Chinese."""

from __future__ import annotations

import math

import pytest

from engine.evaluation.features import FEATURES, NAMES, features

PLAIN = "The baker opens the door."


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("words", PLAIN + " He smiles and puts the bread on the table"),
        ("sentences", "The baker opens. The door."),
        ("lines", "The baker\nopens the door."),
        ("lists", "- The baker\n- opens the door."),
        ("markup", "The **baker** opens the door."),
        ("digits", "The baker opens the door at 5."),
        ("emoji", "The baker opens the door. 🍞"),
        ("quotes", 'The "baker" opens the door.'),
        ("opens_quoted", '"The baker opens the door."'),
        ("questions", "Who opens the door?"),
        ("opens_asking", "Who opens the door? The baker."),
        ("exclamations", "The baker opens the door!"),
        ("you", "The baker opens your door."),
        ("i", "My baker opens the door."),
        ("we", "Our baker opens the door."),
        ("names", "The baker opens the door to Anna."),
        ("contractions", "The baker's opening the door, he'll smile."),
        ("hedges", "Perhaps the baker opens the door."),
        ("warm", "The happy baker opens the door."),
        ("polite", "Please, baker, open the door."),
        ("alliteration", "The big baker brings bread."),
        ("rhyme", "The baker is at the door.\nThe bread is on the floor."),
        ("word_letters", "Extraordinary establishments continuously materialise."),
        ("uneven", "Stop. The baker opens the heavy door of the old shop at five."),
        ("abstract", "The realisation of happiness is the ambition."),
    ],
)
def test_more_of_it(name: str, text: str) -> None:
    assert features(text)[name] > features(PLAIN)[name]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("words", "面包师在清晨打开了门。"),
        ("sentences", "面包师来了。门开了。"),
        ("questions", "谁开门？"),
        ("you", "面包师为您开门。"),
        ("commas", "面包师，开门。"),
        ("quotes", "面包师说“早上好”。"),
    ],
)
def test_more_of_it_in_chinese(name: str, text: str) -> None:
    assert features(text)[name] > features("开门。")[name]


def test_an_opener_an_echo_and_an_unfinished_end() -> None:
    assert features("Sure, here is one.")["opener"] == 1
    near, far = (features(f"Fresh {what}.", "Write about bread.")["echo"] for what in ("bread", "cakes"))
    assert near > far
    assert features("The baker opens the")["finished"] == 0 and features(PLAIN)["finished"] == 1


@pytest.mark.parametrize("text", ["", "   ", "。", "!!!", "🍞🍞", "\n\n", "a", "1 2 3", "\ud800", "x" * 20_000])
def test_any_text_has_all_features_and_they_are_numbers(text: str) -> None:
    found = features(text, text)
    assert tuple(found) == NAMES
    assert all(math.isfinite(value) for value in found.values())


def test_names_are_unique() -> None:
    assert len(set(NAMES)) == len(FEATURES)
