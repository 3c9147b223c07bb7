"""Writing: rows before words, one job for one click, every end in the row, nothing written for what cannot work."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import BadOptionError, BusyError, NoModelError, NotEnoughDataError, NotFoundError, StudioError, TooLongError
from engine.jobs.job import JobSnapshot
from engine.safety.limits import PROMPT_MAX_CHARS
from engine.services.draft import WRITE_INTERVAL_S
from engine.types import WriteOptions, WriteRequest
from tests.engine.services.fakes import DEADLINE_S, MODEL_ID, FakeTextModel, wait_for
from tests.engine.services.studio_parts import OWNER, TextStudio, text_studio


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[TextStudio]:
    with text_studio(tmp_path) as parts:
        yield parts


def test_the_prompt_is_in_its_row_before_the_model_says_a_word(studio: TextStudio) -> None:
    studio.model.hold()
    started = studio.write("tell me a story", n=2)
    for creation_id in started.creation_ids:
        row = studio.row(creation_id)
        assert row.prompt == "tell me a story"
        assert row.status in ("queued", "running")
        assert row.job_id == started.job_id
    studio.jobs.cancel(OWNER, started.job_id)


def test_a_finished_answer_records_everything(studio: TextStudio) -> None:
    row = studio.wrote("one two three", seed=7, temperature=0.3, stop=("END",), system="Be brief.")
    assert row.output == "one two three #7"
    assert (row.status, row.finish_reason, row.error) == ("done", "stop", None)
    assert (row.model_id, row.adapter_id, row.seed) == (MODEL_ID, "base", 7)
    assert (row.prompt_tokens, row.output_tokens) == (5, 4)
    assert row.ttft_s is not None and row.duration_s is not None
    assert row.path["segments"]
    assert row.params["system"] == "Be brief."
    assert row.params["stop"] == ["END"]
    assert {"temperature", "top_p", "top_k", "repetition_penalty", "max_new_tokens", "n"} <= set(row.params)


def test_candidates_share_a_turn_and_count_their_seeds_up(studio: TextStudio) -> None:
    started = studio.write(n=3, seed=10)
    assert started.seeds == (10, 11, 12)
    snapshot = studio.finish(started)
    rows = [studio.row(creation_id) for creation_id in started.creation_ids]
    assert [row.seed for row in rows] == [10, 11, 12]
    assert {row.turn_id for row in rows} == {started.turn_id}
    assert [row.output for row in rows] == [view["text"] for view in snapshot.data["creations"]]
    assert len({row.output for row in rows}) == 3


def test_a_drawn_seed_is_recorded(studio: TextStudio) -> None:
    first, second = studio.wrote(), studio.wrote()
    assert first.seed is not None and second.seed is not None
    assert first.seed != second.seed


def test_a_conversation_gets_its_title_and_its_head(studio: TextStudio) -> None:
    conversation = studio.conversations.create(OWNER)
    prompt = "Write  a slogan for\na coffee shop by the sea, where fishermen have had their breakfast for a hundred years"
    row = studio.wrote(prompt, conversation_id=conversation.id)
    title = studio.conversations.get(OWNER, conversation.id).title
    assert title.startswith("Write a slogan for a coffee shop by the sea")
    assert len(title) <= 60
    studio.wrote("another", conversation_id=conversation.id)
    after = studio.conversations.get(OWNER, conversation.id)
    assert after.title == title
    assert after.head_id != row.id


def test_the_turns_before_reach_the_model(studio: TextStudio) -> None:
    conversation = studio.conversations.create(OWNER, system="Be kind.")
    studio.wrote("first", conversation_id=conversation.id, seed=1)
    studio.wrote("second", conversation_id=conversation.id, seed=2)
    messages = [(message.role, message.content) for message in studio.model.requests[-1].messages]
    assert messages == [("system", "Be kind."), ("user", "first"), ("assistant", "first #1"), ("user", "second")]


def test_partial_text_is_in_the_row_within_a_second(studio: TextStudio) -> None:
    studio.model.hold()
    started = studio.write("one two three four")
    studio.model.release(2)
    wait_for(lambda: studio.row(started.creation_ids[0]).output == "one two ", WRITE_INTERVAL_S + 1.0)
    assert studio.row(started.creation_ids[0]).status == "running"
    studio.model.release(20)
    studio.finish(started)
    assert studio.row(started.creation_ids[0]).output.startswith("one two three four")


def test_stop_keeps_what_was_written_and_a_new_run_starts_at_once(studio: TextStudio) -> None:
    studio.model.hold()
    first = studio.write("one two three four")
    studio.model.release(2)
    wait_for(lambda: _text(studio.runner.snapshot(first.job_id)) == "one two ")
    studio.jobs.cancel(OWNER, first.job_id)
    assert studio.finish(first).status == "cancelled"
    second = studio.write("five six", seed=1)
    studio.model.release(20)
    assert studio.finish(second).status == "done"
    row = studio.row(first.creation_ids[0])
    assert (row.status, row.finish_reason, row.output, row.error) == ("cancelled", "cancelled", "one two ", None)
    assert studio.row(second.creation_ids[0]).output == "five six #1"
    wait_for(lambda: studio.model.running == 0)


def test_stop_before_the_first_word(studio: TextStudio) -> None:
    studio.model.hold()
    started = studio.write(n=2)
    studio.jobs.cancel(OWNER, started.job_id)
    assert studio.finish(started).status == "cancelled"
    assert {studio.row(creation_id).status for creation_id in started.creation_ids} == {"cancelled"}


def test_a_candidate_that_was_complete_stays_done_when_the_rest_is_stopped(tmp_path: Path) -> None:
    model = FakeTextModel(lambda request, row: ["a"] if row == 0 else ["a"] * 50)
    with text_studio(tmp_path, model) as studio:
        model.hold()
        started = studio.write(n=2)
        model.release(4)
        wait_for(lambda: _statuses(studio.runner.snapshot(started.job_id))[0] == "done")
        studio.jobs.cancel(OWNER, started.job_id)
        assert studio.finish(started).status == "cancelled"
        assert [studio.row(creation_id).status for creation_id in started.creation_ids] == ["done", "cancelled"]


@pytest.mark.parametrize("failure", [NoModelError("The memory is full: it needs 2 GB, 1 GB is free."), RuntimeError("boom")])
def test_a_failure_keeps_prompt_and_text_and_says_why(studio: TextStudio, failure: Exception) -> None:
    studio.model.fail_after, studio.model.failure = 2, failure
    started = studio.write("one two three four")
    snapshot = studio.finish(started)
    row = studio.row(started.creation_ids[0])
    assert snapshot.status == row.status == "failed"
    assert row.output == "one two "
    assert row.error == snapshot.error
    assert "boom" not in (row.error or "")
    assert studio.model.running == 0


def test_the_same_key_is_one_job_also_under_four_at_once(studio: TextStudio) -> None:
    studio.model.hold()
    conversation = studio.conversations.create(OWNER)
    together = threading.Barrier(4)
    results, errors = [], []

    def click() -> None:
        together.wait(DEADLINE_S)
        try:
            results.append(studio.write("hello you", key="click-1", conversation_id=conversation.id))
        except StudioError as error:
            errors.append(error)

    threads = [threading.Thread(target=click) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    studio.model.release(50)
    assert errors == []
    assert len(results) == 4
    assert all(result == results[0] for result in results)
    assert studio.finish(results[0]).status == "done"
    assert studio.rows() == 1
    assert len(studio.model.requests) == 1
    # and again when all is over
    assert studio.write("hello you", key="click-1", conversation_id=conversation.id) == results[0]
    assert studio.write("hello you", key="click-2", conversation_id=conversation.id) != results[0]


@pytest.mark.parametrize(
    ("prompt", "options", "error"),
    [
        ("", {}, BadOptionError),
        (" \n ", {}, BadOptionError),
        ("x" * (PROMPT_MAX_CHARS + 1), {}, TooLongError),
        ("x", {"model": "nothing"}, NotFoundError),
        ("x", {"model": "missing-model"}, NoModelError),
        ("x", {"conversation_id": "nothing"}, NotFoundError),
        ("x", {"parent_id": "nothing"}, NotFoundError),
        ("x", {"context_id": "nothing"}, NotFoundError),
        ("x", {"continue_from": "nothing"}, NotFoundError),
        ("x", {"adapter": "nothing"}, NotFoundError),
        ("x", {"rank_by": "taste", "n": 2}, NotEnoughDataError),
        ("x", {"system": "s" * 100_000}, TooLongError),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(
    studio: TextStudio, prompt: str, options: dict[str, str], error: type[StudioError]
) -> None:
    with pytest.raises(error) as refused:
        studio.write(prompt, **options)
    assert len(str(refused.value)) > 10
    assert studio.rows() == 0
    assert studio.jobs.active(OWNER) == ()


def test_somebody_elses_ids_look_like_missing_ones(studio: TextStudio) -> None:
    mine = studio.wrote()
    conversation = studio.conversations.create(OWNER)
    messages = set()
    for options in ({"parent_id": mine.id}, {"conversation_id": conversation.id}, {"context_id": mine.id}, {"parent_id": "none"}):
        with pytest.raises(NotFoundError) as refused:
            studio.text.write("guest", WriteRequest("x", WriteOptions(**options)))
        messages.add(str(refused.value))
    assert len(messages) == 1


def test_hostile_characters_are_cleaned_and_kept_out_of_the_model(studio: TextStudio) -> None:
    row = studio.wrote("a\0b \ud800 c 👩\u200d👩\u200d👧 \u202eabc", system="s\0s")
    assert row.prompt == "ab \ufffd c 👩\u200d👩\u200d👧 \u202eabc"
    assert row.params["system"] == "ss"
    assert studio.model.requests[-1].messages[-1].content == row.prompt


def test_what_no_database_keeps_is_left_out_of_an_answer(tmp_path: Path) -> None:
    with text_studio(tmp_path, FakeTextModel(lambda request, row: ["a\0", "\ud800", "b\u202e", "👩\u200d👧"])) as studio:
        row = studio.wrote()
        assert (row.status, row.output) == ("done", "a\ufffdb\u202e👩\u200d👧")
        snapshot = studio.runner.wait(studio.text.reproduce(OWNER, row.id), DEADLINE_S)
        assert snapshot is not None and snapshot.result is not None and snapshot.result["identical"]


def test_a_turn_after_an_unfinished_answer_waits(studio: TextStudio) -> None:
    conversation = studio.conversations.create(OWNER)
    studio.model.hold()
    started = studio.write("first", conversation_id=conversation.id)
    with pytest.raises(BusyError):
        studio.write("second", conversation_id=conversation.id)
    assert studio.rows() == 1
    studio.jobs.cancel(OWNER, started.job_id)
    assert studio.write("second", conversation_id=conversation.id).conversation_id == conversation.id


def test_two_conversations_are_written_at_once(studio: TextStudio) -> None:
    studio.model.hold()
    jobs = [studio.write(f"prompt {n}", conversation_id=studio.conversations.create(OWNER).id) for n in range(2)]
    wait_for(lambda: studio.model.running == 2)
    studio.model.release(20)
    assert {studio.finish(job).status for job in jobs} == {"done"}


def test_what_does_not_fit_is_said_and_recorded(tmp_path: Path) -> None:
    with text_studio(tmp_path, FakeTextModel(context_length=12)) as studio:
        conversation = studio.conversations.create(OWNER, system="Be brief.")
        studio.wrote("one two three", conversation_id=conversation.id, max_new_tokens=5)
        started = studio.write("four five six", conversation_id=conversation.id, max_new_tokens=50)
        snapshot = studio.finish(started)
        keys = [notice["key"] for notice in snapshot.data["notices"]]
        assert keys == ["notice.left_out", "notice.shortened"]
        row = studio.row(started.creation_ids[0])
        assert [notice["key"] for notice in row.params["notices"]] == keys
        assert row.params["max_new_tokens"] == 7
        assert row.params["kept_messages"] == 2
        assert [message.role for message in studio.model.requests[-1].messages] == ["system", "user"]


def test_a_prompt_longer_than_the_context_fails_with_its_sentence_and_is_kept(tmp_path: Path) -> None:
    with text_studio(tmp_path, FakeTextModel(context_length=3)) as studio:
        started = studio.write("one two three four")
        snapshot = studio.finish(started)
        assert (snapshot.status, snapshot.error_code) == ("failed", "too_long")
        assert studio.row(started.creation_ids[0]).prompt == "one two three four"


def test_a_language_the_model_lacks_is_said_with_one_that_has_it(studio: TextStudio) -> None:
    started = studio.write("写一首关于猫咪的诗")
    assert [notice.key for notice in started.notices] == ["notice.language"]
    assert "Fake writes English; for Chinese get Han 1B" in started.notices[0].message
    snapshot = studio.finish(started)
    assert snapshot.data["notices"] == [started.notices[0].as_json()]
    assert studio.write("Translate 猫 and tell me more about the animal").notices == ()


def test_followers_see_the_same_and_the_rows_are_final_when_the_job_is(studio: TextStudio) -> None:
    async def run() -> None:
        studio.model.hold()
        started = studio.write("one two three four five", n=2)

        async def follow() -> list[JobSnapshot]:
            return [snapshot async for snapshot in studio.jobs.follow(OWNER, started.job_id)]

        early = [asyncio.create_task(follow()) for _ in range(2)]
        studio.model.release(4)
        await asyncio.to_thread(wait_for, lambda: len(_text(studio.runner.snapshot(started.job_id)).split()) == 2)
        late = asyncio.create_task(follow())
        await asyncio.sleep(0.05)
        closed = studio.jobs.follow(OWNER, started.job_id)
        await anext(closed)
        await closed.aclose()  # type: ignore[attr-defined]
        studio.model.release(50)
        seen = await asyncio.wait_for(asyncio.gather(*early, late), DEADLINE_S)
        assert seen[0][-1] == seen[1][-1] == seen[2][-1]
        assert seen[0][-1].status == "done"
        assert _text(seen[2][0]).startswith("one two")
        for view in seen[0][-1].data["creations"]:
            row = studio.row(view["id"])
            assert (row.status, row.output) == (view["status"], view["text"]) == ("done", view["text"])

    asyncio.run(run())


def _text(snapshot: JobSnapshot | None) -> str:
    return str(snapshot.data["creations"][0]["text"]) if snapshot else ""


def _statuses(snapshot: JobSnapshot | None) -> list[str]:
    return [view["status"] for view in snapshot.data["creations"]] if snapshot else [""]
