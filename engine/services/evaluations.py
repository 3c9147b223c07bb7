"""One blind test as its job's row keeps it, and what its votes say once all of them are in.

Knows jobs' requests, matches and votes as records, and the gate; generates nothing and knows no page. The result is worked
out from the rows each time: votes cannot change after the last one is in, so neither can the verdict.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from engine.evaluation.metrics import mean_figures
from engine.evaluation.preference import Fluency, Gate, Side, Tally, judge, tally
from storage.records import Choice, JobRecord, Json, Kind, MatchRecord, VoteRecord
from storage.unit_of_work import UnitOfWork

KIND = "evaluate"
MAX_WORST = 5
_FLIPPED: Mapping[Choice, Side] = {"left": "loss", "right": "win", "tie": "tie", "bad": "bad"}
_STRAIGHT: Mapping[Choice, Side] = {"left": "win", "right": "loss", "tie": "tie", "bad": "bad"}


@dataclass(frozen=True, slots=True)
class ArenaPrompt:
    """A prompt both models answer: its messages, whether it is a held-out one, and what the rater liked for it before."""

    messages: tuple[Json, ...]
    is_held_out: bool = False
    liked: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The last message: what a rater sees as the prompt."""
        return str(self.messages[-1]["content"])


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A blind test, frozen before anything is generated. Prompts after the first `n` are there for pairs that come out alike."""

    task: Kind
    base_model_id: str
    adapter_id: str
    adapter_sha256: str
    against_id: str
    against_sha256: str
    """Of the adapter's weights; the base model's own hash for BASE."""
    n: int
    seed: int
    side_seed: int
    """Drawn anew for each test: with the same one twice a rater could learn the sides."""
    automatic_only: bool
    max_new_tokens: int
    prompts: tuple[ArenaPrompt, ...]

    def as_json(self) -> dict[str, Any]:
        """For the job's row."""
        return asdict(self)

    @staticmethod
    def from_json(request: Json) -> Evaluation:
        """The other way."""
        prompts = tuple(
            ArenaPrompt(tuple(one["messages"]), bool(one["is_held_out"]), tuple(one["liked"])) for one in request["prompts"]
        )
        return Evaluation(**{**request, "prompts": prompts})

    @property
    def candidate_is_left(self) -> tuple[bool, ...]:
        """For each match by its number the side of the candidate: as often left as right, in an order nobody can foresee."""
        draw = random.Random(self.side_seed)
        sides = [number % 2 == 0 for number in range(self.n)]
        if self.n % 2 and draw.random() < 0.5:
            sides[-1] = not sides[-1]
        draw.shuffle(sides)
        return tuple(sides)

    def seed_of(self, index: int) -> int:
        """The seed with which both models answer prompt number `index`."""
        return self.seed + index


@dataclass(frozen=True, slots=True)
class Standing:
    """A test with its matches and one rater's votes in force, by match id."""

    job: JobRecord
    evaluation: Evaluation
    matches: tuple[MatchRecord, ...]
    votes: Mapping[str, VoteRecord]

    @property
    def needed(self) -> int:
        """Votes after which it is judged; fixed before the first."""
        return 0 if self.evaluation.automatic_only else self.evaluation.n

    @property
    def tally(self) -> Tally:
        """The votes as the candidate sees them. For nobody's eyes before `is_judged`."""
        return tally(self.side(match) for match in self.matches if match.id in self.votes)

    @property
    def is_judged(self) -> bool:
        """Whether all votes are in; nothing changes any more."""
        return not self.evaluation.automatic_only and len(self.votes) >= self.needed

    @property
    def gate(self) -> Gate:
        """The verdict, or how many votes are missing."""
        return judge(self.tally, self.needed, self.fluency(is_candidate=True), self.fluency(is_candidate=False))

    def side(self, match: MatchRecord) -> Side:
        """What the vote on this match says of the candidate."""
        choice = self.votes[match.id].choice
        assert choice is not None
        return (_STRAIGHT if self.is_left(match) else _FLIPPED)[choice]

    def is_left(self, match: MatchRecord) -> bool:
        """Whether the candidate's answer is on the left, by the hashes of what was really compared."""
        return match.left_sha256 == self.evaluation.adapter_sha256

    def figures(self, match: MatchRecord, *, is_candidate: bool) -> Mapping[str, Any]:
        """The automatic figures of one side."""
        figures: Mapping[str, Any] = match.metrics["left" if self.is_left(match) == is_candidate else "right"]
        return figures

    def answer(self, match: MatchRecord, *, is_candidate: bool) -> str:
        """The text of one side."""
        return match.left_output if self.is_left(match) == is_candidate else match.right_output

    def fluency(self, *, is_candidate: bool) -> Fluency:
        """One side's over all matches."""
        figures = [self.figures(match, is_candidate=is_candidate) for match in self.matches]
        tokens = sum(int(one.get("shared_tokens", 0)) for one in figures)
        surprise = sum(float(one.get("shared_surprise", 0.0)) for one in figures)
        count = max(1, len(figures))
        return Fluency(
            perplexity=math.exp(surprise / tokens) if tokens else None,
            odd_share=sum(float(one["odd_share"]) for one in figures) / count,
            repetition=sum(float(one["repetition"]) for one in figures) / count,
        )


