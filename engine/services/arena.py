"""The arena: blind tests of an adapter against what is in use, their votes, and what they say.

Nothing that leaves here before the last vote tells the sides apart: no id, no figure, no count. Knows storage, the runner
and prompts; knows no page.
"""

from __future__ import annotations

import secrets
import statistics
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, get_args

from engine.errors import BadOptionError
from engine.jobs.job import can_resume
from engine.jobs.runner import JobRunner
from engine.models.adapters import AdapterRef
from engine.services.adapters import AdapterService
from engine.services.arena_job import ArenaParts, EvaluateJob
from engine.services.arena_prompts import ArenaPrompts
from engine.services.edge import storage_errors
from engine.services.evaluations import KIND, Evaluation, Standing, result_of, standing_of, votes_in_order
from engine.types import EvaluateOptions
from storage.records import Choice, CreationFilter, JobRecord, JobStatus, Json, Kind, MatchRecord
from storage.unit_of_work import UnitOfWork

ANSWER_TOKENS = 256
"""Longest answer of a test; shorter when the owner usually asks for less."""
RECENT = 50
"""The newest Creations that say how long the owner's answers usually are."""
Refs: TypeAlias = tuple[AdapterRef, AdapterRef | None]
"""The candidate's adapter, and that of what it is compared with (None = the base model)."""


@dataclass(frozen=True, slots=True)
class MatchView:
    """What a rater sees. `match_id` is None when there is nothing to vote on: it `is_done`, or more is being written."""

    match_id: str | None
    prompt: str = ""
    context: tuple[Json, ...] = ()
    """The messages before the prompt: {"role", "content"}."""
    left: str = ""
    right: str = ""
    voted: int = 0
    remaining: int = 0
    """Votes until the test is judged."""
    is_done: bool = False
    status: JobStatus = "done"
    """Of the job that writes the answers."""


@dataclass(frozen=True, slots=True)
class VoteResult:
    """How far the test is after a vote."""

    votes: int
    remaining: int


@dataclass(frozen=True, slots=True)
class EvaluationView:
    """A test as lists show it; nothing of its votes but how many there are."""

    run_id: str
    adapter_id: str
    against_id: str
    status: JobStatus
    matches: int
    votes: int
    needed: int
    is_judged: bool
    automatic_only: bool


