"""Versions, edits, going on, reproducing: the tree that one prompt grows into."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import BadOptionError, BusyError, NotFoundError
from engine.text.model import GenerateRequest
from engine.types import WriteOptions
from tests.engine.services.fakes import FakeTextModel, wait_for
from tests.engine.services.studio_parts import OWNER, TextStudio, text_studio


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[TextStudio]:
    with text_studio(tmp_path) as parts:
        yield parts


def test_regenerating_keeps_the_old_answer_as_a_version(studio: TextStudio) -> None:
    conversation = studio.conversations.create(OWNER)
    before = studio.wrote("before", conversation_id=conversation.id)
    first = studio.wrote("a prompt", conversation_id=conversation.id, seed=1)
    second = studio.wrote("", parent_id=first.id, seed=2)
    assert (second.prompt, second.turn_id, second.context_id, second.parent_id) == (
        "a prompt",
        first.turn_id,
        before.id,
        first.id,
    )
    assert second.conversation_id == conversation.id
    assert studio.conversations.get(OWNER, conversation.id).head_id == second.id
    assert studio.row(first.id).output == "a prompt #1"
    assert studio.model.requests[-1].messages == studio.model.requests[-2].messages


def test_an_edited_prompt_is_a_version_with_that_prompt(studio: TextStudio) -> None:
    first = studio.wrote("a prompt")
    second = studio.wrote("a better prompt", parent_id=first.id)
    assert (second.prompt, second.turn_id) == ("a better prompt", first.turn_id)


def test_an_edit_beats_what_it_was_made_from_until_somebody_says_otherwise(studio: TextStudio) -> None:
    conversation = studio.conversations.create(OWNER)
    original = studio.wrote("a prompt", conversation_id=conversation.id)
    edited = studio.text.edit(OWNER, original.id, "Better.")
    row = studio.row(edited.creation_id)
    assert (row.origin, row.status, row.output, row.parent_id, row.turn_id) == (
        "edited",
        "done",
        "Better.",
        original.id,
        original.turn_id,
    )
    assert studio.conversations.get(OWNER, conversation.id).head_id == row.id
    with studio.database.read() as uow:
        (preference,) = uow.preferences.current(OWNER, [row.id])
    assert (preference.id, preference.chosen_id, preference.rejected_id) == (edited.preference_id, row.id, original.id)
    assert (preference.source, preference.is_explicit) == ("edit", False)
    studio.feedback.prefer(OWNER, OWNER, original.id, [row.id])
    with studio.database.read() as uow:
        (preference,) = uow.preferences.current(OWNER, [row.id])
    assert (preference.chosen_id, preference.is_explicit) == (original.id, True)
    # what follows is written to the edited text
    studio.wrote("go on", conversation_id=conversation.id)
    assert studio.model.requests[-1].messages[-2].content == "Better."


@pytest.mark.parametrize("text", ["", "  \n", "a prompt #1"])
def test_an_edit_that_changes_nothing_is_refused(studio: TextStudio, text: str) -> None:
    original = studio.wrote("a prompt", seed=1)
    with pytest.raises(BadOptionError):
        studio.text.edit(OWNER, original.id, text)
    assert studio.rows() == 1


def test_somebody_elses_text_cannot_be_edited_resumed_or_reproduced(studio: TextStudio) -> None:
    row = studio.wrote()
    for call in (lambda: studio.text.edit("guest", row.id, "mine now"), lambda: studio.text.resume("guest", row.id)):
        with pytest.raises(NotFoundError):
            call()
    with pytest.raises(NotFoundError):
        studio.text.reproduce("guest", row.id)


def test_what_is_being_written_cannot_be_edited(studio: TextStudio) -> None:
    studio.model.hold()
    started = studio.write()
    for call in (
        lambda: studio.text.edit(OWNER, started.creation_ids[0], "x"),
        lambda: studio.text.reproduce(OWNER, started.creation_ids[0]),
        lambda: studio.text.resume(OWNER, started.creation_ids[0]),
    ):
        with pytest.raises(BusyError):
            call()
    studio.jobs.cancel(OWNER, started.job_id)


def _goes_on(request: GenerateRequest, row: int) -> Sequence[str]:
    return [f"{word} " for word in "one two three four five".split()][len(request.continue_text.split()) :]


def test_an_answer_cut_at_its_length_goes_on(tmp_path: Path) -> None:
    with text_studio(tmp_path, FakeTextModel(_goes_on)) as studio:
        first = studio.wrote("count", max_new_tokens=2)
        assert (first.output, first.finish_reason) == ("one two ", "length")
        second = studio.wrote("", continue_from=first.id, max_new_tokens=10)
        assert second.output == "one two three four five "
        assert (second.parent_id, second.turn_id, second.prompt) == (first.id, first.turn_id, "count")
        assert second.output_tokens == 3
        assert studio.model.requests[-1].continue_text == "one two "
        assert studio.row(first.id).output == "one two "


def test_going_on_keeps_the_prompt(studio: TextStudio) -> None:
    first, other = studio.wrote("a prompt"), studio.wrote("other")
    with pytest.raises(BadOptionError):
        studio.write("another prompt", continue_from=first.id)
    with pytest.raises(BadOptionError):
        studio.write("", continue_from=first.id, parent_id=other.id)
    assert studio.rows() == 2


def test_a_stopped_answer_is_resumed_with_the_parameters_it_records(tmp_path: Path) -> None:
    with text_studio(tmp_path, FakeTextModel(_goes_on)) as studio:
        studio.model.hold()
        conversation = studio.conversations.create(OWNER)
        started = studio.write("count", conversation_id=conversation.id, temperature=0.1, system="Count.", seed=5)
        studio.model.release(2)
        wait_for(lambda: studio.runner.snapshot(started.job_id).data["creations"][0]["tokens"] == 2)  # type: ignore[union-attr]
        studio.jobs.cancel(OWNER, started.job_id)
        studio.model.release(20)
        resumed = studio.text.resume(OWNER, started.creation_ids[0], idempotency_key="resume-1")
        assert studio.text.resume(OWNER, started.creation_ids[0], idempotency_key="resume-1") == resumed
        studio.finish(resumed)
        row = studio.row(resumed.creation_ids[0])
        assert row.output == "one two three four five "
        assert (row.seed, row.params["temperature"], row.params["system"]) == (5, 0.1, "Count.")
        assert studio.conversations.get(OWNER, conversation.id).head_id == row.id


def test_an_edited_text_was_written_by_nobody_who_could_resume_it(studio: TextStudio) -> None:
    edited = studio.text.edit(OWNER, studio.wrote().id, "By hand.")
    with pytest.raises(BadOptionError):
        studio.text.resume(OWNER, edited.creation_id)
    with pytest.raises(BadOptionError):
        studio.text.reproduce(OWNER, edited.creation_id)


def test_reproducing_asks_for_the_recorded_path_with_the_same_messages(tmp_path: Path) -> None:
    with text_studio(tmp_path, FakeTextModel(context_length=14)) as studio:
        conversation = studio.conversations.create(OWNER, system="Be brief.")
        studio.wrote("one two", conversation_id=conversation.id, max_new_tokens=4)
        studio.wrote("three four", conversation_id=conversation.id, max_new_tokens=4)
        row = studio.wrote("five six", conversation_id=conversation.id, max_new_tokens=50, seed=9)
        asked = studio.model.requests[-1]
        assert row.params["kept_messages"] < 6  # something was left out, and must be again
        studio.conversations.set_system(OWNER, conversation.id, "Be long.")
        with studio.database.write() as uow:  # what is in the trash now was there then
            uow.creations.trash(OWNER, [row.context_id or ""])
            uow.commit()
        snapshot = studio.runner.wait(studio.text.reproduce(OWNER, row.id), 20)
        assert snapshot is not None and snapshot.result == {"text": row.output, "identical": True, "creation_id": row.id}
        again = studio.model.requests[-1]
        assert again.replay == row.path
        assert again == replace(asked, replay=row.path)
        assert studio.row(row.id) == row


def test_reproducing_says_when_the_text_is_another(tmp_path: Path) -> None:
    answers = iter([["a"], ["b"]])
    with text_studio(tmp_path, FakeTextModel(lambda request, row: next(answers))) as studio:
        row = studio.wrote()
        snapshot = studio.runner.wait(studio.text.reproduce(OWNER, row.id), 20)
        assert snapshot is not None and snapshot.result == {"text": "b", "identical": False, "creation_id": row.id}


def test_reproducing_a_continued_answer_begins_where_the_model_began(tmp_path: Path) -> None:
    with text_studio(tmp_path, FakeTextModel(_goes_on)) as studio:
        first = studio.wrote("count", max_new_tokens=2)
        second = studio.wrote("", continue_from=first.id)
        snapshot = studio.runner.wait(studio.text.reproduce(OWNER, second.id), 20)
        assert snapshot is not None and snapshot.result is not None and snapshot.result["identical"]
        assert studio.model.requests[-1].continue_text == "one two "


def test_a_stopped_answer_is_reproduced_up_to_where_it_was_stopped(studio: TextStudio) -> None:
    studio.model.hold()
    started = studio.write("one two three four")
    studio.model.release(2)
    wait_for(lambda: studio.runner.snapshot(started.job_id).data["creations"][0]["tokens"] == 2)  # type: ignore[union-attr]
    studio.jobs.cancel(OWNER, started.job_id)
    studio.model.release(20)
    snapshot = studio.runner.wait(studio.text.reproduce(OWNER, started.creation_ids[0]), 20)
    assert snapshot is not None and snapshot.result is not None
    assert (snapshot.result["text"], snapshot.result["identical"]) == ("one two ", True)


def test_options_of_a_one_shot_creation_need_no_conversation(studio: TextStudio) -> None:
    row = studio.wrote("one shot", system="Shout.")
    assert row.conversation_id is None and row.context_id is None
    version = studio.wrote("", parent_id=row.id)
    assert version.params["system"] == "Shout."
    assert WriteOptions().conversation_id is None
