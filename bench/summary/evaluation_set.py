"""The documents that summaries are measured on, as bench/summary/documents keeps them, what a model wrote about them
(bench/summary/model_summaries), and the starter encoder.

Documents marked "dev" are for tuning, those marked "test" for the figures. Knows the files; knows no summariser.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from engine.models.catalog import STARTER_ENCODER_ID
from engine.models.store import ModelStore
from engine.summary.extractive import Encode
from engine.text.encoder import TextEncoder
from tests.starter import starter_catalog, starter_models

FOLDER = Path(__file__).resolve().parent / "documents"
MODEL_SUMMARIES = Path(__file__).resolve().parent / "model_summaries" / "en.jsonl"


@dataclass(frozen=True, slots=True)
class Claim:
    """One sentence about a document. `change`: what was altered, or "" for a true one."""

    text: str
    supported: bool
    change: str


@dataclass(frozen=True, slots=True)
class Example:
    """One document with a summary that a person wrote and claims about it."""

    id: str
    language: str
    kind: str
    title: str
    text: str
    reference: str
    claims: tuple[Claim, ...]


def examples(split: Literal["dev", "test"], language: str) -> list[Example]:
    """Those of a half and a language, by id."""
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))]
    return [_example(row) for row in rows if row["split"] == split and row["language"] == language]


def _example(row: Mapping[str, Any]) -> Example:
    claims = tuple(Claim(one["text"], one["supported"], one["change"] or "") for one in row["claims"])
    return Example(row["id"], row["language"], row["kind"], row["title"], row["text"], row["reference"], claims)


@dataclass(frozen=True, slots=True)
class ModelSentence:
    """One sentence that a model wrote about a document. `supported`: None where it states nothing or readers disagreed."""

    document_id: str
    author: str
    text: str
    supported: bool | None


def model_sentences(split: Literal["dev", "test"]) -> list[ModelSentence]:
    """What models wrote about the English documents of a half."""
    rows = [json.loads(line) for line in MODEL_SUMMARIES.read_text(encoding="utf-8").splitlines()]
    return [
        ModelSentence(row["document"], row["author"], one["text"], one["supported"])
        for row in rows
        if row["split"] == split
        for one in row["sentences"]
    ]


def starter_encode() -> Encode:
    """The starter encoder as a function."""
    spec = starter_catalog().get(STARTER_ENCODER_ID)
    return TextEncoder(spec, ModelStore(starter_models()).path(spec)).encode
