"""What is learned from picks, votes, edits and thumbs, when it is learned again, and what `rank_by` makes of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import BadOptionError, NotEnoughDataError
from engine.services.taste import TasteService, TasteSummary
from engine.types import RateOptions
from tests.engine.services.fakes import DEADLINE_S, FakeEncoders, FakeTextModel
from tests.engine.services.studio_parts import OWNER, TextStudio, text_studio

SUBJECTS = ("rain", "bread", "trains", "winter", "music", "maps", "soup", "clocks", "bees", "boats")


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[TextStudio]:
    def rows(request: object, row: int) -> list[str]:
        """Row 0 is the longest, the last one the shortest."""
        return [f"word{number} " for number in range(24 - 7 * row)]

    with text_studio(tmp_path, FakeTextModel(rows)) as studio:
        yield studio


def pick(studio: TextStudio, subject: str, *, row: int) -> tuple[str, ...]:
    """Three answers in a conversation, of which one is picked."""
    conversation = studio.conversations.create(OWNER)
    started = studio.write(f"Write about {subject}.", n=3, conversation_id=conversation.id, seed=5)
    studio.finish(started)
    studio.conversations.pick(OWNER, conversation.id, started.creation_ids[row])
    return started.creation_ids


def pick_shortest(studio: TextStudio, count: int = len(SUBJECTS)) -> None:
    for subject in SUBJECTS[:count]:
        pick(studio, subject, row=2)


ITEMS = [("Write about tea.", "word " * 30), ("Write about tea.", "word word")]


def test_it_learns_from_picks_and_says_what(studio: TextStudio) -> None:
    pick_shortest(studio)
    long, short = studio.taste.score(OWNER, OWNER, "text", ITEMS)
    assert short > long
    summary = studio.taste.summary(OWNER, OWNER, "text")
    assert summary.ready and summary.is_sure and summary.accuracy > 0.9
    assert (summary.ratings, summary.pairs) == (10, 20)
    assert ("length", -1) in {(one.feature.family, one.direction) for one in summary.learned}


def test_it_learns_from_thumbs_alone(studio: TextStudio) -> None:
    for place, subject in enumerate((*SUBJECTS, *SUBJECTS)):
        started = studio.write(f"{subject} {place}", n=3)
        studio.finish(started)
        studio.feedback.rate(OWNER, OWNER, started.creation_ids[2 if place % 2 else 0], 1.0 if place % 2 else -1.0, RateOptions())
    long, short = studio.taste.score(OWNER, OWNER, "text", ITEMS)
    assert short > long
    assert studio.taste.summary(OWNER, OWNER, "text").ratings == 20


def test_too_little_says_how_much_is_missing(studio: TextStudio) -> None:
    assert studio.taste.summary(OWNER, OWNER, "text") == TasteSummary(ready=False, ratings=0, pairs=0, missing=8)
    pick_shortest(studio, 3)
    summary = studio.taste.summary(OWNER, OWNER, "text")
    assert (summary.ready, summary.pairs, summary.missing, summary.ratings) == (False, 6, 2, 3)
    for call in (lambda: studio.taste.score(OWNER, OWNER, "text", ITEMS), lambda: studio.taste.require(OWNER, OWNER, "text")):
        with pytest.raises(NotEnoughDataError, match="2 more"):
            call()


def test_it_follows_the_data(studio: TextStudio) -> None:
    """A withdrawn choice, a changed mind and an answer in the trash no longer count; somebody else's never did."""
    pick_shortest(studio)
    assert studio.taste.summary(OWNER, OWNER, "text").pairs == 20
    ids = pick(studio, "rivers", row=2)
    assert studio.taste.summary(OWNER, OWNER, "text").pairs == 22
    with studio.database.write() as uow:
        uow.creations.trash(OWNER, [ids[0]])
        uow.commit()
    assert studio.taste.summary(OWNER, OWNER, "text").pairs == 21
    assert not studio.taste.summary(OWNER, "guest", "text").ready
    assert not studio.taste.summary("guest", OWNER, "text").ready


def test_the_encoder_is_asked_once_for_each_text(studio: TextStudio) -> None:
    pick_shortest(studio)
    asked: list[str] = []
    taste = TasteService(studio.database, FakeEncoders(asked))
    taste.score(OWNER, OWNER, "text", ITEMS)
    taste.score(OWNER, OWNER, "text", ITEMS)
    taste.summary(OWNER, OWNER, "text")
    assert len(asked) == len(set(asked))
    taste.close()


def test_an_encoder_that_came_later_or_went_away_changes_nothing_until_the_next_fit(studio: TextStudio) -> None:
    pick_shortest(studio)
    for encoders, later in ((FakeEncoders([]), None), (FakeEncoders(None), [])):
        taste = TasteService(studio.database, encoders)
        taste.summary(OWNER, OWNER, "text")
        encoders.texts = later
        long, short = taste.score(OWNER, OWNER, "text", ITEMS)
        assert short > long
        taste.close()