def standing_of(uow: UnitOfWork, owner_id: str, rater_id: str, job: JobRecord) -> Standing:
    """Read a test's matches and votes. The caller has made sure that the job is one."""
    matches = uow.matches.list(owner_id, job.id)
    current = uow.votes.current(rater_id, [match.id for match in matches])
    votes = {match_id: vote for match_id, vote in current.items() if vote.choice is not None}
    return Standing(job, Evaluation.from_json(job.request), matches, votes)


def result_of(standing: Standing) -> dict[str, Any]:
    """What a test says: {"adapter_id", "against_id", "status", "matches", "votes", "needed", "wins", "losses", "ties", "bad",
    "win_rate", "interval", "gate", "automatic", "worst"}.

    `ties` counts both bad too, `bad` those alone. Before the last vote is in, everything from `wins` to `worst` is None or
    empty but for `gate`, which says how many votes are missing: even a mean length would tell the sides apart. With
    `automatic_only` there are no votes, and `automatic` and `worst` are there when all answers are.
    """
    evaluation, made = standing.evaluation, len(standing.matches)
    result: dict[str, Any] = {
        "adapter_id": evaluation.adapter_id,
        "against_id": evaluation.against_id,
        "status": standing.job.status,
        "matches": made,
        "votes": len(standing.votes),
        "needed": standing.needed,
        "automatic_only": evaluation.automatic_only,
        **dict.fromkeys(("wins", "losses", "ties", "bad", "win_rate", "interval", "automatic")),
        "gate": Gate(None, 0, 0).as_json(),
        "worst": [],
    }
    if standing.is_judged:
        votes = standing.tally
        result |= {"wins": votes.wins, "losses": votes.losses, "ties": votes.ties + votes.bad, "bad": votes.bad}
        result |= {"win_rate": votes.win_rate, "interval": list(votes.interval)}
    if not evaluation.automatic_only:
        result["gate"] = standing.gate.as_json() if standing.is_judged else _waiting(standing).as_json()
    if standing.is_judged or (evaluation.automatic_only and made == evaluation.n):
        result |= {"automatic": _automatic(standing), "worst": _worst(standing)}
    return result


def _waiting(standing: Standing) -> Gate:
    """Judged without a look at the answers: there is nothing to judge yet."""
    nothing = Fluency(None, 0.0, 0.0)
    return judge(Tally(bad=len(standing.votes)), standing.needed, nothing, nothing)


def _automatic(standing: Standing) -> dict[str, Any]:
    sides = {}
    for name, is_candidate in (("candidate", True), ("current", False)):
        figures = [standing.figures(match, is_candidate=is_candidate) for match in standing.matches]
        answers = [standing.answer(match, is_candidate=is_candidate) for match in standing.matches]
        sides[name] = {
            **mean_figures(figures, answers),
            "shared_perplexity": standing.fluency(is_candidate=is_candidate).perplexity,
        }
    return {**sides, "held_out": sum(match.is_held_out for match in standing.matches)}


def _worst(standing: Standing) -> list[dict[str, Any]]:
    """Prompts that the candidate answers worse than before: lost ones first, then by how much the figures fell."""
    ranked = []
    for match in standing.matches:
        lost = match.id in standing.votes and standing.side(match) == "loss"
        fall = _fall(standing, match)
        if lost or (fall > 0 and not standing.votes):
            ranked.append((not lost, -fall, match))
    ranked.sort(key=lambda entry: (entry[0], entry[1], entry[2].ordinal))
    return [
        {
            "prompt": match.prompt,
            "candidate": standing.answer(match, is_candidate=True),
            "current": standing.answer(match, is_candidate=False),
            "lost": not kept,
            "candidate_figures": dict(standing.figures(match, is_candidate=True)),
            "current_figures": dict(standing.figures(match, is_candidate=False)),
        }
        for kept, _, match in ranked[:MAX_WORST]
    ]


def _fall(standing: Standing, match: MatchRecord) -> float:
    """How much worse the candidate's answer is by its figures: taste where there is one, else surprise for each token."""
    candidate, current = (standing.figures(match, is_candidate=side) for side in (True, False))
    if "taste" in candidate and "taste" in current:
        return float(current["taste"]) - float(candidate["taste"])
    tokens = max(1, int(candidate.get("shared_tokens", 0)))
    return (float(candidate.get("shared_surprise", 0.0)) - float(current.get("shared_surprise", 0.0))) / tokens


def votes_in_order(standing: Standing) -> Sequence[VoteRecord]:
    """The votes in force, oldest first."""
    return sorted(standing.votes.values(), key=lambda vote: vote.seq)
