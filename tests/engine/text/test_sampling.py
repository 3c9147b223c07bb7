"""Choosing tokens: seeds, greedy, cut-offs, penalty."""

from __future__ import annotations

from copy import deepcopy

import numpy as np

from engine.arrays import Floats
from engine.text.model import Sampling
from engine.text.sampling import DRY_ALLOWED_LENGTH, Sampler

LOGITS = np.array([2.0, 1.0, 0.5, 0.0, -1.0, -2.0], dtype=np.float32)
SHARES = np.exp(LOGITS) / np.exp(LOGITS).sum()


def draw(sampling: Sampling, seed: int, count: int = 200, logits: Floats = LOGITS) -> list[int]:
    sampler = Sampler(sampling, seed, [])
    return [sampler.choose(logits) for _ in range(count)]


def plain(**changes: float) -> Sampling:
    return Sampling(**{"temperature": 1.0, "top_p": 1.0, "top_k": 0, "repetition_penalty": 1.0, **changes})  # type: ignore[arg-type]


def test_same_seed_same_tokens_another_seed_others() -> None:
    assert draw(plain(), 5) == draw(plain(), 5)
    assert draw(plain(), 5) != draw(plain(), 6)


def test_other_draws_do_not_disturb_a_row() -> None:
    alone = draw(plain(), 5)
    sampler, other = Sampler(plain(), 5, []), Sampler(plain(), 9, [])
    beside = []
    for _ in range(200):
        np.random.random(3)
        other.choose(LOGITS)
        beside.append(sampler.choose(LOGITS))
    assert beside == alone


def test_temperature_zero_takes_the_likeliest() -> None:
    assert set(draw(plain(temperature=0.0), 1)) == {0}


def test_top_k_and_top_p_cut_off_the_tail() -> None:
    assert set(draw(plain(top_k=2), 1)) == {0, 1}
    assert float(SHARES[0]) < 0.6 < float(SHARES[:2].sum())
    assert set(draw(plain(top_p=0.6), 1)) == {0, 1}
    assert set(draw(plain(top_p=0.01), 1)) == {0}


def test_frequencies_follow_the_probabilities() -> None:
    seen = np.bincount(draw(plain(), 11, 20_000), minlength=6) / 20_000
    np.testing.assert_allclose(seen, SHARES, atol=0.015)


def test_repetition_penalty_counts_prompt_and_answer_and_leaves_the_logits_alone() -> None:
    logits = np.array([1.0, 0.9, -0.5], dtype=np.float32)
    before = logits.copy()
    sampler = Sampler(plain(temperature=0.0, repetition_penalty=1.5), 0, [0])
    assert sampler.choose(logits) == 1  # 0 was in the prompt: 1.0 / 1.5 < 0.9
    assert sampler.choose(logits) == 0  # now 1 has been said too
    assert np.array_equal(logits, before)


def test_a_loop_is_left_and_what_the_prompt_says_may_be_said_again() -> None:
    loop = [0, 1, 2, 3, 4]

    def write(sampling: Sampling, count: int) -> list[int]:
        """Greedy, by a model that goes on with the loop and finds 5 a little less likely than that."""
        sampler = Sampler(sampling, 0, loop * 20)
        written: list[int] = []
        for place in range(count):
            logits = np.full(6, -9.0, dtype=np.float32)
            logits[loop[place % len(loop)]], logits[5] = 3.0, 0.0
            written.append(sampler.choose(logits))
        return written

    without, with_dry = (write(plain(temperature=0.0, dry_multiplier=value), 40) for value in (0.0, 2.0))
    assert without == loop * 8
    assert with_dry[:5] == loop and 5 in with_dry  # once is no repetition, whatever the prompt says
    assert with_dry.index(5) >= len(loop) + DRY_ALLOWED_LENGTH  # and a short run is free


def test_longer_repetitions_cost_more() -> None:
    costs = []
    for repeated in range(DRY_ALLOWED_LENGTH - 1, DRY_ALLOWED_LENGTH + 3):
        run = list(range(10))
        sampler = Sampler(plain(temperature=0.0, dry_multiplier=2.0), 0, [])
        for token in [*run, *run[:repeated]]:
            logits = np.zeros(12, dtype=np.float32)
            logits[token] = 100.0
            assert sampler.choose(logits) == token
        margins = np.arange(0.0, 20.0, 0.01)
        costs.append(next((margin for margin in margins if _chosen(sampler, repeated, margin) == repeated), 20.0))
    np.testing.assert_allclose(costs, [0.0, 2.0, 3.5, 6.125], atol=0.02)


def _chosen(sampler: Sampler, token: int, margin: float) -> int:
    """What would be chosen where `token` is so much likelier than 11, without saying it."""
    logits = np.full(12, -50.0, dtype=np.float32)
    logits[token], logits[11] = margin + 1e-4, 0.0
    return deepcopy(sampler).choose(logits)