def test_peek_never_waits_and_touch_learns_in_the_background(studio: TextStudio) -> None:
    pick_shortest(studio)
    assert studio.taste.peek(OWNER, OWNER, "text") == (None, True)
    first = wait_for(studio.taste)
    assert first.pairs == 20
    pick(studio, "rivers", row=2)
    for _ in range(5):  # a burst is one fit
        studio.taste.touch(OWNER, OWNER, "text")
    assert studio.taste.peek(OWNER, OWNER, "text") == (first, True)
    assert wait_for(studio.taste).pairs == 22


def test_after_closing_nothing_is_learned(studio: TextStudio) -> None:
    studio.taste.close()
    studio.taste.touch(OWNER, OWNER, "text")
    assert studio.taste.peek(OWNER, OWNER, "text") == (None, False)


def test_a_task_without_texts_is_refused(studio: TextStudio) -> None:
    with pytest.raises(BadOptionError, match="image"):
        studio.taste.score(OWNER, OWNER, "image", ITEMS)


def wait_for(taste: TasteService) -> TasteSummary:
    """What is known once nothing is being learned."""
    deadline_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline_s:
        summary, is_learning = taste.peek(OWNER, OWNER, "text")
        if summary is not None and not is_learning:
            return summary
        time.sleep(0.01)
    raise AssertionError("nothing was learned in time")


# ------------------------------------------------------------ rank_by


def test_ranked_answers_come_best_first_and_the_best_goes_on(studio: TextStudio) -> None:
    pick_shortest(studio)
    conversation = studio.conversations.create(OWNER)
    started = studio.write("Write about tea.", n=3, conversation_id=conversation.id, rank_by="taste", seed=1)
    snapshot = studio.finish(started)
    best_first = list(reversed(started.creation_ids))
    assert snapshot.status == "done" and snapshot.result is not None
    assert snapshot.result["creation_ids"] == snapshot.result["ranking"] == best_first
    assert snapshot.data["ranking"] == [one["id"] for one in snapshot.data["creations"]] == best_first
    assert studio.conversations.get(OWNER, conversation.id).head_id == best_first[0]
    turn = studio.conversations.thread(OWNER, conversation.id).turns[-1]
    assert [candidate.id for candidate in turn.candidates] == best_first and turn.creation.id == best_first[0]
    kept = [studio.row(id).params["taste"] for id in best_first]
    assert [one["rank"] for one in kept] == [1, 2, 3] and kept[0]["score"] > kept[2]["score"]
    studio.conversations.pick(OWNER, conversation.id, best_first[1])  # another one may still be better
    assert studio.conversations.get(OWNER, conversation.id).head_id == best_first[1]


def test_the_ranking_is_there_after_a_restart(studio: TextStudio, tmp_path: Path) -> None:
    pick_shortest(studio)
    started = studio.write("Write about tea.", n=3, rank_by="taste")
    studio.finish(started)
    studio.runner.shutdown(1.0)
    with text_studio(f"sqlite:///{tmp_path / 'tastemaker.db'}") as again:
        data = again.jobs.get(OWNER, started.job_id).data
        assert data["ranking"] == [one["id"] for one in data["creations"]] == list(reversed(started.creation_ids))


def test_ranking_with_too_little_is_refused_before_anything_is_written(studio: TextStudio) -> None:
    pick_shortest(studio, 2)
    before = studio.rows()
    with pytest.raises(NotEnoughDataError):
        studio.write(n=3, rank_by="taste")
    assert studio.rows() == before
    studio.finish(studio.write(n=1, rank_by="taste"))  # one answer needs no order


def test_answers_are_kept_unsorted_when_ranking_fails(studio: TextStudio) -> None:
    pick_shortest(studio)
    studio.model.hold()
    started = studio.write("Write about tea.", n=2, rank_by="taste")
    studio.taste.close()
    studio.model.release(1000)
    snapshot = studio.finish(started)
    assert snapshot.status == "done" and snapshot.result == {"creation_ids": list(started.creation_ids)}
    assert [notice["key"] for notice in studio.row(started.creation_ids[0]).params["notices"]] == ["notice.unranked"]


def test_an_edit_of_a_ranked_answer_has_no_rank(studio: TextStudio) -> None:
    pick_shortest(studio)
    started = studio.write("Write about tea.", n=2, rank_by="taste")
    studio.finish(started)
    edited = studio.text.edit(OWNER, started.creation_ids[0], "Better.")
    assert "taste" not in studio.row(edited.creation_id).params