class ArenaService:
    """Start tests, show matches, take votes, say what came out."""

    def __init__(self, runner: JobRunner, adapters: AdapterService, prompts: ArenaPrompts, parts: ArenaParts) -> None:
        self._database = parts.database
        self._runner = runner
        self._adapters = adapters
        self._prompts = prompts
        self._parts = parts

    @storage_errors()
    def evaluate(self, owner_id: str, adapter_id: str, options: EvaluateOptions | None = None) -> str:
        """Freeze a blind test and start writing its answers; returns the job's id. The same test already under way is that one.

        Raises NotFoundError, BadFileError for a removed or damaged adapter, BadOptionError when both sides are the same or of
        different models, TooLongError for a prompt, NotEnoughDataError when there is no document to ask about.
        """
        wish = options or EvaluateOptions()
        evaluation = self._freeze(owner_id, adapter_id, wish)
        refs = self._refs(owner_id, evaluation)
        with self._database.write() as uow:
            for job in uow.jobs.active(owner_id, kind=KIND):
                if replace(Evaluation.from_json(job.request), side_seed=evaluation.side_seed) == evaluation:
                    return job.id
            job, _ = uow.jobs.add(owner_id, kind=KIND, request=evaluation.as_json())
            uow.commit()
        self._start(job, evaluation, refs, made=0)
        return job.id

    @storage_errors()
    def resume(self, owner_id: str, run_id: str) -> str:
        """Go on writing the answers of a test that was cut off; what there is stays. Returns the same id; harmless otherwise.

        Raises NotFoundError, and what `evaluate` raises for adapters.
        """
        with self._database.read() as uow:
            evaluation = Evaluation.from_json(uow.jobs.get(owner_id, run_id, KIND).request)
        refs = self._refs(owner_id, evaluation)
        with self._database.write() as uow:
            job = uow.jobs.get(owner_id, run_id, KIND)
            made = len(uow.matches.list(owner_id, run_id))
            if not can_resume(job.kind, job.status) or made >= evaluation.n:
                return run_id
            job = uow.jobs.update(run_id, status="queued", result=None, error=None, finished_at=None)
            uow.commit()
        self._start(job, evaluation, refs, made)
        return run_id

    @storage_errors()
    def match(self, owner_id: str, rater_id: str, run_id: str) -> MatchView:
        """The first match without this rater's vote. Raises NotFoundError."""
        standing = self._standing(owner_id, rater_id, run_id)
        waiting = (match for match in standing.matches if match.id not in standing.votes)
        return _view(standing, None if standing.evaluation.automatic_only else next(waiting, None))

    @storage_errors()
    def vote(self, owner_id: str, rater_id: str, match_id: str, choice: Choice) -> VoteResult:
        """Say which side is better; voting again replaces the vote, until the last vote is in: then the test is judged, once.

        Raises BadOptionError for another choice, or for a changed vote after that.
        """
        if choice not in get_args(Choice):
            names = ", ".join(get_args(Choice))
            raise BadOptionError(f'"choice" must be one of {names}.', key="error.option_one_of", name="choice", names=names)
        with self._database.write() as uow:
            match = uow.matches.get(owner_id, match_id)
            standing = standing_of(uow, owner_id, rater_id, uow.jobs.get(owner_id, match.evaluation_id, KIND))
            _refuse_unvotable(standing, match, choice)
            uow.votes.set(rater_id, match.id, choice, match.left_sha256, match.right_sha256)
            votes = len(standing.votes) + (match.id not in standing.votes)
            uow.commit()
        return VoteResult(votes, standing.needed - votes)

    @storage_errors()
    def undo(self, owner_id: str, rater_id: str, run_id: str) -> MatchView:
        """Take back the newest vote and return its match. Raises BadOptionError when there is none, or the test is judged."""
        with self._database.write() as uow:
            standing = standing_of(uow, owner_id, rater_id, uow.jobs.get(owner_id, run_id, KIND))
            if standing.is_judged:
                raise _judged()
            votes = votes_in_order(standing)
            if not votes:
                raise BadOptionError("There is no vote to take back.", key="error.no_vote")
            match = uow.matches.get(owner_id, votes[-1].match_id)
            uow.votes.set(rater_id, match.id, None, match.left_sha256, match.right_sha256)
            standing = standing_of(uow, owner_id, rater_id, standing.job)
            uow.commit()
        return _view(standing, match)

    @storage_errors()
    def result(self, owner_id: str, rater_id: str, run_id: str) -> dict[str, Any]:
        """What the test says so far; see engine.services.evaluations.result_of. Raises NotFoundError."""
        return result_of(self._standing(owner_id, rater_id, run_id))

    @storage_errors()
    def evaluations(self, owner_id: str, rater_id: str) -> tuple[EvaluationView, ...]:
        """The owner's tests, newest first."""
        with self._database.read() as uow:
            return tuple(_listed(standing_of(uow, owner_id, rater_id, job)) for job in uow.jobs.list(owner_id, KIND))

    def open_evaluations(self, owner_id: str, rater_id: str) -> tuple[EvaluationView, ...]:
        """Those that wait for this rater's votes, newest first."""
        listed = self.evaluations(owner_id, rater_id)
        return tuple(view for view in listed if not view.is_judged and not view.automatic_only)

    def _freeze(self, owner_id: str, adapter_id: str, wish: EvaluateOptions) -> Evaluation:
        record = self._adapters.get(owner_id, adapter_id)
        _, candidate = self._adapters.resolve(owner_id, record.base_model_id, adapter_id, record.task)
        against_id, against = self._adapters.resolve(owner_id, record.base_model_id, wish.against, record.task)
        against_sha256 = record.base_sha256 if against is None else against.sha256
        if candidate is None or against_sha256 == candidate.sha256:
            text = f'{record.name} is what it would be compared with. Compare it with "base" or another version.'
            raise BadOptionError(text, key="error.arena_itself", name=record.name)
        if wish.prompts:
            prompts = self._prompts.given(owner_id, record.task, wish.prompts, wish.n)
        else:
            prompts = self._prompts.chosen(owner_id, record.task, dataset_id=record.dataset_id, n=wish.n, seed=wish.seed)
        with self._database.read() as uow:
            max_new_tokens = _usual_tokens(uow, owner_id, record.task)
        return Evaluation(
            task=record.task,
            base_model_id=record.base_model_id,
            adapter_id=record.id,
            adapter_sha256=candidate.sha256,
            against_id=against_id,
            against_sha256=against_sha256,
            n=wish.n,
            seed=wish.seed,
            side_seed=secrets.randbelow(2**53),
            automatic_only=wish.automatic_only,
            max_new_tokens=max_new_tokens,
            prompts=prompts,
        )

    def _refs(self, owner_id: str, evaluation: Evaluation) -> Refs:
        """Both sides' adapters, as they were when the test was frozen. Raises BadFileError, NotFoundError."""
        model_id, task = evaluation.base_model_id, evaluation.task
        candidate = self._adapters.resolve(owner_id, model_id, evaluation.adapter_id, task)[1]
        against = self._adapters.resolve(owner_id, model_id, evaluation.against_id, task)[1]
        assert candidate is not None  # an evaluation's candidate is never the base model
        return candidate, against

    def _start(self, job: JobRecord, evaluation: Evaluation, refs: Refs, made: int) -> None:
        work = EvaluateJob(job.owner_id, job.id, evaluation, refs, self._parts)
        self._runner.start(job, work.body, lane="batch", data=work.data(made))

    def _standing(self, owner_id: str, rater_id: str, run_id: str) -> Standing:
        with self._database.read() as uow:
            return standing_of(uow, owner_id, rater_id, uow.jobs.get(owner_id, run_id, KIND))


