"""Fit the weights that judge whether a sentence has support: `python -m bench.summary.fit_support`.

Only documents marked "dev". True are their true claims, the sentences of their references and some of their own sentences word
for word; false are their altered claims and some claims about other documents. The sign of every weight is fixed. The bias is set
where, each document judged by weights fitted on the others, at most FALSE_ALARMS of the true claims and reference sentences are
doubted. For each model whose own sentences are labelled, what is added for them is set where at most the same share of its true
ones is doubted. Writes assets/summary_support.json.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from bench.summary.evaluation_set import Example, examples, model_sentences, starter_encode
from engine.jobs.job import CancelToken
from engine.summary.alignment import FEATURES, SourceIndex
from engine.summary.extractive import Encode, remembering
from engine.summary.names import chinese_names, english_names
from engine.summary.numerals import numbers
from engine.summary.sentences import sentence_spans
from engine.summary.support import WEIGHTS_PATH, is_copy

FALSE_ALARMS = {"en": 0.1, "zh": 0.05}
"""By language. What an honest sentence looks like differs more between Chinese documents, so that a limit of the same share
doubts far more in new ones.
"""
RIDGE = 0.003
STEPS = 1200
RATE = 1.0
LEAST_SPREAD = 0.02
SPEAK_FOR = frozenset({"meaning", "shared_best", "soft_around"})
COPIES = 4
STRANGERS = 3
ALTERED = 4
WEIGHT = {"copy": 0.5, "stranger": 0.5, "renamed": 0.5, "renumbered": 0.5}


@dataclass(frozen=True, slots=True)
class Row:
    """One judged sentence: `kind` is what was altered, "true", "reference", "copy", "renamed", "renumbered" or "stranger"."""

    document: int
    kind: str
    is_false: bool
    figures: npt.NDArray[np.float64]


def rows_of(found: Sequence[Example], encode: Encode | None) -> list[Row]:
    """Everything there is to learn from."""
    chance = random.Random(0)
    rows = []
    for number, one in enumerate(found):
        index = SourceIndex([one], encode, CancelToken())
        own = [one.text[start:end] for start, end in sentence_spans(one.text) if end - start > 20]
        said = [(claim.change or "true", not claim.supported, claim.text) for claim in one.claims]
        said += [("reference", False, one.reference[start:end]) for start, end in sentence_spans(one.reference)]
        said += [("copy", False, text) for text in chance.sample(own, COPIES)]
        said += [(kind, True, text) for kind, text in altered(one, own, chance)]
        other = found[(number + 1) % len(found)]
        said += [("stranger", True, claim.text) for claim in chance.sample(other.claims, STRANGERS)]
        rows += [Row(number, kind, is_false, index.align(text).figures) for kind, is_false, text in said]
    return rows


def altered(one: Example, own: Sequence[str], chance: random.Random) -> list[tuple[str, str]]:
    """Sentences of the document with another of its names, or with a number that it has not: what small models get wrong."""
    found: list[tuple[str, str]] = []
    find = chinese_names if one.language == "zh" else english_names
    names = sorted({name for name in find(one.text)})
    values = {number.value for number in numbers(one.text)}
    for text in chance.sample(list(own), len(own)):
        here = [name for name in names if name in text.casefold()]
        others = [name for name in names if name not in text.casefold()]
        if here and others and sum(kind == "renamed" for kind, _ in found) < ALTERED:
            name, new = chance.choice(here), chance.choice(others)
            found.append(("renamed", re.sub(re.escape(name), new.title(), text, flags=re.IGNORECASE)))
        stated = [number for number in numbers(text) if not number.is_small_word]
        if stated and sum(kind == "renumbered" for kind, _ in found) < ALTERED:
            number = chance.choice(stated)
            tried = (round(number.value * share) + more for more in range(50) for share in (1.3, 1.6, 2.2))
            value = next(new for new in tried if new not in values)
            found.append(("renumbered", f"{text[: number.start]}{value}{text[number.end :]}"))
    return found


def fit(rows: Sequence[Row]) -> tuple[float, npt.NDArray[np.float64]]:
    """(bias, weights) by projected gradient descent, every figure first brought to the same spread."""
    figures = np.stack([row.figures for row in rows])
    spread = figures.std(axis=0) + LEAST_SPREAD
    figures = figures / spread
    is_false = np.array([row.is_false for row in rows], float)
    weight = np.array([WEIGHT.get(row.kind, 1.0) for row in rows])
    signs = np.array([-1.0 if name in SPEAK_FOR else 1.0 for name in FEATURES])
    bias, weights = 0.0, np.zeros(len(FEATURES))
    for _ in range(STEPS):
        wrong = weight * (1 / (1 + np.exp(-(figures @ weights + bias))) - is_false) / weight.sum()
        weights = weights - RATE * (wrong @ figures + RIDGE * weights)
        weights = np.where(weights * signs < 0, 0, weights)
        bias -= RATE * float(wrong.sum())
    return bias, weights / spread


def model_rows(found: Sequence[Example], encode: Encode | None) -> dict[str, list[Row]]:
    """By author: the labelled sentences of models about these documents that do not stand there word for word."""
    rows: dict[str, list[Row]] = {}
    labelled = [said for said in model_sentences("dev") if said.supported is not None]
    for number, one in enumerate(found):
        index = SourceIndex([one], encode, CancelToken())
        for said in labelled:
            if said.document_id == one.id and not is_copy(said.text, [one]):
                kind = "true" if said.supported else "invented"
                rows.setdefault(said.author, []).append(Row(number, kind, not said.supported, index.align(said.text).figures))
    return rows


def left_out(rows: Sequence[Row], judged: Sequence[Row]) -> npt.NDArray[np.float64]:
    """The score of each of `judged` by weights that have not seen its document."""
    scores = np.zeros(len(judged))
    for document in {row.document for row in judged}:
        bias, weights = fit([row for row in rows if row.document != document])
        for place, row in enumerate(judged):
            if row.document == document:
                scores[place] = row.figures @ weights + bias
    return scores


def threshold(rows: Sequence[Row], scores: npt.NDArray[np.float64], share: float) -> float:
    """The score above which no more than that share of what is true lies."""
    honest = np.sort([score for row, score in zip(rows, scores, strict=True) if row.kind in ("true", "reference")])
    return float(honest[int(np.ceil((1 - share) * len(honest))) - 1]) + 1e-6


def main() -> None:
    torch.set_num_threads(1)
    encode = remembering(starter_encode())
    models = {}
    for name, language, is_encoded in (("en", "en", True), ("terms", "en", False), ("zh", "zh", False)):
        found, encoder = examples("dev", language), encode if is_encoded else None
        rows = rows_of(found, encoder)
        scores = left_out(rows, rows)
        limit = threshold(rows, scores, FALSE_ALARMS[language])
        bias, weights = fit(rows)
        print(f"{name}: documents left out in turn, doubted")
        show(rows, scores, limit)
        authors = {}
        for author, said in model_rows(found, encoder).items():
            scores = left_out(rows, said)
            stricter = threshold(said, scores, FALSE_ALARMS[language])
            authors[author] = round(max(0.0, limit - stricter), 4)
            print(f" what {author} wrote")
            show(said, scores, stricter)
        kept = {key: round(float(value), 4) for key, value in zip(FEATURES, weights, strict=True) if abs(value) > 1e-4}
        models[name] = {"bias": round(bias - limit, 4), "weights": kept, "authors": authors}
    WEIGHTS_PATH.write_text(json.dumps(models, indent=1) + "\n", encoding="utf-8")


def show(rows: Sequence[Row], scores: npt.NDArray[np.float64], limit: float) -> None:
    """Print how much of each kind is doubted."""
    for kind in dict.fromkeys(row.kind for row in rows):
        doubted = [score > limit for row, score in zip(rows, scores, strict=True) if row.kind == kind]
        print(f"  {kind:12}{np.mean(doubted):6.0%} of {len(doubted)}")


if __name__ == "__main__":
    main()
