"""The taste model: it finds what decided the choices, says so, says how sure it is, and needs enough."""

from __future__ import annotations

import numpy as np
import pytest

from engine.errors import NotEnoughDataError
from engine.evaluation.features import Feature
from engine.evaluation.taste import MIN_GROUPS, MIN_PAIRS, Description, Pair, fit

FEATURES = tuple(Feature(f"f{number}", f"family{number}") for number in range(12))


def things(count: int, width: int = 0, seed: int = 0) -> list[Description]:
    random = np.random.default_rng(seed)
    return [Description(random.normal(size=len(FEATURES)), random.normal(size=width)) for _ in range(count)]


def picks(utilities: list[float], together: int = 3) -> list[Pair]:
    """The best of each `together` neighbours beats the others."""
    pairs = []
    for start in range(0, len(utilities), together):
        places = range(start, start + together)
        best = max(places, key=lambda place: utilities[place])
        pairs += [Pair(best, place, str(start)) for place in places if place != best]
    return pairs


def share_right(model_scores: np.ndarray, utilities: list[float]) -> float:
    """How often the model prefers the truly better one."""
    scores, truth = np.asarray(model_scores), np.asarray(utilities)
    same = np.sign(scores[:, None] - scores) == np.sign(truth[:, None] - truth)
    return float(same[~np.eye(len(truth), dtype=bool)].mean())


def test_it_finds_the_one_feature_that_decides_among_many() -> None:
    described = things(120)
    model = fit(described, picks([one.readable[3] for one in described]), FEATURES)
    fresh = things(60, seed=1)
    assert share_right(model.score(fresh), [one.readable[3] for one in fresh]) > 0.9
    assert model.accuracy > 0.85 and model.interval[0] > 0.7
    assert [(one.feature.name, one.direction) for one in model.learned] == [("f3", 1)]


def test_it_says_when_less_is_liked() -> None:
    described = things(120)
    model = fit(described, picks([-one.readable[5] for one in described]), FEATURES)
    assert [(one.feature.name, one.direction) for one in model.learned] == [("f5", -1)]


def test_it_finds_what_only_the_embedding_says() -> None:
    described = things(180, width=32)
    model = fit(described, picks([one.embedding[7] for one in described]), FEATURES)
    fresh = things(60, width=32, seed=1)
    assert share_right(model.score(fresh), [one.embedding[7] for one in fresh]) > 0.65


def test_random_choices_teach_nothing_and_it_says_so() -> None:
    sure = 0
    for seed in range(20):
        random = np.random.default_rng(seed)
        described = things(120, width=16, seed=seed + 100)
        sure += fit(described, picks(list(random.normal(size=120))), FEATURES).interval[0] > 0.5
    assert sure <= 2


def test_a_feature_that_never_differs_and_equal_embeddings_are_harmless() -> None:
    described = [Description(np.array([float(number), 1.0]), np.ones(4)) for number in range(30)]
    model = fit(described, picks([float(number) for number in range(30)], together=2), FEATURES[:2])
    assert model.readable[1] == 0 and np.isfinite(model.score(described)).all()


def test_the_average_judged_thing_scores_zero_and_nothing_scores_nothing() -> None:
    described = things(60, width=8)
    model = fit(described, picks([one.readable[0] for one in described]), FEATURES)
    assert model.score(described).mean() == pytest.approx(0, abs=1e-9)
    assert model.score([]).shape == (0,)


def test_the_same_data_give_the_same_model() -> None:
    described = things(60, width=8)
    pairs = picks([one.readable[0] for one in described])
    first, second = fit(described, pairs, FEATURES), fit(described, pairs, FEATURES)
    assert (first.readable == second.readable).all() and (first.embedding == second.embedding).all()


@pytest.mark.parametrize(("pairs", "groups"), [(0, 1), (MIN_PAIRS - 1, MIN_PAIRS - 1), (MIN_PAIRS, MIN_GROUPS - 1)])
def test_too_little_is_refused_with_how_much_is_missing(pairs: int, groups: int) -> None:
    described = things(2)
    with pytest.raises(NotEnoughDataError, match=r"pick or rate \d+ more"):
        fit(described, [Pair(0, 1, str(number % groups)) for number in range(pairs)], FEATURES)