def _view(standing: Standing, match: MatchRecord | None) -> MatchView:
    votes = len(standing.votes)
    progress = {"voted": votes, "remaining": max(0, standing.needed - votes), "status": standing.job.status}
    if match is None:
        return MatchView(None, is_done=standing.is_judged or standing.evaluation.automatic_only, **progress)  # type: ignore[arg-type]
    return MatchView(
        match_id=match.id,
        prompt=match.prompt,
        context=match.messages[:-1],
        left=match.left_output,
        right=match.right_output,
        **progress,  # type: ignore[arg-type]
    )


def _listed(standing: Standing) -> EvaluationView:
    return EvaluationView(
        run_id=standing.job.id,
        adapter_id=standing.evaluation.adapter_id,
        against_id=standing.evaluation.against_id,
        status=standing.job.status,
        matches=len(standing.matches),
        votes=len(standing.votes),
        needed=standing.needed,
        is_judged=standing.is_judged,
        automatic_only=standing.evaluation.automatic_only,
    )


def _refuse_unvotable(standing: Standing, match: MatchRecord, choice: Choice) -> None:
    if standing.evaluation.automatic_only:
        raise BadOptionError("This test is automatic only; it takes no votes.", key="error.arena_automatic")
    if standing.is_judged and standing.votes[match.id].choice != choice:  # the same click twice is harmless
        raise _judged()


def _judged() -> BadOptionError:
    return BadOptionError("This test has been judged; its votes stay as they are. Start another one.", key="error.arena_judged")


def _usual_tokens(uow: UnitOfWork, owner_id: str, task: Kind) -> int:
    """How long the owner's newest answers were allowed to be, at most ANSWER_TOKENS; a summary's question says its length."""
    page = uow.creations.search(owner_id, owner_id, CreationFilter(kind=task), page_size=RECENT)
    asked = [item.creation.params.get("max_new_tokens") for item in page.items]
    limits = [int(limit) for limit in asked if isinstance(limit, int)]
    return max(1, min(ANSWER_TOKENS, int(statistics.median(limits)))) if limits else ANSWER_TOKENS
