"""The gate: what votes prove, what they do not, and how often a rater who does not look passes a candidate."""

from __future__ import annotations

import random
from math import comb

import pytest

from engine.evaluation.preference import MIN_VOTES, Fluency, Gate, Side, Tally, judge, tally, wilson

SOUND = Fluency(perplexity=8.0, odd_share=0.0, repetition=0.05)
ROUNDS = 4_000


def gate(votes: Tally, needed: int | None = None, candidate: Fluency = SOUND, current: Fluency = SOUND) -> Gate:
    return judge(votes, votes.votes if needed is None else needed, candidate, current)


def keys(found: Gate) -> list[str]:
    return [reason.key for reason in found.reasons]


def test_the_interval_is_wilson_s() -> None:
    low, high = wilson(21, 30)
    assert (round(low, 4), round(high, 4)) == (0.5212, 0.8334)  # computed by hand from the formula of 1927
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(0, 10)[0] == pytest.approx(0.0, abs=1e-12)
    assert wilson(10, 10)[1] == pytest.approx(1.0)
    for points in (0, 3.5, 7, 19):
        low, high = wilson(points, 20)
        assert 0 <= low <= points / 20 <= high <= 1


def test_ties_and_both_bad_count_half() -> None:
    votes = tally(["win", "loss", "tie", "bad", "win"])
    assert votes == Tally(wins=2, losses=1, ties=1, bad=1)
    assert votes.points == 3.0 and votes.win_rate == 0.6
    assert Tally().win_rate == 0.5


def test_there_is_no_verdict_before_the_last_vote() -> None:
    found = gate(Tally(wins=29), needed=30)
    assert found.passed is None
    assert found.as_json()["pass"] is None and "29 of 30" in found.as_json()["reasons"][0]


def test_thirty_votes_need_twenty_one() -> None:
    assert gate(Tally(21, 9)).passed is True
    assert gate(Tally(20, 10)).passed is False
    assert gate(Tally(15, 4, ties=6, bad=5)).passed is True is not gate(Tally(14, 5, ties=6, bad=5)).passed


@pytest.mark.parametrize("rater", ["coin", "four keys", "mostly ties", "always left"])
def test_a_rater_who_does_not_look_promotes_hardly_ever(rater: str) -> None:
    draw = random.Random(rater)
    choices: list[Side] = {"four keys": ["win", "loss", "tie", "bad"], "mostly ties": ["win", "loss", *["tie"] * 4]}.get(
        rater, ["win", "loss"]
    )
    passed = 0
    for _ in range(ROUNDS):
        if rater == "always left":  # the sides are balanced, so half of these are the candidate
            sides: list[Side] = ["win", "loss"] * 15
            draw.shuffle(sides)
        else:
            sides = draw.choices(choices, k=30)
        passed += gate(tally(sides)).passed is True
    assert passed / ROUNDS <= 0.05


def test_no_number_of_votes_lets_a_coin_pass_more_than_one_time_in_twenty() -> None:
    for n in range(1, 201):
        chance = sum(comb(n, wins) for wins in range(n + 1) if gate(Tally(wins, n - wins)).passed) / 2**n
        assert chance <= 0.05, n
    assert keys(gate(Tally(wins=MIN_VOTES - 1))) == ["error.gate_too_few"]
    assert gate(Tally(wins=MIN_VOTES)).passed is True


def test_looking_after_each_vote_would_pass_far_too_often() -> None:
    """Why there is no verdict on a running count: this is what it would do."""
    draw, passed = random.Random(1), 0
    for _ in range(1_000):
        sides: list[Side] = []
        for _ in range(30):
            sides.append(draw.choice(["win", "loss"]))
            if gate(tally(sides)).passed:
                passed += 1
                break
    assert passed / 1_000 > 0.05


@pytest.mark.parametrize(
    ("candidate", "key"),
    [
        (Fluency(8.0 * 2.1, 0.0, 0.05), "error.gate_perplexity"),
        (Fluency(8.0, 0.05, 0.05), "error.gate_odd"),
        (Fluency(8.0, 0.0, 0.3), "error.gate_repetition"),
    ],
)
def test_broken_language_fails_however_many_votes_it_wins(candidate: Fluency, key: str) -> None:
    found = gate(Tally(wins=30), candidate=candidate)
    assert found.passed is False and keys(found) == [key]
    assert gate(Tally(wins=30), candidate=SOUND, current=candidate).passed is True


def test_every_reason_is_named() -> None:
    found = gate(Tally(10, 20), candidate=Fluency(20.0, 0.5, 0.9))
    assert keys(found) == ["error.gate_interval", "error.gate_perplexity", "error.gate_odd", "error.gate_repetition"]
    said = found.as_json()
    assert len(said["reasons"]) == len(said["reason_keys"]) == 4
    assert said["reason_keys"][0]["values"]["rate"] == 33


def test_what_was_not_measured_does_not_fail() -> None:
    assert gate(Tally(wins=30), candidate=Fluency(None, 0.0, 0.0)).passed is True
