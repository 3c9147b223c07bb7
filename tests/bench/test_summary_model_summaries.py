"""What a model wrote about the documents is labelled as its README says. Knows the JSON files; knows no judge."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from engine.models.catalog import STARTER_TEXT_ID

FOLDER = Path(__file__).resolve().parents[2] / "bench" / "summary"
LINES = (FOLDER / "model_summaries" / "en.jsonl").read_text(encoding="utf-8").splitlines()
ROWS: list[dict[str, Any]] = [json.loads(line) for line in LINES]
CHANGES = {"name", "number", "negation", "cause", "invented"}


def test_every_english_document_has_one_summary_of_each_method_and_keeps_its_half() -> None:
    halves = {path.stem: json.loads(path.read_text(encoding="utf-8"))["split"] for path in FOLDER.glob("documents/en-*.json")}
    assert all(row["split"] == halves[row["document"]] and row["author"] == STARTER_TEXT_ID for row in ROWS)
    assert Counter((row["document"], row["method"]) for row in ROWS) == Counter(
        (document, method) for document in halves for method in ("abstractive", "hybrid")
    )


def test_sentences_are_labelled() -> None:
    for row in ROWS:
        assert row["sentences"], row["document"]
        for one in row["sentences"]:
            assert list(one) == ["text", "supported", "change", "about"] and one["text"].strip()
            if one["supported"] is False:
                assert one["change"] in CHANGES and one["about"]
            else:
                assert one["supported"] in (True, None) and one["change"] is one["about"] is None


def test_there_are_enough_in_both_halves() -> None:
    for split in ("dev", "test"):
        labels = Counter(one["supported"] for row in ROWS if row["split"] == split for one in row["sentences"])
        assert labels[False] >= 300 and labels[True] >= 15 and labels[None] < 0.15 * labels.total()
