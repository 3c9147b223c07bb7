"""How well the taste model sorts: `python -m bench.taste [--ratings 40] [--noise 0.0] [--no-encoder] [--rules NAME …]`.

For each hidden rule of bench/taste_rules.py a simulated rater picks the best of three real answers to 40 prompts. Then, for 48
other prompts, the taste model chooses one of four real answers, and the rule compares it with

    same 4   a random one of the same four, itself among them (ties and itself count a half: a perfect choice gets the ceiling)
    other    a random one of the three it did not choose (the same, without itself)

Both are exact expectations over the random candidate. `dev` rules were looked at while the model was made; the others are the
figure. The first run writes the answers with the starter model and keeps them outside the repository.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean
from typing import TypeAlias

import numpy as np
import torch

from bench.taste_candidates import Answered, cached_answers
from bench.taste_rules import RULES, Rule
from engine.errors import NoModelError
from engine.evaluation.features import FEATURES
from engine.evaluation.taste import Description, Pair, TasteModel, fit
from engine.models.catalog import STARTER_ENCODER_ID
from engine.models.store import ModelStore
from engine.services.taste import Describer, Encoder
from engine.text.encoder import TextEncoder
from tests.starter import starter_catalog, starter_models

Described: TypeAlias = dict[tuple[str, str], Description]
"""(prompt, answer) in numbers."""
SAMPLES = 3
"""Raters of the same rule who break ties differently; the figure is their mean."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Shares of won comparisons, the best that could be had, and what the taste model said of itself."""

    same: float
    same_ceiling: float
    other: float
    other_ceiling: float
    said: float


class StarterEncoder:
    """The starter encoder as a host; `is_there` False = none is installed."""

    def __init__(self, is_there: bool) -> None:
        spec = starter_catalog().get(STARTER_ENCODER_ID)
        self._encoder = TextEncoder(spec, ModelStore(starter_models()).path(spec)) if is_there else None

    @contextmanager
    def use_encoder(self) -> Iterator[Encoder]:
        """The encoder."""
        if self._encoder is None:
            raise NoModelError("None is wanted.")
        yield self._encoder


def learn(rule: Rule, rated: Sequence[Answered], described: Described, seed: int, noise: float) -> TasteModel:
    """The taste of a rater who picks the best of each prompt's answers; with `noise` that share of picks is random."""
    chance = random.Random(seed)
    items: list[Description] = []
    pairs: list[Pair] = []
    for one in rated:
        scores = [rule.score(answer) for answer in one.answers]
        best = chance.choice([place for place, score in enumerate(scores) if score == max(scores)])
        if chance.random() < noise:
            best = chance.randrange(len(scores))
        pairs += [Pair(len(items) + best, len(items) + place, one.prompt) for place in range(len(scores)) if place != best]
        items += [described[one.prompt, answer] for answer in one.answers]
    return fit(items, pairs, FEATURES)


def won(scores: Sequence[float], chosen: int) -> tuple[float, float]:
    """Expected share of comparisons that `chosen` wins against a random one of all, and of the others."""
    shares = [1.0 if scores[chosen] > score else 0.5 if scores[chosen] == score else 0.0 for score in scores]
    return fmean(shares), (sum(shares) - 0.5) / (len(shares) - 1)


def measure(rule: Rule, answers: Sequence[Answered], described: Described, ratings: int, noise: float) -> Figures:
    """All figures of one rule."""
    rated = [one for one in answers if one.part == "rate"][:ratings]
    rows = []
    for seed in range(SAMPLES):
        model = learn(rule, rated, described, seed, noise)
        for one in (one for one in answers if one.part == "new"):
            scores = [rule.score(answer) for answer in one.answers]
            chosen = int(np.argmax(model.score([described[one.prompt, answer] for answer in one.answers])))
            same, other = won(scores, chosen)
            best_same, best_other = won(scores, int(np.argmax(scores)))
            rows.append((same, best_same, other, best_other, model.accuracy))
    return Figures(*(fmean(column) for column in zip(*rows, strict=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ratings", type=int, default=40)
    parser.add_argument("--noise", type=float, default=0.0)
    parser.add_argument("--no-encoder", action="store_true")
    parser.add_argument("--rules", nargs="*", default=list(RULES))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    answers = cached_answers()
    items = [(one.prompt, answer) for one in answers for answer in one.answers]
    start_s = time.monotonic()
    described = dict(zip(items, Describer(StarterEncoder(not arguments.no_encoder)).describe(items), strict=True))
    print(f"{len(items)} answers described in {time.monotonic() - start_s:.1f} s")
    print(f"{'rule':16}{'kind':22}{'same 4':>8}{'ceiling':>9}{'other':>8}{'ceiling':>9}{'said of itself':>16}")
    for is_dev in (True, False):
        found = []
        start_s = time.monotonic()
        for name in (name for name in arguments.rules if RULES[name].is_dev == is_dev):
            one = measure(RULES[name], answers, described, arguments.ratings, arguments.noise)
            found.append(one)
            print(row(name, RULES[name].kind, one), flush=True)
        if found:
            columns = zip(*((one.same, one.same_ceiling, one.other, one.other_ceiling, one.said) for one in found), strict=True)
            print(row("MEAN", "dev" if is_dev else "reported", Figures(*(fmean(column) for column in columns))))
            print(f"{'':16}one fit takes {(time.monotonic() - start_s) / len(found) / SAMPLES:.2f} s\n")


def row(name: str, kind: str, one: Figures) -> str:
    """One line of the table."""
    values = f"{one.same:8.1%}{one.same_ceiling:9.1%}{one.other:8.1%}{one.other_ceiling:9.1%}{one.said:16.1%}"
    return f"{name:16}{kind:22}{values}"


if __name__ == "__main__":
    main()
