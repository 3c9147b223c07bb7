"""Ratings and preferences: what a rater thinks of a Creation, and what follows from it.

A preference is explicit (somebody chose) or inferred (two versions of one prompt are rated differently, or one is an edit
of the other). Inferred ones are worked out anew at each rating, and withdrawn when they no longer hold.
Knows storage's records; knows no model and no page.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from engine.errors import BadOptionError
from engine.safety.limits import (
    COMMENT_MAX_CHARS,
    MAX_REASONS,
    REASON_MAX_CHARS,
    clean_ids,
    clean_labels,
    clean_text,
)
from engine.services.edge import storage_errors
from engine.types import PreferOptions, RateOptions
from storage.database import Database
from storage.records import CreationRecord, Json, Kind, Outcome, PreferenceRecord, PreferenceSource, RatingRecord
from storage.unit_of_work import UnitOfWork

EXPLICIT_SOURCES: tuple[PreferenceSource, ...] = ("pick", "arena", "imported")
TRAINING_EXAMPLES_NEEDED = 20
"""Usable examples (pairs with a winner, and thumbs that are not 0) from which a first training is worth its minutes."""

MAX_VERSIONS_COMPARED = 64
"""Of a turn with more rated versions only the newest ones are paired with each other: pairs grow with the square."""


@dataclass(frozen=True, slots=True)
class RateResult:
    """What a rating did. `counts` is {"ratings", "preferences", "pairs", "by_task"}; `next_training_in` 0 means ready."""

    rating_id: str
    counts: Json
    next_training_in: int


class FeedbackService:
    """Rates, prefers, counts. Every call is one short transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @storage_errors()
    def rate(
        self, owner_id: str, rater_id: str, creation_id: str, score: float | None, options: RateOptions | None = None
    ) -> RateResult:
        """Set the rater's current rating, -1 … +1 (None withdraws it); the ones before stay in the history.

        Raises NotFoundError, BadOptionError, TooLongError.
        """
        checked_score = _checked_score(score)
        chosen = options or RateOptions()
        reasons = clean_labels(chosen.reasons, max_chars=REASON_MAX_CHARS, max_count=MAX_REASONS, what="Reasons")
        comment = clean_text(chosen.comment, max_chars=COMMENT_MAX_CHARS, what="The comment")
        with self._database.write() as uow:
            creation = uow.creations.get(owner_id, creation_id)
            rating = uow.ratings.set(rater_id, creation.id, checked_score, reasons=reasons, comment=comment)
            refresh_inferred(uow, owner_id, rater_id, [creation.turn_id])
            uow.adapters.refresh_marks(owner_id, [creation.id])
            counts = _counts(uow, rater_id)
            uow.commit()
        return RateResult(rating_id=rating.id, counts=counts, next_training_in=next_training_in(counts, creation.kind))

    @storage_errors()
    def prefer(
        self,
        owner_id: str,
        rater_id: str,
        chosen_id: str,
        rejected_ids: str | Sequence[str],
        options: PreferOptions | None = None,
        *,
        source: PreferenceSource = "pick",
    ) -> tuple[str, ...]:
        """Record that `chosen_id` beats each of `rejected_ids` (or ties with it, or that both are bad); ids of the preferences.

        The Creations must share a prompt: the same text after the same turns under the same system prompt.
        An edit (`source` "edit") is an inferred preference: it gives way to an explicit one.
        Raises NotFoundError, BadOptionError.
        """
        outcome = _outcome(options or PreferOptions())
        rejected = clean_ids(rejected_ids, what="The rejected ids")
        if not rejected or chosen_id in rejected:
            raise BadOptionError("Give at least one other Creation to compare with.", key="error.prefer_other")
        with self._database.write() as uow:
            chosen = uow.creations.get(owner_id, chosen_id)
            ids = []
            for rejected_id in rejected:
                other = uow.creations.get(owner_id, rejected_id)
                if not _same_prompt(chosen, other):
                    raise BadOptionError("Only Creations of the same prompt can be compared.", key="error.prefer_prompt")
                record = uow.preferences.set(
                    rater_id, chosen.id, other.id, outcome=outcome, source=source, is_explicit=source in EXPLICIT_SOURCES
                )
                ids.append(record.id)
            uow.adapters.refresh_marks(owner_id, [chosen.id])
            uow.commit()
        return tuple(ids)

    @storage_errors()
    def rating(self, rater_id: str, creation_id: str) -> RatingRecord | None:
        """Return the rater's current rating of a Creation, or None (also when it was withdrawn)."""
        with self._database.read() as uow:
            rating = uow.ratings.current(rater_id, [creation_id]).get(creation_id)
        return rating if rating is not None and rating.score is not None else None

    @storage_errors()
    def history(self, rater_id: str, creation_id: str) -> tuple[RatingRecord, ...]:
        """Return every rating this rater gave a Creation, withdrawn ones too, in the order storage keeps them."""
        with self._database.read() as uow:
            return tuple(uow.ratings.history(rater_id, creation_id))

    @storage_errors()
    def counts(self, rater_id: str, task: Kind = "text") -> Json:
        """Return {"ratings", "preferences", "pairs", "by_task", "next_training_in"} of one rater; the last is of `task`."""
        with self._database.read() as uow:
            counts = _counts(uow, rater_id)
        return {**counts, "next_training_in": next_training_in(counts, task)}


