"""A conversation as turns: versions flip, branches share, candidates wait for a pick, the trash is routed around."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import event

from engine.errors import BadOptionError, BusyError, NotFoundError, TooLongError
from engine.services.conversations import Thread
from storage.records import ConversationRecord, CreationRecord
from tests.engine.services.studio_parts import OWNER, TextStudio, text_studio


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[TextStudio]:
    with text_studio(tmp_path) as parts:
        yield parts


@pytest.fixture
def chat(studio: TextStudio) -> ConversationRecord:
    return studio.conversations.create(OWNER)


def outputs(thread: Thread) -> list[str]:
    return [turn.creation.output for turn in thread.turns]


def show(studio: TextStudio, chat: ConversationRecord) -> list[str]:
    return outputs(studio.conversations.thread(OWNER, chat.id))


def say(studio: TextStudio, chat: ConversationRecord, prompt: str, **options: object) -> CreationRecord:
    return studio.wrote(prompt, conversation_id=chat.id, seed=0, **options)


def test_an_empty_conversation_has_no_turns(studio: TextStudio, chat: ConversationRecord) -> None:
    thread = studio.conversations.thread(OWNER, chat.id)
    assert (thread.turns, thread.active_job_id) == ((), None)


def test_flipping_a_version_shows_what_followed_it(studio: TextStudio, chat: ConversationRecord) -> None:
    first = say(studio, chat, "a")
    say(studio, chat, "b")
    other = studio.wrote("a2", parent_id=first.id, seed=0)
    assert show(studio, chat) == ["a2 #0"]
    (turn,) = studio.conversations.thread(OWNER, chat.id).turns
    assert [version.output for version in turn.versions] == ["a #0", "a2 #0"]
    assert turn.version_index == 1
    studio.conversations.show_version(OWNER, chat.id, first.id)
    assert show(studio, chat) == ["a #0", "b #0"]
    studio.conversations.show_version(OWNER, chat.id, other.id)
    assert show(studio, chat) == ["a2 #0"]


def test_ratings_come_with_the_turn_and_withdrawn_ones_do_not(studio: TextStudio, chat: ConversationRecord) -> None:
    first, second = say(studio, chat, "a"), say(studio, chat, "b")
    studio.feedback.rate(OWNER, OWNER, first.id, 1.0)
    studio.feedback.rate(OWNER, OWNER, second.id, -1.0)
    studio.feedback.rate(OWNER, OWNER, second.id, None)
    turns = studio.conversations.thread(OWNER, chat.id).turns
    assert turns[0].ratings[first.id].score == 1.0
    assert dict(turns[1].ratings) == {}


def test_the_thread_names_the_job_that_is_writing(studio: TextStudio, chat: ConversationRecord) -> None:
    studio.model.hold()
    started = studio.write("a", conversation_id=chat.id, n=2)
    thread = studio.conversations.thread(OWNER, chat.id)
    assert thread.active_job_id == started.job_id
    assert len(thread.turns[0].candidates) == 2
    with pytest.raises(BusyError):
        studio.conversations.pick(OWNER, chat.id, started.creation_ids[0])
    with pytest.raises(BusyError):
        studio.conversations.delete_turn(OWNER, chat.id, started.creation_ids[0])
    studio.jobs.cancel(OWNER, started.job_id)
    assert studio.conversations.thread(OWNER, chat.id).active_job_id is None


def test_a_pick_beats_the_others_and_the_conversation_goes_on_from_it(studio: TextStudio, chat: ConversationRecord) -> None:
    started = studio.write("a", conversation_id=chat.id, n=3, seed=0)
    studio.finish(started)
    first, second, third = started.creation_ids
    thread = studio.conversations.thread(OWNER, chat.id)
    assert [candidate.id for candidate in thread.turns[0].candidates] == [first, second, third]
    assert len(studio.conversations.pick(OWNER, chat.id, second)) == 2
    (turn,) = studio.conversations.thread(OWNER, chat.id).turns
    assert (turn.creation.id, turn.candidates, len(turn.versions)) == (second, (), 3)
    with studio.database.read() as uow:
        choices = uow.preferences.current(OWNER, [second])
    assert {(choice.chosen_id, choice.rejected_id) for choice in choices} == {(second, first), (second, third)}
    assert all(choice.is_explicit and choice.source == "pick" and choice.outcome == "win" for choice in choices)
    say(studio, chat, "go on")
    assert studio.model.requests[-1].messages[1].content == "a #1"


def test_another_pick_takes_the_first_one_back(studio: TextStudio, chat: ConversationRecord) -> None:
    started = studio.write("a", conversation_id=chat.id, n=2, seed=0)
    studio.finish(started)
    first, second = started.creation_ids
    studio.conversations.pick(OWNER, chat.id, first)
    studio.conversations.pick(OWNER, chat.id, second)
    with studio.database.read() as uow:
        (choice,) = uow.preferences.current(OWNER, [first, second])
    assert choice.chosen_id == second


def test_going_on_from_a_candidate_is_a_choice_too(studio: TextStudio, chat: ConversationRecord) -> None:
    studio.finish(studio.write("a", conversation_id=chat.id, n=2))
    say(studio, chat, "b")
    assert [turn.candidates for turn in studio.conversations.thread(OWNER, chat.id).turns] == [(), ()]


def test_flipping_back_shows_the_candidate_that_was_picked(studio: TextStudio, chat: ConversationRecord) -> None:
    first = say(studio, chat, "a")
    started = studio.write("b", conversation_id=chat.id, n=3, seed=0)
    studio.finish(started)
    studio.conversations.pick(OWNER, chat.id, started.creation_ids[1])
    studio.wrote("a2", parent_id=first.id, seed=0)
    studio.conversations.show_version(OWNER, chat.id, first.id)
    assert show(studio, chat) == ["a #0", "b #1"]


def test_an_answer_made_alone_cannot_be_picked(studio: TextStudio, chat: ConversationRecord) -> None:
    row = say(studio, chat, "a")
    studio.wrote("", parent_id=row.id)
    with pytest.raises(BadOptionError):
        studio.conversations.pick(OWNER, chat.id, row.id)


def test_a_branch_shares_the_past_and_goes_its_own_way(studio: TextStudio, chat: ConversationRecord) -> None:
    first = say(studio, chat, "a")
    say(studio, chat, "b")
    branch = studio.conversations.branch(OWNER, chat.id, first.id)
    assert branch.branched_from_id == chat.id
    assert show(studio, branch) == ["a #0"]
    say(studio, branch, "c")
    assert show(studio, branch) == ["a #0", "c #0"]
    assert show(studio, chat) == ["a #0", "b #0"]
    edited = studio.text.edit(OWNER, first.id, "edited", conversation_id=branch.id)
    assert show(studio, branch) == ["edited"]
    assert show(studio, chat) == ["a #0", "b #0"]
    assert studio.row(edited.creation_id).conversation_id == branch.id


def test_a_deleted_version_gives_way_to_its_neighbour_and_comes_back(studio: TextStudio, chat: ConversationRecord) -> None:
    first = say(studio, chat, "a")
    second = studio.wrote("a2", parent_id=first.id, seed=0)
    say(studio, chat, "b")
    studio.conversations.delete_turn(OWNER, chat.id, second.id)
    assert show(studio, chat) == ["a #0"]
    studio.conversations.undelete_turn(OWNER, chat.id, second.id)
    assert show(studio, chat) == ["a2 #0", "b #0"]


def test_the_only_version_takes_what_followed_it_with_it(studio: TextStudio, chat: ConversationRecord) -> None:
    say(studio, chat, "a")
    second = say(studio, chat, "b")
    say(studio, chat, "c")
    studio.conversations.delete_turn(OWNER, chat.id, second.id)
    assert show(studio, chat) == ["a #0"]
    studio.conversations.undelete_turn(OWNER, chat.id, second.id)
    assert show(studio, chat) == ["a #0", "b #0", "c #0"]


def test_a_version_that_is_not_shown_is_deleted_without_a_jump(studio: TextStudio, chat: ConversationRecord) -> None:
    first = say(studio, chat, "a")
    studio.wrote("a2", parent_id=first.id, seed=0)
    say(studio, chat, "b")
    studio.conversations.delete_turn(OWNER, chat.id, first.id)
    assert show(studio, chat) == ["a2 #0", "b #0"]


def test_what_the_library_put_in_the_trash_is_routed_around(studio: TextStudio, chat: ConversationRecord) -> None:
    first = say(studio, chat, "a")
    second = studio.wrote("a2", parent_id=first.id, seed=0)
    say(studio, chat, "b")
    with studio.database.write() as uow:
        uow.creations.trash(OWNER, [second.id])
        uow.commit()
    assert show(studio, chat) == ["a #0"]
    say(studio, chat, "c")  # it follows what is seen
    assert show(studio, chat) == ["a #0", "c #0"]
    with studio.database.write() as uow:
        uow.creations.trash(OWNER, [first.id])
        uow.commit()
    assert show(studio, chat) == []


def test_a_long_thread_costs_as_many_queries_as_a_short_one(studio: TextStudio, chat: ConversationRecord) -> None:
    def queries() -> int:
        statements: list[str] = []
        engine = studio.database._read_engine

        def count(*args: object) -> None:
            statements.append(str(args[2]))

        event.listen(engine, "before_cursor_execute", count)
        try:
            studio.conversations.thread(OWNER, chat.id)
        finally:
            event.remove(engine, "before_cursor_execute", count)
        return len([text for text in statements if text.lstrip().upper().startswith(("SELECT", "WITH"))])

    say(studio, chat, "a")
    short = queries()
    for n in range(30):
        say(studio, chat, f"prompt {n}")
    assert queries() <= max(short, 10)


def test_conversations_are_found_renamed_and_kept_in_the_trash(studio: TextStudio, chat: ConversationRecord) -> None:
    say(studio, chat, "a slogan for 猫咪")
    other = studio.conversations.create(OWNER)
    studio.conversations.rename(OWNER, other.id, "  Plans\nfor May ")
    assert studio.conversations.get(OWNER, other.id).title == "Plans for May"
    assert [found.id for found in studio.conversations.list(OWNER)] == [other.id, chat.id]
    assert [found.id for found in studio.conversations.list(OWNER, query="猫咪")] == [chat.id]
    assert [found.id for found in studio.conversations.list(OWNER, query="plans")] == [other.id]
    studio.conversations.trash(OWNER, other.id)
    assert [found.id for found in studio.conversations.list(OWNER)] == [chat.id]
    assert [found.id for found in studio.conversations.list(OWNER, trashed=True)] == [other.id]
    studio.conversations.restore(OWNER, other.id)
    assert len(studio.conversations.list(OWNER)) == 2
    with pytest.raises(BadOptionError):
        studio.conversations.rename(OWNER, chat.id, " \n ")
    with pytest.raises(TooLongError):
        studio.conversations.rename(OWNER, chat.id, "x" * 10_000)


def test_somebody_elses_conversation_is_not_there(studio: TextStudio, chat: ConversationRecord) -> None:
    row = say(studio, chat, "a")
    calls = (
        lambda: studio.conversations.thread("guest", chat.id),
        lambda: studio.conversations.rename("guest", chat.id, "mine"),
        lambda: studio.conversations.trash("guest", chat.id),
        lambda: studio.conversations.branch("guest", chat.id, row.id),
        lambda: studio.conversations.show_version("guest", chat.id, row.id),
        lambda: studio.conversations.delete_turn("guest", chat.id, row.id),
        lambda: studio.conversations.pick("guest", chat.id, row.id),
        lambda: studio.jobs.get("guest", row.job_id or ""),
        lambda: studio.jobs.cancel("guest", row.job_id or ""),
    )
    for call in calls:
        with pytest.raises(NotFoundError):
            call()
    assert studio.conversations.list("guest") == ()
    assert show(studio, chat) == ["a #0"]


def test_personas_are_saved_replaced_and_removed(studio: TextStudio) -> None:
    first = studio.conversations.save_persona(OWNER, "Poet", "Rhyme.")
    again = studio.conversations.save_persona(OWNER, " Poet ", "Rhyme well.")
    assert again.id == first.id
    assert [(persona.name, persona.system) for persona in studio.conversations.personas(OWNER)] == [("Poet", "Rhyme well.")]
    with pytest.raises(BadOptionError):
        studio.conversations.save_persona(OWNER, "Empty", " ")
    with pytest.raises(NotFoundError):
        studio.conversations.remove_persona("guest", first.id)
    studio.conversations.remove_persona(OWNER, first.id)
    assert studio.conversations.personas(OWNER) == ()
