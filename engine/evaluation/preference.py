"""What blind votes say: win rate, its interval, and the gate that a candidate passes or does not.

Knows counts and averages; knows no database, no model and no rater. The gate is a function of a complete set of votes: it
is judged once, never on a running count, because looking after each vote finds a "winner" among equals sooner or later.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Side: TypeAlias = Literal["win", "loss", "tie", "bad"]

Z_95 = 1.959963984540054
"""Two-sided 95 % of the normal distribution; the lower bound alone is wrong about 1 time in 40."""
MIN_VOTES = 5
"""With 4 votes a coin passes 1 time in 16; from 5 on it is never more than 1 in 20 (test_preference counts it exactly)."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Votes as the candidate sees them."""

    wins: int = 0
    losses: int = 0
    ties: int = 0
    bad: int = 0
    """Both bad; counts ½ like a tie."""

    @property
    def votes(self) -> int:
        """How many there are."""
        return self.wins + self.losses + self.ties + self.bad

    @property
    def points(self) -> float:
        """1 for a win, ½ for a tie and for both bad."""
        return self.wins + (self.ties + self.bad) / 2

    @property
    def win_rate(self) -> float:
        """Points for each vote, 0 … 1; ½ when there are none."""
        return self.points / self.votes if self.votes else 0.5

    @property
    def interval(self) -> tuple[float, float]:
        """The Wilson interval of the win rate."""
        return wilson(self.points, self.votes)


def tally(sides: Iterable[Side]) -> Tally:
    """Count votes."""
    seen = list(sides)
    return Tally(seen.count("win"), seen.count("loss"), seen.count("tie"), seen.count("bad"))


def wilson(points: float, votes: int, z: float = Z_95) -> tuple[float, float]:
    """The score interval for a share of `points` out of `votes`, within 0 … 1; (0, 1) without votes.

    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927). Halves for ties make the
    real spread smaller than the binomial one that it assumes, so with ties it is on the safe side.
    """
    if votes == 0:
        return (0.0, 1.0)
    share, spread = points / votes, z * z / votes
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / votes + spread / (4 * votes))
    return (max(0.0, middle - half), min(1.0, middle + half))


@dataclass(frozen=True, slots=True)
class Fluency:
    """How sound one side's answers are, over all of them."""

    perplexity: float | None
    """Of the base model on the answers, each pair over as many tokens as its shorter answer has; None = not measured."""
    odd_share: float
    """Letters of scripts that the prompt does not use, and characters that are none, 0 … 1."""
    repetition: float
    """Share of word sequences that were there before in the same answer, 0 … 1."""


@dataclass(frozen=True, slots=True)
class FluencyLimits:
    """How much less sound than the current model's a candidate's answers may be."""

    perplexity_ratio: float = 2.0
    """A new manner surprises the old model: sound answers that won 80 to 95 % of votes measured 1.2 to 1.6."""
    odd_share: float = 0.02
    """More than the current's."""
    repetition: float = 0.10
    """More than the current's."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why the gate has not passed: an English sentence, and the same one in assets/i18n."""

    text: str
    key: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Gate:
    """The verdict on a complete set of votes, or why there is none yet. `passed` None = not judged yet."""

    passed: bool | None
    votes: int
    needed: int
    reasons: tuple[Reason, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """{"pass", "votes", "needed", "reasons": sentences, "reason_keys": [{"key", "values"}]}."""
        return {
            "pass": self.passed,
            "votes": self.votes,
            "needed": self.needed,
            "reasons": [reason.text for reason in self.reasons],
            "reason_keys": [{"key": reason.key, "values": dict(reason.values)} for reason in self.reasons],
        }


def judge(votes: Tally, needed: int, candidate: Fluency, current: Fluency, limits: FluencyLimits | None = None) -> Gate:
    """Judge a candidate against the current model; before all `needed` votes are there the verdict is None."""
    if votes.votes < needed:
        return Gate(None, votes.votes, needed, (_not_yet(votes.votes, needed),))
    reasons = [*_unproven(votes), *_unsound(candidate, current, limits or FluencyLimits())]
    return Gate(not reasons, votes.votes, needed, tuple(reasons))


def _not_yet(votes: int, needed: int) -> Reason:
    text = f"Not enough votes yet: {votes} of {needed}."
    return Reason(text, "error.gate_votes", {"votes": votes, "needed": needed})


def _unproven(votes: Tally) -> list[Reason]:
    if votes.votes < MIN_VOTES:
        text = f"{votes.votes} votes prove nothing; a test needs at least {MIN_VOTES}."
        return [Reason(text, "error.gate_too_few", {"votes": votes.votes, "least": MIN_VOTES})]
    low, high = votes.interval
    if low > 0.5:
        return []
    rate, lowest, highest = (round(100 * value) for value in (votes.win_rate, low, high))
    text = (
        f"It won {rate} % of the votes; with {votes.votes} votes the true share lies between {lowest} % and {highest} %, "
        "and all of that must be above 50 %."
    )
    values = {"rate": rate, "votes": votes.votes, "low": lowest, "high": highest}
    return [Reason(text, "error.gate_interval", values)]


def _unsound(candidate: Fluency, current: Fluency, limits: FluencyLimits) -> list[Reason]:
    reasons = []
    if candidate.perplexity is not None and current.perplexity is not None:
        more = candidate.perplexity / current.perplexity - 1
        if more > limits.perplexity_ratio - 1:
            percent, limit = round(100 * more), round(100 * (limits.perplexity_ratio - 1))
            text = f"Its language is less fluent: perplexity is {percent} % higher than before, at most {limit} % is allowed."
            reasons.append(Reason(text, "error.gate_perplexity", {"percent": percent, "limit": limit}))
    if candidate.odd_share > current.odd_share + limits.odd_share:
        odd = round(100 * candidate.odd_share, 1)
        text = f"{odd} % of its characters are odd: of scripts that the prompts do not use."
        reasons.append(Reason(text, "error.gate_odd", {"percent": odd}))
    if candidate.repetition > current.repetition + limits.repetition:
        again, before = round(100 * candidate.repetition), round(100 * current.repetition)
        text = f"It repeats itself: {again} % of its word sequences are repeated, {before} % before."
        reasons.append(Reason(text, "error.gate_repetition", {"percent": again, "before": before}))
    return reasons
