"""Ratings with history, explicit and inferred preferences, counts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import BadOptionError, NotFoundError, StudioError, TooLongError
from engine.services.feedback import TRAINING_EXAMPLES_NEEDED, FeedbackService
from engine.types import PreferOptions, RateOptions
from storage.database import Database
from storage.records import PreferenceRecord
from tests.engine.services.library_parts import OWNER, add, opened, version_of


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with opened(tmp_path) as database:
        yield database


@pytest.fixture
def feedback(database: Database) -> FeedbackService:
    return FeedbackService(database)


def preferences(database: Database, rater: str = OWNER) -> list[PreferenceRecord]:
    with database.read() as uow:
        return list(uow.preferences.each(rater))


def pairs(database: Database) -> set[tuple[str, str, str]]:
    return {(p.chosen_id, p.rejected_id, p.source) for p in preferences(database)}


def test_a_rating_is_kept_and_the_ones_before_stay_in_the_history(database: Database, feedback: FeedbackService) -> None:
    creation = add(database)
    feedback.rate(OWNER, OWNER, creation.id, 1, RateOptions(reasons=("clear", "clear"), comment="好\0"))
    feedback.rate(OWNER, OWNER, creation.id, -0.5)
    current = feedback.rating(OWNER, creation.id)
    assert current is not None and current.score == -0.5
    history = feedback.history(OWNER, creation.id)
    assert [(r.score, r.is_current) for r in history] == [(1.0, False), (-0.5, True)]
    assert history[0].reasons == ("clear",) and history[0].comment == "好"


def test_withdrawing_leaves_no_rating_but_the_history(database: Database, feedback: FeedbackService) -> None:
    creation = add(database)
    feedback.rate(OWNER, OWNER, creation.id, 1)
    result = feedback.rate(OWNER, OWNER, creation.id, None)
    assert feedback.rating(OWNER, creation.id) is None
    assert result.counts["ratings"] == 0 and result.next_training_in == TRAINING_EXAMPLES_NEEDED
    assert len(feedback.history(OWNER, creation.id)) == 2


@pytest.mark.parametrize("score", [1.01, -2, float("nan"), float("inf"), "1", True, [1]])
def test_a_score_that_is_none_is_refused_and_nothing_kept(database: Database, feedback: FeedbackService, score: object) -> None:
    creation = add(database)
    with pytest.raises(BadOptionError):
        feedback.rate(OWNER, OWNER, creation.id, score)  # type: ignore[arg-type]
    assert feedback.history(OWNER, creation.id) == ()


def test_missing_and_foreign_ids_say_the_same(database: Database, feedback: FeedbackService) -> None:
    foreign = add(database, owner="alice")
    said = set()
    for creation_id in ("0" * 32, foreign.id, "", "x" * 5000, "a\0b"):
        with pytest.raises(NotFoundError) as raised:
            feedback.rate(OWNER, OWNER, creation_id, 1)
        said.add(str(raised.value))
    assert said == {"Nothing with this id."}


def test_an_overlong_comment_is_refused_before_anything_is_written(database: Database, feedback: FeedbackService) -> None:
    creation = add(database)
    with pytest.raises(TooLongError):
        feedback.rate(OWNER, OWNER, creation.id, 1, RateOptions(comment="x" * 4001))
    assert feedback.rating(OWNER, creation.id) is None


def test_differing_ratings_of_versions_make_a_preference_and_follow_them(database: Database, feedback: FeedbackService) -> None:
    first = add(database)
    second = version_of(database, first, "another answer")
    feedback.rate(OWNER, OWNER, first.id, 1)
    assert pairs(database) == set()
    feedback.rate(OWNER, OWNER, second.id, -1)
    assert pairs(database) == {(first.id, second.id, "ratings")}
    feedback.rate(OWNER, OWNER, first.id, -1)
    assert pairs(database) == set()
    feedback.rate(OWNER, OWNER, second.id, 0.5)
    assert pairs(database) == {(second.id, first.id, "ratings")}
    feedback.rate(OWNER, OWNER, second.id, None)
    assert pairs(database) == set()


def test_versions_with_another_prompt_are_not_compared(database: Database, feedback: FeedbackService) -> None:
    first = add(database)
    other = add(database, "an edited prompt", "answer", turn_id=first.turn_id, parent_id=first.id)
    persona = version_of(database, first, "as a pirate", params={"system": "You are a pirate."})
    for creation, score in ((first, 1), (other, -1), (persona, -1)):
        feedback.rate(OWNER, OWNER, creation.id, score)
    assert pairs(database) == set()


def test_an_edit_beats_its_original_until_ratings_say_otherwise(database: Database, feedback: FeedbackService) -> None:
    original = add(database)
    edited = version_of(database, original, "edited by hand", origin="edited")
    (preference_id,) = feedback.prefer(OWNER, OWNER, edited.id, original.id, source="edit")
    assert preferences(database)[0].id == preference_id and not preferences(database)[0].is_explicit
    feedback.rate(OWNER, OWNER, edited.id, -1)
    assert {(p.chosen_id, p.rejected_id) for p in preferences(database)} == {(edited.id, original.id)}
    feedback.rate(OWNER, OWNER, original.id, 1)
    assert {(p.chosen_id, p.rejected_id) for p in preferences(database)} == {(original.id, edited.id)}
    feedback.rate(OWNER, OWNER, original.id, None)
    assert {(p.chosen_id, p.rejected_id) for p in preferences(database)} == {(edited.id, original.id)}


def test_an_explicit_choice_overrides_inferred_ones_and_a_pair_counts_once(database: Database, feedback: FeedbackService) -> None:
    first = add(database)
    second = version_of(database, first, "another answer")
    feedback.rate(OWNER, OWNER, first.id, 1)
    feedback.rate(OWNER, OWNER, second.id, -1)
    feedback.prefer(OWNER, OWNER, second.id, [first.id])
    assert pairs(database) == {(second.id, first.id, "pick")}
    feedback.rate(OWNER, OWNER, first.id, 0.5)
    feedback.rate(OWNER, OWNER, second.id, None)
    assert pairs(database) == {(second.id, first.id, "pick")}
    feedback.prefer(OWNER, OWNER, first.id, second.id)
    assert pairs(database) == {(first.id, second.id, "pick")}
    assert feedback.counts(OWNER)["pairs"] == 1


def test_ties_are_kept_but_are_no_pair_to_train_on(database: Database, feedback: FeedbackService) -> None:
    first = add(database)
    second = version_of(database, first, "another answer")
    feedback.prefer(OWNER, OWNER, first.id, second.id, PreferOptions(tie=True))
    counts = feedback.counts(OWNER)
    assert (counts["preferences"], counts["pairs"]) == (1, 0)
    feedback.prefer(OWNER, OWNER, first.id, second.id, PreferOptions(both_bad=True))
    assert [p.outcome for p in preferences(database)] == ["both_bad"]


def test_only_creations_of_one_prompt_can_be_compared(database: Database, feedback: FeedbackService) -> None:
    first, other = add(database), add(database, "another prompt")
    later = add(database, first.prompt, "after something", context_id=other.id)
    for rejected in (other.id, later.id, first.id, []):
        with pytest.raises(BadOptionError):
            feedback.prefer(OWNER, OWNER, first.id, rejected)
    with pytest.raises(NotFoundError):
        feedback.prefer(OWNER, OWNER, first.id, "0" * 32)
    assert pairs(database) == set()


def test_a_pick_over_several_is_all_or_nothing(database: Database, feedback: FeedbackService) -> None:
    first = add(database)
    others = [version_of(database, first, f"answer {n}").id for n in range(3)]
    assert len(set(feedback.prefer(OWNER, OWNER, first.id, others))) == 3
    with pytest.raises(NotFoundError):
        feedback.prefer(OWNER, OWNER, others[0], [others[1], "0" * 32])
    assert pairs(database) == {(first.id, other, "pick") for other in others}


def test_counts_say_how_many_examples_are_still_needed(database: Database, feedback: FeedbackService) -> None:
    assert feedback.counts(OWNER)["next_training_in"] == TRAINING_EXAMPLES_NEEDED
    left = [feedback.rate(OWNER, OWNER, add(database, f"prompt {n}").id, 1).next_training_in for n in range(22)]
    assert left == [*range(TRAINING_EXAMPLES_NEEDED - 1, -1, -1), 0, 0]
    neutral = add(database, "neutral")
    feedback.rate(OWNER, OWNER, neutral.id, 0)
    counts = feedback.counts(OWNER)
    assert counts["by_task"]["text"] == {
        "ratings": 23, "thumbs": 22, "positive": 22, "negative": 0, "preferences": 0, "pairs": 0,
    }  # fmt: skip


def test_raters_do_not_see_each_other(database: Database, feedback: FeedbackService) -> None:
    creation = add(database)
    feedback.rate(OWNER, "bob", creation.id, -1)
    assert feedback.rating(OWNER, creation.id) is None
    assert feedback.counts(OWNER)["ratings"] == 0 and feedback.counts("bob")["ratings"] == 1


def test_ratings_from_many_threads_are_all_kept(database: Database, feedback: FeedbackService) -> None:
    first = add(database)
    second = version_of(database, first, "another answer")
    errors: list[StudioError] = []

    def rate(n: int) -> None:
        try:
            for turn in range(10):
                feedback.rate(OWNER, OWNER, (first, second)[(n + turn) % 2].id, ((n + turn) % 5 - 2) / 2)
        except StudioError as error:
            errors.append(error)

    threads = [threading.Thread(target=rate, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert errors == []
    scores = {creation.id: feedback.rating(OWNER, creation.id) for creation in (first, second)}
    a, b = (rating.score for rating in scores.values() if rating is not None)
    assert a is not None and b is not None
    expected = set() if a == b else {(first.id, second.id) if a > b else (second.id, first.id)}
    assert {(p.chosen_id, p.rejected_id) for p in preferences(database)} == expected
    for creation in (first, second):
        assert sum(rating.is_current for rating in feedback.history(OWNER, creation.id)) == 1
