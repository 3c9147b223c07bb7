"""The taste model: from pairs of which one was preferred, a score for anything new, and what it goes by.

Bradley-Terry (Bradley and Terry 1952: P(a beats b) = sigmoid(u(a) - u(b))) with a linear utility u over readable features and the
directions in which the embeddings of compared things differ most. An L1 penalty keeps few of them (tastes are about a few
things, and 40 ratings cannot speak for 400 numbers); its strength is chosen by cross-validation over whole prompts, and the same
folds say how often the model is right on prompts it has not seen. Knows arrays; knows no text, no model, no database.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from engine.errors import NotEnoughDataError
from engine.evaluation.features import Feature
from engine.evaluation.preference import wilson

Array: TypeAlias = npt.NDArray[np.float64]

MIN_PAIRS = 8
MIN_GROUPS = 4
MAX_PAIRS = 1000
"""Only the newest pairs are learned from: enough for 65 numbers, fitted in about two seconds, and tastes change."""
FOLDS = 8
PENALTIES = (0.11, 0.22, 0.45, 0.8, 1.25)
"""L1 strengths tried, times the square root of the pairs' weight."""
RIDGE = 0.1
"""A little L2 beside it: of two features that say the same, both get some of the weight."""
DIRECTIONS = 24
DIRECTION_SCALE = 0.8
"""Embedding directions count a little less than features that can be named."""
MIN_DIFFERENT = 3
"""A feature that differs in fewer pairs than this is left out: one odd text is no taste."""
CLEAR_Z = 1.8
"""How far from chance (in standard errors) a tendency must be to be said aloud."""
MIN_STRENGTH = 0.12
"""The share of all weight from which a tendency is worth saying."""
MAX_SAID = 3


@dataclass(frozen=True, slots=True)
class Description:
    """One thing in numbers: `readable` [features] and `embedding` [any width, 0 without an encoder], the same widths for all."""

    readable: Array
    embedding: Array


@dataclass(frozen=True, slots=True)
class Pair:
    """`chosen` was preferred to `rejected` (places in a list of Descriptions).

    Pairs of one `group` (a prompt) are never split between learning and checking; `weight` 1 is a comparison somebody made.
    """

    chosen: int
    rejected: int
    group: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Learned:
    """A feature the model goes by: `direction` +1 = more of it is liked, -1 = less; `strength` is its share of all weight."""

    feature: Feature
    direction: int
    strength: float


@dataclass(frozen=True, slots=True)
class TasteModel:
    """A fitted taste. `accuracy` is the cross-validated share of pairs it gets right, `interval` its Wilson interval (95 %)."""

    readable: Array
    embedding: Array
    centre: float
    accuracy: float
    interval: tuple[float, float]
    pairs: int
    learned: tuple[Learned, ...]

    def score(self, described: Sequence[Description]) -> Array:
        """Utilities [n]: 0 is the average thing that was judged, and a difference of 1 is odds of 2.7 to 1."""
        if not described:
            return np.zeros(0)
        utility = np.stack([one.readable for one in described]) @ self.readable - self.centre
        if self.embedding.size:
            utility = utility + np.stack([one.embedding for one in described]) @ self.embedding
        return np.asarray(utility, np.float64)


def fit(described: Sequence[Description], pairs: Sequence[Pair], features: Sequence[Feature]) -> TasteModel:
    """Learn from pairs, newest last. Raises NotEnoughDataError under MIN_PAIRS pairs or MIN_GROUPS groups."""
    pairs = pairs[-MAX_PAIRS:]
    groups = np.unique([pair.group for pair in pairs], return_inverse=True)[1] if pairs else np.zeros(0, int)
    if len(pairs) < MIN_PAIRS or len(set(groups)) < MIN_GROUPS:
        raise not_enough(len(pairs), len(set(groups)))
    weights = np.array([pair.weight for pair in pairs])
    chosen, rejected = [pair.chosen for pair in pairs], [pair.rejected for pair in pairs]
    readable = np.stack([one.readable for one in described])
    embedding = np.stack([one.embedding for one in described])
    differences = readable[chosen] - readable[rejected]
    scales = _scales(differences)
    directions = _directions(embedding[chosen] - embedding[rejected])
    inputs = np.hstack([differences * scales, (embedding[chosen] - embedding[rejected]) @ directions])
    penalty, right = _cross_validate(inputs, weights, groups)
    utility = _lasso(inputs, weights, penalty * sqrt(weights.sum()))
    readable_weights, embedding_weights = utility[: len(scales)] * scales, directions @ utility[len(scales) :]
    used = sorted({*chosen, *rejected})
    centre = float(np.mean(readable[used] @ readable_weights + embedding[used] @ embedding_weights))
    # The pairs of one prompt are not independent, so it is prompts that count.
    totals, judged = np.bincount(groups, weights * right), np.bincount(groups, weights)
    accuracy = float((totals / judged).mean())
    return TasteModel(
        readable=readable_weights,
        embedding=embedding_weights,
        centre=centre,
        accuracy=accuracy,
        interval=wilson(accuracy * len(judged), len(judged)),
        pairs=len(pairs),
        learned=_explain(utility[: len(scales)], differences, groups, features),
    )