def next_training_in(counts: Json, task: Kind) -> int:
    """Return how many usable examples of a task are still needed for a training of it; 0 = ready."""
    of_task = counts["by_task"].get(task, {"pairs": 0, "thumbs": 0})
    return max(0, TRAINING_EXAMPLES_NEEDED - int(of_task["pairs"]) - int(of_task["thumbs"]))


def picked_of(ids: Sequence[str], preferences: Sequence[PreferenceRecord]) -> str | None:
    """The one that somebody chose over others of `ids` and none of them over it, the newest choice first; None without any."""
    wins = [
        one for one in preferences if one.is_explicit and one.outcome == "win" and {one.chosen_id, one.rejected_id} <= set(ids)
    ]
    beaten = {one.rejected_id for one in wins}
    return next((one.chosen_id for one in reversed(wins) if one.chosen_id not in beaten), None)


def refresh_inferred(uow: UnitOfWork, owner_id: str, rater_id: str, turn_ids: Iterable[str]) -> None:
    """Make the inferred preferences between the versions of these turns say what ratings and edits say now.

    Explicit ones stay as they are. Part of the caller's transaction.
    """
    turns = [versions for versions in uow.creations.versions(owner_id, list(turn_ids)).values() if len(versions) > 1]
    ids = [version.id for versions in turns for version in versions]
    if not ids:
        return
    scores = {key: rating.score for key, rating in uow.ratings.current(rater_id, ids).items()}
    known = {frozenset((p.chosen_id, p.rejected_id)): p for p in uow.preferences.current(rater_id, ids)}
    for versions in turns:
        for first, second in combinations(versions[-MAX_VERSIONS_COMPARED:], 2):
            current = known.get(frozenset((first.id, second.id)))
            if current is None or not current.is_explicit:
                _refresh_pair(uow, rater_id, first, second, scores, current)


def _refresh_pair(
    uow: UnitOfWork,
    rater_id: str,
    first: CreationRecord,
    second: CreationRecord,
    scores: Mapping[str, float | None],
    current: PreferenceRecord | None,
) -> None:
    inferred = _infer(first, second, scores) if _same_prompt(first, second) else None
    if inferred is not None:
        chosen_id, rejected_id, source = inferred
        if current is None or current.chosen_id != chosen_id:
            uow.preferences.set(rater_id, chosen_id, rejected_id, outcome="win", source=source, is_explicit=False)
    elif current is not None:
        uow.preferences.withdraw(rater_id, current.id)


def _infer(
    first: CreationRecord, second: CreationRecord, scores: Mapping[str, float | None]
) -> tuple[str, str, PreferenceSource] | None:
    """Return (chosen id, rejected id, source): the higher rating, else the edit over what it was made from, else None."""
    first_score, second_score = scores.get(first.id), scores.get(second.id)
    if first_score is not None and second_score is not None and first_score != second_score:
        better, worse = (first, second) if first_score > second_score else (second, first)
        return better.id, worse.id, "ratings"
    for edited, original in ((first, second), (second, first)):
        if edited.origin == "edited" and edited.parent_id == original.id and edited.output != original.output:
            return edited.id, original.id, "edit"
    return None


def _same_prompt(first: CreationRecord, second: CreationRecord) -> bool:
    return _asked(first) == _asked(second)


def _asked(creation: CreationRecord) -> tuple[object, ...]:
    """What a model was asked: for summaries the documents, whatever method or style was chosen."""
    params = creation.params
    about = (params.get("system") or "", tuple(params.get("document_ids") or ()))
    return (creation.kind, creation.prompt, creation.context_id, *about)


def _counts(uow: UnitOfWork, rater_id: str) -> Json:
    ratings = uow.ratings.counts(rater_id)
    preferences, pairs = uow.preferences.counts(rater_id), uow.preferences.counts(rater_id, outcome="win")
    by_task = {}
    for task in sorted({*ratings, *preferences}):
        rated = ratings.get(task, {})
        by_task[task] = {
            "ratings": int(rated.get("ratings", 0)),
            "thumbs": int(rated.get("positive", 0)) + int(rated.get("negative", 0)),
            "positive": int(rated.get("positive", 0)),
            "negative": int(rated.get("negative", 0)),
            "preferences": int(preferences.get(task, 0)),
            "pairs": int(pairs.get(task, 0)),
        }
    return {
        "ratings": sum(task["ratings"] for task in by_task.values()),
        "preferences": sum(task["preferences"] for task in by_task.values()),
        "pairs": sum(task["pairs"] for task in by_task.values()),
        "by_task": by_task,
    }


def _checked_score(score: object) -> float | None:
    if score is None:
        return None
    is_number = isinstance(score, (int, float)) and not isinstance(score, bool)
    if not is_number or not -1 <= score <= 1:  # type: ignore[operator]
        raise BadOptionError("A score is a number from -1 to 1, or null to withdraw the rating.", key="error.score")
    return float(score)  # type: ignore[arg-type]


def _outcome(options: PreferOptions) -> Outcome:
    if options.tie:
        return "tie"
    return "both_bad" if options.both_bad else "win"
