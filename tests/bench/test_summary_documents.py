"""The documents for summaries are what their README says: sizes, splits, references in other words, complete claims.

Knows the JSON files; knows no summariser and no judge.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "bench" / "summary" / "documents"
FILES = sorted(FOLDER.glob("*.json"))
KEYS = ["id", "language", "kind", "split", "title", "text", "reference", "claims"]
CHANGES = ["name", "number", "negation", "cause", "invented"]
TEXT = {"en": (450, 800), "zh": (700, 1300)}
REFERENCE = {"en": (60, 110), "zh": (100, 180)}
# The longest run of words (zh: characters) that may also stand in the text.
REFERENCE_RUN = {"en": 9, "zh": 11}
TRUE_RUN = {"en": 6, "zh": 8}
ALTERED_RUN = {"en": 11, "zh": 16}

Document = dict[str, Any]
each = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


@cache
def read(path: Path) -> Document:
    return json.loads(path.read_text(encoding="utf-8"))


def units(text: str, language: str) -> list[str]:
    """Lower-cased words, or Chinese characters with runs of Latin letters and digits, without punctuation."""
    if language == "en":
        return re.findall(r"[a-z0-9]+(?:['’.,-][a-z0-9]+)*", text.lower().replace("’", "'"))
    return re.findall(r"[\u4e00-\u9fff]|[a-z0-9.]+", text.lower())


def size(text: str, language: str) -> int:
    return len(text.split()) if language == "en" else len(re.sub(r"\s", "", text))


def sentences(text: str) -> set[str]:
    return {part.strip().lower() for part in re.split(r"(?<=[.!?])\s+|(?<=[。！？])|\n", text) if part.strip()}


def runs(text: str, language: str, length: int) -> set[tuple[str, ...]]:
    found = units(text, language)
    return {tuple(found[at : at + length]) for at in range(len(found) - length + 1)}


def shared_runs(part: str, document: Document, longest: dict[str, int]) -> list[str]:
    """Runs of `part` that are longer than allowed and stand in the document's text."""
    language = document["language"]
    length = longest[language] + 1
    return sorted(" ".join(run) for run in runs(part, language, length) & runs(document["text"], language, length))


def everything_written() -> Iterator[str]:
    for path in FILES:
        document = read(path)
        yield from (document["title"], document["text"], document["reference"])
        yield from (claim["text"] for claim in document["claims"])


@each
def test_document_is_complete(path: Path) -> None:
    document = read(path)
    assert list(document) == KEYS
    assert document["id"] == path.stem
    language, kind, _ = document["id"].split("-")
    assert (document["language"], document["kind"]) == (language, kind)
    assert document["split"] in ("dev", "test")
    assert document["title"] and document["title"] == document["title"].strip()


@each
def test_sizes(path: Path) -> None:
    document = read(path)
    low, high = TEXT[document["language"]]
    assert low <= size(document["text"], document["language"]) <= high
    low, high = REFERENCE[document["language"]]
    assert low <= size(document["reference"], document["language"]) <= high


@each
def test_language_is_the_stated_one(path: Path) -> None:
    document = read(path)
    for written in (document["text"], document["reference"], *(claim["text"] for claim in document["claims"])):
        chinese = len(re.findall(r"[\u4e00-\u9fff]", written)) / size(written, "zh")
        assert chinese == 0 if document["language"] == "en" else chinese > 0.6, written


@each
def test_reference_is_in_other_words(path: Path) -> None:
    document = read(path)
    assert not sentences(document["reference"]) & sentences(document["text"])
    assert not shared_runs(document["reference"], document, REFERENCE_RUN)


@each
def test_reference_is_no_opening(path: Path) -> None:
    """More of the reference's words come from the rest of the text than from its first fifth alone."""
    document = read(path)
    language = document["language"]
    found = units(document["text"], language)
    opening, rest = set(found[: len(found) // 5]), set(found[len(found) // 5 :])
    wanted = set(units(document["reference"], language))
    assert len(wanted & (rest - opening)) > len(wanted & (opening - rest))


@each
def test_claims(path: Path) -> None:
    document = read(path)
    claims = document["claims"]
    assert [claim["change"] for claim in claims] == [None] * 4 + CHANGES
    for claim in claims:
        assert list(claim) == ["text", "supported", "change", "about"]
        assert claim["supported"] is (claim["change"] is None)
        assert claim["about"].strip()
        assert len(sentences(claim["text"])) == 1 and claim["text"].endswith((".", "。")), claim["text"]
        assert not sentences(claim["text"]) & sentences(document["text"])
        assert not shared_runs(claim["text"], document, TRUE_RUN if claim["supported"] else ALTERED_RUN), claim["text"]


def test_kinds_languages_and_splits_are_balanced() -> None:
    counts = Counter((read(path)["language"], read(path)["kind"], read(path)["split"]) for path in FILES)
    assert len(FILES) == 120
    for language, (size_of_split, of_kinds) in {"en": (36, {6, 7, 8}), "zh": (24, {4, 5})}.items():
        for split in ("dev", "test"):
            of_kind = [counts[language, kind, split] for kind in ("news", "report", "story", "meeting", "email")]
            assert sum(of_kind) == size_of_split and set(of_kind) <= of_kinds
    for kind in ("news", "report", "story", "meeting", "email"):
        assert counts["en", kind, "dev"] + counts["zh", kind, "dev"] == counts["en", kind, "test"] + counts["zh", kind, "test"]


def test_nothing_is_written_twice() -> None:
    repeated = [text for text, count in Counter(everything_written()).items() if count > 1]
    assert not repeated
    of_texts = Counter(chain.from_iterable(runs(read(path)["text"], read(path)["language"], 12) for path in FILES))
    assert not [run for run, count in of_texts.items() if count > 1]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_likeness_to_the_text_does_not_tell_supported_claims(language: str) -> None:
    """The mean share of a claim's words (zh: pairs of characters) that also stand in the text, supported against altered."""
    length = 1 if language == "en" else 2
    shares: dict[bool, list[float]] = {True: [], False: []}
    for document in (read(path) for path in FILES):
        if document["language"] == language:
            of_text = runs(document["text"], language, length)
            for claim in document["claims"]:
                found = runs(claim["text"], language, length)
                shares[claim["supported"]].append(len(found & of_text) / len(found))
    assert mean(shares[True]) == pytest.approx(mean(shares[False]), abs=0.08)


def test_claims_of_each_change() -> None:
    changes = Counter(claim["change"] for path in FILES for claim in read(path)["claims"])
    assert changes == {None: 480, **dict.fromkeys(CHANGES, 120)}