def not_enough(pairs: int, groups: int) -> NotEnoughDataError:
    """The error that says how many more comparisons a taste model needs."""
    missing = max(MIN_PAIRS - pairs, MIN_GROUPS - groups, 1)
    return NotEnoughDataError(
        f"Your taste is not known yet: pick or rate {missing} more answers, to different prompts.",
        key="error.taste_unready",
        n=missing,
    )


def _scales(differences: Array) -> Array:
    """1 / root mean square of each column; 0 for one that hardly ever differs."""
    size = np.sqrt((differences**2).mean(axis=0))
    is_used = (np.abs(differences) > 1e-9).sum(axis=0) >= MIN_DIFFERENT
    return np.where(is_used, 1 / np.maximum(size, 1e-9), 0.0)


def _directions(differences: Array) -> Array:
    """[embedding, DIRECTIONS]: the principal directions of what differs inside pairs, scaled so that the average column has
    root mean square DIRECTION_SCALE."""
    if not differences.size or not np.abs(differences).max() > 0:
        return np.zeros((differences.shape[1], 0))
    axes = np.linalg.svd(differences, full_matrices=False)[2][:DIRECTIONS].T
    size = float(np.sqrt(((differences @ axes) ** 2).mean()))
    return np.asarray(axes * (DIRECTION_SCALE / size), np.float64)


def _cross_validate(inputs: Array, weights: Array, groups: npt.NDArray[np.int64]) -> tuple[float, Array]:
    """The penalty with the smallest loss on prompts left out, and for each pair whether it was right there (0, ½ or 1)."""
    order = np.random.default_rng(0).permutation(groups.max() + 1)
    folds = order[groups] % min(FOLDS, len(order))
    best: tuple[float, float, Array] | None = None
    for penalty in PENALTIES:
        margins = np.zeros(len(inputs))
        for fold in range(folds.max() + 1):
            out = folds == fold
            known = weights[~out]
            margins[out] = inputs[out] @ _lasso(inputs[~out], known, penalty * sqrt(known.sum()))
        loss = float((weights * np.logaddexp(0, -margins)).sum())
        if best is None or loss < best[0]:
            best = (loss, penalty, np.where(margins == 0, 0.5, margins > 0))
    assert best is not None
    return best[1], best[2]


def _lasso(inputs: Array, weights: Array, penalty: float, *, steps: int = 400) -> Array:
    """Logistic weights [columns] for rows that should all come out positive, by FISTA (Beck and Teboulle 2009)."""
    curvature = np.linalg.norm(inputs * np.sqrt(weights)[:, None], 2) ** 2 / 4 + RIDGE
    current = ahead = np.zeros(inputs.shape[1])
    momentum = 1.0
    for _ in range(steps):
        wrong = weights / (1 + np.exp(np.clip(inputs @ ahead, -30, 30)))
        moved = ahead - (RIDGE * ahead - wrong @ inputs) / curvature
        new = np.sign(moved) * np.maximum(np.abs(moved) - penalty / curvature, 0)
        grown = (1 + sqrt(1 + 4 * momentum**2)) / 2
        ahead = new + (momentum - 1) / grown * (new - current)
        change = float(np.abs(new - current).max(initial=0.0))
        current, momentum = new, grown
        if change < 1e-5:
            break
    return np.asarray(current, np.float64)


def _explain(
    weights: Array, differences: Array, groups: npt.NDArray[np.int64], features: Sequence[Feature]
) -> tuple[Learned, ...]:
    """The strongest families of readable features, each by the one of them that the comparisons themselves speak for.

    A feature is named only when it also differs in one direction between chosen and rejected, prompt by prompt: a weight alone
    may only correct another one.
    """
    signs = np.sign(differences) * (np.abs(differences) > 1e-9)
    count = np.bincount(groups)
    by_group = np.stack([np.bincount(groups, column) / count for column in signs.T], axis=1)
    spread = np.sqrt((by_group**2).sum(axis=0))
    tendency = np.where(spread > 0, by_group.sum(axis=0) / np.maximum(spread, 1e-9), 0.0)
    total = float(np.abs(weights).sum())
    families: dict[str, list[int]] = {}
    for place, feature in enumerate(features):
        families.setdefault(feature.family, []).append(place)
    said = []
    for places in families.values():
        strength = float(np.abs(weights[places]).sum())
        clear = [place for place in places if features[place].is_said and abs(tendency[place]) >= CLEAR_Z]
        if not clear or strength < MIN_STRENGTH * max(total, 1e-9):
            continue
        place = max(clear, key=lambda one: abs(weights[one]) * abs(tendency[one]) + 1e-6 * abs(tendency[one]))
        said.append(Learned(features[place], 1 if tendency[place] > 0 else -1, strength / total))
    return tuple(sorted(said, key=lambda one: -one.strength)[:MAX_SAID])
