"""What the repositories promise, on both databases: owners apart, history kept, trees walked."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from storage.database import Database
from storage.errors import ConflictError, RecordNotFoundError, StorageError
from storage.records import CreationRecord
from storage.unit_of_work import UnitOfWork
from tests.storage.filled import fill


def add(uow: UnitOfWork, prompt: str = "hello", owner_id: str = "owner", **fields: Any) -> CreationRecord:
    return uow.creations.add(owner_id, kind=fields.pop("kind", "text"), prompt=prompt, model_id="m", **fields)


def test_leaving_without_commit_rolls_back(database: Database) -> None:
    with database.write() as uow:
        kept = add(uow)
        uow.commit()
        lost = add(uow)
    with pytest.raises(ZeroDivisionError), database.write() as uow:
        uow.creations.update("owner", kept.id, output="lost")
        raise ZeroDivisionError
    with database.read() as uow:
        assert uow.creations.get("owner", kept.id).output == ""
        with pytest.raises(RecordNotFoundError):
            uow.creations.get("owner", lost.id)


def test_reading_unit_of_work_cannot_write(database: Database) -> None:
    with database.read() as uow, pytest.raises(StorageError):
        add(uow)
    with database.read() as uow, pytest.raises(StorageError):
        uow.commit()


@pytest.mark.parametrize("impossible", ["", "a\0b", "\ud800", "a\nb", "x" * 201, "'; drop", None, 5])
def test_what_cannot_be_an_id_is_simply_not_there(database: Database, impossible: Any) -> None:
    with database.read() as uow:
        for repository in (uow.creations, uow.conversations, uow.jobs, uow.models):
            with pytest.raises(RecordNotFoundError):
                repository.get("owner", impossible)


def test_read_sees_one_moment(database: Database) -> None:
    with database.read() as reading:
        assert reading.settings.get("owner", "k") is None
        with database.write() as uow:
            uow.settings.set("owner", "k", 1)
            uow.commit()
        assert reading.settings.get("owner", "k") is None
    with database.read() as reading:
        assert reading.settings.get("owner", "k") == 1


def test_write_inside_write_is_refused_instead_of_waiting_for_ever(database: Database) -> None:
    with database.write(), pytest.raises(StorageError), database.write():
        pass
    with database.write() as uow:
        uow.settings.set("owner", "still", "works")
        uow.commit()


def test_creation_comes_back_as_it_was_written(database: Database) -> None:
    time = datetime(2026, 3, 1, 12, 30, 45, 123456, tzinfo=UTC)
    fields: dict[str, Any] = {
        "output": "two\nlines 👩‍👧 \u202e x",
        "status": "done",
        "seed": 2**53 - 1,
        "params": {"temperature": 0.7, "stop": ["a"], "none": None, "tiny": 1e-07, "big": 1e22},
        "path": {"segments": [["prefill", 3]]},
        "ttft_s": 0.1 + 0.2,
        "duration_s": 3,
        "output_tokens": 7,
        "starred": True,
        "tags": ("b", "a", "a"),
        "created_at": time,
        "updated_at": time.astimezone(),
    }
    with database.write() as uow:
        written = add(uow, **fields)
        uow.commit()
    with database.read() as uow:
        read = uow.creations.get("owner", written.id)
    assert read == written
    assert (read.turn_id, read.tags, read.created_at, read.updated_at) == (read.id, ("a", "b"), time, time)
    assert all(getattr(read, name) == value for name, value in fields.items() if name != "tags")
    assert read.created_at.tzinfo == UTC and len(read.id) == 32


@pytest.mark.parametrize("value", ["a\0b", "\ud800"])
def test_text_that_cannot_be_kept_is_refused_on_both(database: Database, value: str) -> None:
    with database.write() as uow, pytest.raises(StorageError):
        add(uow, prompt=value)


def test_naive_time_and_nan_are_refused(database: Database) -> None:
    with database.write() as uow, pytest.raises(StorageError):
        add(uow, created_at=datetime(2026, 1, 1))
    with database.write() as uow, pytest.raises(StorageError):
        add(uow, params={"x": float("nan")})


def test_unknown_field_and_bad_id_are_refused(database: Database) -> None:
    with database.write() as uow:
        made = add(uow)
        for changes in ({"turn_id": "other"}, {"context_id": None}, {"nope": 1}):
            with pytest.raises(StorageError):
                uow.creations.update("owner", made.id, **changes)
        with pytest.raises(StorageError):
            add(uow, id="../x")


def test_same_id_twice_is_a_conflict(database: Database) -> None:
    with database.write() as uow:
        made = add(uow)
        with pytest.raises(ConflictError):
            add(uow, id=made.id)


def test_every_method_keeps_owners_apart(database: Database) -> None:
    mine = fill(database)
    calls: list[Callable[[UnitOfWork], object]] = [
        lambda uow: uow.conversations.get("bob", mine.conversation_id),
        lambda uow: uow.conversations.update("bob", mine.conversation_id, title="x"),
        lambda uow: uow.conversations.add("bob", head_id=mine.first_id),
        lambda uow: uow.creations.get("bob", mine.first_id),
        lambda uow: uow.creations.update("bob", mine.first_id, output="x"),
        lambda uow: uow.creations.path("bob", mine.second_id),
        lambda uow: uow.creations.newest_leaf("bob", mine.first_id),
        lambda uow: add(uow, owner_id="bob", context_id=mine.first_id),
        lambda uow: add(uow, owner_id="bob", parent_id=mine.first_id),
        lambda uow: add(uow, owner_id="bob", conversation_id=mine.conversation_id),
        lambda uow: uow.jobs.get("bob", mine.job_id),
        lambda uow: uow.personas.remove("bob", uow.personas.list("owner")[0].id),
        lambda uow: uow.personas.update("bob", uow.personas.list("owner")[0].id, name="x"),
        lambda uow: uow.models.get("bob", uow.models.list("owner")[0].id),
        lambda uow: uow.models.remove("bob", uow.models.list("owner")[0].id),
        lambda uow: uow.preferences.withdraw("bob", next(uow.preferences.each("owner")).id),
    ]
    for call in calls:
        with database.write() as uow, pytest.raises(RecordNotFoundError):
            call(uow)
    ids = [mine.first_id, mine.second_id, mine.picture_id]
    with database.write() as uow:
        assert uow.creations.get_many("bob", ids) == ()
        assert uow.creations.versions("bob", ids) == {}
        assert uow.creations.trash("bob", ids) == uow.creations.untrash("bob", ids) == 0
        assert uow.creations.star("bob", ids, True) == uow.creations.tag("bob", ids, add=["x"], remove=["诗"]) == 0
        assert uow.creations.facets("bob") == {"models": [], "adapters": [], "tags": []}
        assert uow.conversations.list("bob") == uow.personas.list("bob") == uow.models.list("bob") == uow.jobs.active("bob") == ()
        assert uow.ratings.current("bob", ids) == {} and uow.ratings.history("bob", mine.first_id) == ()
        assert uow.preferences.current("bob", ids) == () and uow.settings.all("bob") == {}


def test_missing_and_foreign_look_alike(database: Database) -> None:
    mine = fill(database)
    messages = set()
    with database.read() as uow:
        for record_id in (mine.first_id, "0" * 32):
            with pytest.raises(RecordNotFoundError) as caught:
                uow.creations.get("bob", record_id)
            messages.add(str(caught.value))
    assert len(messages) == 1


def test_path_versions_and_leaves_of_a_tree(database: Database) -> None:
    with database.write() as uow:
        a = add(uow, "a")
        b1 = add(uow, "b", context_id=a.id)
        b2 = add(uow, "b", context_id=a.id, turn_id=b1.turn_id, parent_id=b1.id)
        c = add(uow, "c", context_id=b1.id)
        d = add(uow, "d", context_id=c.id)
        uow.commit()
    with database.write() as uow:
        assert [record.prompt for record in uow.creations.path("owner", d.id)] == ["a", "b", "c", "d"]
        assert [record.id for record in uow.creations.path("owner", b2.id)] == [a.id, b2.id]
        assert uow.creations.versions("owner", [b1.turn_id, a.id, "none"]) == {
            a.id: (uow.creations.get("owner", a.id),),
            b1.turn_id: (uow.creations.get("owner", b1.id), uow.creations.get("owner", b2.id)),
        }
        assert uow.creations.newest_leaf("owner", a.id) == d.id
        assert uow.creations.newest_leaf("owner", b2.id) == b2.id
        assert uow.creations.trash("owner", [d.id, d.id, "none"]) == 1 and uow.creations.trash("owner", [d.id]) == 0
        assert uow.creations.newest_leaf("owner", b1.id) == c.id
        uow.creations.trash("owner", [b1.id])
        assert [record.id for record in uow.creations.versions("owner", [b1.turn_id])[b1.turn_id]] == [b2.id]
        assert uow.creations.newest_leaf("owner", a.id) == b2.id
        assert uow.creations.untrash("owner", [b1.id, b2.id]) == 1
        assert [r.id for r in uow.creations.get_many("owner", [d.id, "none", a.id, d.id])] == [d.id, a.id, d.id]


def test_path_of_a_long_conversation(database: Database) -> None:
    with database.write() as uow:
        last = None
        for turn in range(300):
            last = add(uow, str(turn), context_id=last.id if last else None)
        assert last is not None
        assert [record.prompt for record in uow.creations.path("owner", last.id)] == [str(turn) for turn in range(300)]


def test_tags_and_stars_count_what_changed(database: Database) -> None:
    with database.write() as uow:
        a, b = add(uow, tags=("x",)), add(uow)
        assert uow.creations.tag("owner", [a.id, b.id], add=["x", "y", "y"]) == 2
        assert uow.creations.tag("owner", [a.id, b.id], add=["x"], remove=["y", "never"]) == 2
        assert uow.creations.tag("owner", [a.id, b.id], add=["x"]) == 0
        assert uow.creations.star("owner", [a.id], True) == 1 and uow.creations.star("owner", [a.id, b.id], True) == 1
        assert [record.tags for record in uow.creations.get_many("owner", [a.id, b.id])] == [("x",), ("x",)]
        assert uow.creations.facets("owner")["tags"] == ["x"]


def test_conversations_are_listed_by_use_whatever_the_clock_says(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with database.write() as uow:
        first, second = uow.conversations.add("owner", title="one"), uow.conversations.add("owner", title="two")
        monkeypatch.setattr("storage.repositories.rows.now", lambda: datetime.now(UTC) - timedelta(days=400))
        renamed = uow.conversations.update("owner", first.id, title="One")
        assert renamed.updated_at < first.updated_at
        assert [thread.id for thread in uow.conversations.list("owner")] == [first.id, second.id]
        assert [thread.id for thread in uow.conversations.list("owner", limit=1, offset=1)] == [second.id]
        uow.conversations.update("owner", second.id, trashed_at=datetime.now(UTC))
        assert [thread.id for thread in uow.conversations.list("owner")] == [first.id]
        assert [thread.id for thread in uow.conversations.list("owner", trashed=True)] == [second.id]


def test_conversations_are_found_by_title_and_by_text(database: Database) -> None:
    with database.write() as uow:
        titled = uow.conversations.add("owner", title="100% Straße_1")
        other = uow.conversations.add("owner", title="other")
        add(uow, "小猫咪", conversation_id=other.id)
        find = lambda query: [thread.id for thread in uow.conversations.list("owner", query=query)]  # noqa: E731
        assert find("% stra") == [titled.id] and find("猫咪") == [other.id] and find("_2") == [] and find("%%") == []
        assert find(" ") == [other.id, titled.id] and find('"\0') == []


def test_rating_keeps_history_and_one_in_force(database: Database) -> None:
    mine = fill(database)
    with database.write() as uow:
        before = uow.ratings.history("owner", mine.first_id)
        assert [rating.score for rating in before] == [-0.5, 1] and [r.is_current for r in before] == [False, True]
        again = uow.ratings.set("owner", mine.first_id, 1.0, ["clear", "creative"], "好")
        assert again == before[-1] and len(uow.ratings.history("owner", mine.first_id)) == 2
        withdrawn = uow.ratings.set("owner", mine.first_id, None)
        assert withdrawn.score is None and uow.ratings.current("owner", [mine.first_id]) == {}
        uow.ratings.set("owner", mine.first_id, 0)
        uow.ratings.set("guest", mine.first_id, -1)
        assert uow.ratings.current("owner", [mine.first_id])[mine.first_id].score == 0
        assert [rating.is_current for rating in uow.ratings.history("owner", mine.first_id)] == [False, False, False, True]
        assert uow.ratings.counts("owner") == {"text": {"ratings": 1, "positive": 0, "negative": 0}}
        assert uow.ratings.counts("guest") == {"text": {"ratings": 1, "positive": 0, "negative": 1}}
        uow.creations.trash("owner", [mine.first_id])
        assert uow.ratings.counts("owner") == {}
        with pytest.raises(RecordNotFoundError):
            uow.ratings.set("owner", "none", 1)
        for score in (1.01, -2, float("nan")):
            with pytest.raises(ConflictError):
                uow.ratings.set("owner", mine.first_id, score)


def test_one_preference_for_each_pair(database: Database) -> None:
    with database.write() as uow:
        a, b, c = (add(uow).id for _ in range(3))
        inferred = uow.preferences.set("owner", a, b, source="ratings", is_explicit=False)
        assert uow.preferences.set("owner", a, b, source="ratings", is_explicit=False) == inferred
        reversed_ = uow.preferences.set("owner", b, a, source="ratings", is_explicit=False)
        assert reversed_.chosen_id == b and uow.preferences.current("owner", [a]) == (reversed_,)
        picked = uow.preferences.set("owner", a, b, source="pick", is_explicit=True)
        assert uow.preferences.set("owner", b, a, source="ratings", is_explicit=False) == picked
        assert uow.preferences.set("owner", a, b, source="arena", is_explicit=True) == picked
        tie = uow.preferences.set("owner", b, a, outcome="tie", source="arena", is_explicit=True)
        assert uow.preferences.set("owner", a, b, outcome="tie", source="arena", is_explicit=True) == tie
        second = uow.preferences.set("owner", a, c, source="edit", is_explicit=False)
        assert tuple(uow.preferences.each("owner")) == uow.preferences.current("owner", [a, b, c]) == (tie, second)
        assert uow.preferences.counts("owner") == {"text": 2} and uow.preferences.counts("owner", outcome="win") == {"text": 1}
        withdrawn = uow.preferences.withdraw("owner", second.id)
        assert not withdrawn.is_current and tuple(uow.preferences.each("owner")) == (tie,)
        assert uow.preferences.set("owner", a, c, source="edit", is_explicit=False).id != second.id
        uow.creations.trash("owner", [c])
        assert uow.preferences.counts("owner") == {"text": 1}
        with pytest.raises(ConflictError):
            uow.preferences.set("owner", a, a, source="pick", is_explicit=True)
        with pytest.raises(RecordNotFoundError):
            uow.preferences.set("owner", a, "none", source="pick", is_explicit=True)


def test_same_key_is_one_job(database: Database) -> None:
    with database.write() as uow:
        job, is_new = uow.jobs.add("owner", kind="write", request={"a": 1}, idempotency_key="k")
        same, is_same_new = uow.jobs.add("owner", kind="write", request={"a": 2}, idempotency_key="k")
        assert (is_new, is_same_new) == (True, False) and same == job
        other, other_is_new = uow.jobs.add("bob", kind="write", request={}, idempotency_key="k")
        assert other_is_new and other.id != job.id
        assert uow.jobs.add("owner", kind="write", request={})[0].id != uow.jobs.add("owner", kind="write", request={})[0].id


def test_jobs_change_and_are_found_while_active(database: Database) -> None:
    with database.write() as uow:
        thread = uow.conversations.add("owner")
        by_request, _ = uow.jobs.add("owner", kind="write", request={"conversation_id": thread.id})
        by_creation, _ = uow.jobs.add("owner", kind="write", request={})
        download, _ = uow.jobs.add("owner", kind="download", request={})
        add(uow, conversation_id=thread.id, job_id=by_creation.id)
        started = uow.jobs.update(by_request.id, status="running", attempts=1, started_at=datetime.now(UTC), progress={"step": 1})
        assert started.attempts == 1 and started.progress == {"step": 1} and started.result is None
        assert [job.id for job in uow.jobs.active("owner")] == [by_request.id, by_creation.id, download.id]
        assert [job.id for job in uow.jobs.active("owner", conversation_id=thread.id)] == [by_request.id, by_creation.id]
        assert [job.id for job in uow.jobs.active("owner", kind="download")] == [download.id]
        done = uow.jobs.update(download.id, status="done", result={"ok": True}, finished_at=datetime.now(UTC))
        assert uow.jobs.get("owner", download.id) == done and uow.jobs.active("owner", kind="download") == ()
        assert uow.jobs.update(download.id) == done
        with pytest.raises(RecordNotFoundError):
            uow.jobs.update("none", status="done")
        with pytest.raises(ConflictError):
            uow.jobs.update(download.id, status="asleep")


def test_interrupting_keeps_what_was_written(database: Database) -> None:
    with database.write() as uow:
        queued, _ = uow.jobs.add("owner", kind="write", request={})
        running, _ = uow.jobs.add("bob", kind="write", request={})
        done, _ = uow.jobs.add("owner", kind="write", request={})
        uow.jobs.update(running.id, status="running")
        uow.jobs.update(done.id, status="done")
        half = add(uow, status="running", output="Once upon", job_id=running.id)
        whole = add(uow, status="done", output="The end", job_id=done.id)
        uow.commit()
    with database.write() as uow:
        assert [(job.id, job.status) for job in uow.jobs.interrupt_unfinished()] == [
            (queued.id, "interrupted"),
            (running.id, "interrupted"),
        ]
        assert uow.jobs.interrupt_unfinished() == ()
        kept = uow.creations.get("owner", half.id)
        assert (kept.status, kept.output) == ("interrupted", "Once upon")
        assert uow.creations.get("owner", whole.id).status == "done"
        assert uow.jobs.get("owner", queued.id).finished_at is not None


def test_personas_models_and_settings(database: Database) -> None:
    with database.write() as uow:
        persona = uow.personas.add("owner", name="A", system="a")
        assert uow.personas.update("owner", persona.id, name="B").name == "B"
        assert uow.personas.update("owner", persona.id).name == "B"
        uow.personas.remove("owner", persona.id)
        assert uow.personas.list("owner") == ()
        model = uow.models.add("owner", name="M", task="text", source="openai:http://127.0.0.1:1#m")
        assert uow.models.get("owner", model.id) == model and uow.models.list("owner") == (model,)
        uow.models.remove("owner", model.id)
        with pytest.raises(RecordNotFoundError):
            uow.models.get("owner", model.id)
        for value in (None, "dark", 1, 1.5, True, [1, {"a": None}], {"b": "é"}):
            uow.settings.set("owner", "k", value)
            assert uow.settings.get("owner", "k", "default") == value
        assert uow.settings.get("owner", "other", "default") == "default"
        assert uow.settings.all("owner") == {"k": {"b": "é"}}


def test_media_names_are_what_a_sweep_must_keep(database: Database) -> None:
    fill(database)
    fill(database, owner_id="bob")
    with database.read() as uow:
        assert uow.creations.media_names() == {"media/owner.png", "media/bob.png"}
