"""The passages with twins are what their README says. Knows the JSON Lines file; knows no judge."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from statistics import mean
from typing import Any

FOLDER = Path(__file__).resolve().parents[2] / "bench" / "summary" / "passages"
ROWS: list[dict[str, Any]] = [json.loads(line) for line in (FOLDER / "en.jsonl").read_text(encoding="utf-8").splitlines()]
CHANGES = {"name": 1, "number": 1, "negation": 2, "cause": 2, "invented": 1}
KINDS = {"news", "report", "story", "meeting", "email", "other"}
NEGATIVE = re.compile(
    r"\b(?:not|no|never|without|nobody|nothing|none|neither|nor|refused|failed|declined)\b|n[’']t\b", re.IGNORECASE
)


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def twins(*changes: str) -> list[tuple[str, str]]:
    return [(true, false) for row in ROWS for change, true, false in row["pairs"] if change in changes]


def test_passages_are_complete() -> None:
    for row in ROWS:
        assert list(row) == ["kind", "text", "pairs"] and row["kind"] in KINDS
        assert 50 <= len(row["text"].split()) <= 150, row["text"]
        assert Counter(change for change, _, _ in row["pairs"]) == CHANGES, row["text"]


def test_nothing_is_written_twice() -> None:
    said = [row["text"] for row in ROWS] + [sentence for pair in twins(*CHANGES) for sentence in pair]
    assert not [text for text, count in Counter(said).items() if count > 1]


def test_twins_look_alike() -> None:
    for true, false in twins(*CHANGES):
        assert 4 <= len(true.split()) <= 34 and 4 <= len(false.split()) <= 34, (true, false)
    lengths = [(len(words(true)), len(words(false))) for true, false in twins(*CHANGES)]
    assert abs(mean(true - false for true, false in lengths)) < 1
    shared = [len({*words(true)} & {*words(false)}) / len({*words(true)} | {*words(false)}) for true, false in twins(*CHANGES)]
    assert mean(shared) > 0.6


def test_a_negative_word_does_not_tell_which_is_false() -> None:
    pairs = twins("negation")
    only_true = sum(bool(NEGATIVE.search(true)) and not NEGATIVE.search(false) for true, false in pairs)
    only_false = sum(bool(NEGATIVE.search(false)) and not NEGATIVE.search(true) for true, false in pairs)
    assert 0.4 < only_true / (only_true + only_false) < 0.75
