"""What learning keeps: datasets that never change, a split that never changes, events once, votes and promotions as a log."""

from __future__ import annotations

from typing import Any

import pytest

from storage.database import Database
from storage.errors import RecordNotFoundError, StorageError
from storage.records import AdapterRecord, DatasetRow, RunEventRecord
from tests.storage.filled import Filled, fill, fill_learning, match_fields


def rows(count: int, *sources: str) -> list[DatasetRow]:
    return [DatasetRow(n, "held_out" if n % 6 == 5 else "train", {"n": n, "文": "词"}, (f"s{n}", *sources)) for n in range(count)]


def dataset(database: Database, count: int = 3, *sources: str, owner: str = "owner", **fields: Any) -> str:
    values = {"task": "text", "method": "dpo", "name": "n", "sha256": "1" * 64, "filter": None, "counts": {"train": count}}
    with database.write() as uow:
        made = uow.datasets.add(owner, rows=rows(count, *sources), **{**values, **fields})
        uow.commit()
    return made.id


def adapter(database: Database, dataset_id: str | None, owner: str = "owner", **fields: Any) -> AdapterRecord:
    values = {"task": "text", "name": "a", "base_model_id": "m1", "base_sha256": "2" * 64, "method": "dpo", "recipe": "dpo"}
    with database.write() as uow:
        made = uow.adapters.add(
            owner, **{**values, "dataset_id": dataset_id, "sha256": "3" * 64, "size_bytes": 2**33, "metrics": {}, **fields}
        )
        uow.commit()
    return made


def marks(database: Database, adapter_id: str) -> set[str]:
    with database.read() as uow:
        return set(uow.adapters.get("owner", adapter_id).marks)


def test_dataset_comes_back_as_it_was_frozen_in_any_size(database: Database) -> None:
    made = dataset(database, 1203, "everywhere")
    with database.read() as uow:
        assert list(uow.datasets.rows("owner", made)) == rows(1203, "everywhere")
        held_out = list(uow.datasets.rows("owner", made, "held_out"))
        assert held_out == [row for row in rows(1203, "everywhere") if row.split == "held_out"]
        assert uow.datasets.get("owner", made).filter == {} and uow.datasets.get("owner", made).counts == {"train": 1203}


def test_same_content_is_one_dataset_and_another_method_another(database: Database) -> None:
    first = dataset(database)
    assert dataset(database, name="other name") == first
    other = dataset(database, method="kto")
    assert other != first and dataset(database, owner="bob") not in (first, other)
    with database.read() as uow:
        assert [record.id for record in uow.datasets.list("owner")] == [other, first]
        assert len(list(uow.datasets.rows("owner", first))) == 3
        assert uow.datasets.list("owner", "summary") == ()


def test_datasets_are_their_owners(database: Database) -> None:
    made = dataset(database, 3, "shared")
    theirs = dataset(database, 2, "shared", owner="bob")
    with database.read() as uow:
        with pytest.raises(RecordNotFoundError):
            uow.datasets.get("bob", made)
        with pytest.raises(RecordNotFoundError):
            list(uow.datasets.rows("bob", made))
        assert uow.datasets.using("owner", ["shared", "s0"]) == (made,) and uow.datasets.using("bob", ["s1"]) == (theirs,)
        assert uow.datasets.using("owner", ["unknown"]) == ()


def test_the_side_of_a_prompt_never_changes(database: Database) -> None:
    with database.write() as uow:
        uow.datasets.set_splits("owner", "text", {"a": "train", "b": "held_out"})
        uow.datasets.set_splits("owner", "text", {"a": "held_out", "b": "train", "c": "held_out"})
        uow.datasets.set_splits("bob", "text", {"a": "held_out"})
        uow.commit()
    with database.read() as uow:
        assert uow.datasets.splits("owner", "text", ["a", "b", "c", "d"]) == {"a": "train", "b": "held_out", "c": "held_out"}
        assert list(uow.datasets.all_splits("owner", "text")) == ["a", "b", "c"]
        assert uow.datasets.splits("bob", "text", "abc") == {"a": "held_out"} and uow.datasets.splits("owner", "image", "a") == {}


def test_an_event_is_kept_once_whatever_comes_again(database: Database) -> None:
    with database.write() as uow:
        run, _ = uow.jobs.add("owner", kind="train", request={})
        events = [RunEventRecord(run.id, n, "metrics" if n % 2 else "log", {"n": n}) for n in range(1, 1302)]
        assert uow.run_events.add(run.id, events[:700]) == 700 and uow.run_events.last_n(run.id) == 700
        assert uow.run_events.add(run.id, [RunEventRecord(run.id, 5, "log", {"n": "again"}), *events[600:]]) == 601
        assert uow.run_events.add(run.id, events) == 0 and uow.run_events.add(run.id, []) == 0
        uow.commit()
    with database.read() as uow:
        assert uow.run_events.list(run.id) == tuple(events)
        assert uow.run_events.list(run.id, after=1299) == tuple(events[1299:])
        assert {event.kind for event in uow.run_events.list(run.id, kinds=("log",))} == {"log"}
        assert uow.run_events.list("nobody's") == () and uow.run_events.last_n("nobody's") == 0


def test_adapters_are_listed_newest_first_and_removed_ones_apart(database: Database) -> None:
    first, second = adapter(database, None), adapter(database, dataset(database), base_model_id="m2", run_id="r")
    with database.write() as uow:
        gone = uow.adapters.update("owner", first.id, removed_at=second.created_at, name="新")
        with pytest.raises(StorageError):
            uow.adapters.update("owner", first.id, sha256="0" * 64)
        with pytest.raises(RecordNotFoundError):
            uow.adapters.update("bob", first.id, name="mine now")
        uow.commit()
    with database.read() as uow:
        assert uow.adapters.list("owner") == (second,) and uow.adapters.list("owner", removed=True) == (second, gone)
        assert uow.adapters.list("owner", base_model_id="m1") == () and uow.adapters.list("owner", task="image") == ()
        assert uow.adapters.get("owner", first.id) == gone and uow.adapters.list("bob") == ()
        assert uow.adapters.ids() == {first.id, second.id}


def test_an_adapter_cannot_come_from_anothers_dataset(database: Database) -> None:
    with pytest.raises(RecordNotFoundError):
        adapter(database, dataset(database, owner="bob"))


def test_marks_follow_what_is_taken_back_and_given_again(database: Database) -> None:
    filled: Filled = fill(database)
    first, second = filled.first_id, filled.second_id
    with database.read() as uow:
        rating = uow.ratings.current("owner", [first])[first].id
        choice = uow.preferences.current("owner", [first])[0].id
    made = adapter(database, dataset(database, 3, rating, choice, first, second))
    other = adapter(database, dataset(database, 3, "elsewhere", sha256="4" * 64))

    def change(action: Any) -> int:
        with database.write() as uow:
            action(uow)
            changed = uow.adapters.refresh_marks("owner", [first, second])
            uow.commit()
        return changed

    assert marks(database, made.id) == set() and change(lambda uow: None) == 0
    assert change(lambda uow: uow.creations.trash("owner", [second])) == 1 and marks(database, made.id) == {second}
    assert change(lambda uow: uow.creations.untrash("owner", [second])) == 1 and marks(database, made.id) == set()
    change(lambda uow: uow.ratings.set("owner", first, 0.5))  # weaker, but still liked
    assert marks(database, made.id) == set()
    change(lambda uow: uow.ratings.set("owner", first, None))
    assert marks(database, made.id) == {rating}
    change(lambda uow: uow.ratings.set("owner", first, -1))
    assert marks(database, made.id) == {rating}
    change(lambda uow: uow.preferences.set("owner", first, second, source="pick", is_explicit=True))
    assert marks(database, made.id) == {rating, choice}
    change(lambda uow: uow.ratings.set("owner", first, 1))
    change(lambda uow: uow.preferences.set("owner", second, first, source="pick", is_explicit=True))
    assert marks(database, made.id) == set() and marks(database, other.id) == set()


def test_a_new_adapter_of_an_old_dataset_has_the_marks_at_once(database: Database) -> None:
    filled = fill(database)
    old = dataset(database, 3, filled.first_id, filled.picture_id)
    assert adapter(database, old).marks == (filled.picture_id,)
    with database.read() as uow:
        assert uow.datasets.taken_back([filled.first_id, filled.picture_id, "s0"]) == {filled.picture_id}


def test_matches_are_made_once_and_come_in_order(database: Database) -> None:
    made = adapter(database, None)
    with database.write() as uow:
        later, sooner = (uow.matches.add("owner", **match_fields("e", n, made)) for n in (1, 0))
        assert uow.matches.add("owner", **{**match_fields("e", 1, made), "left_output": "again"}) == later
        assert uow.matches.add("bob", **match_fields("e", 1, made)).id != later.id
        uow.commit()
    with database.read() as uow:
        assert uow.matches.list("owner", "e") == (sooner, later) and uow.matches.list("owner", "f") == ()
        with pytest.raises(RecordNotFoundError):
            uow.matches.get("bob", later.id)


def test_votes_keep_their_history_and_one_is_in_force(database: Database) -> None:
    made = adapter(database, None)
    with database.write() as uow:
        ids = [uow.matches.add("owner", **match_fields("e", n, made)).id for n in range(2)]
        first = uow.votes.set("owner", ids[0], "left", "l", "r")
        assert uow.votes.set("owner", ids[0], "left", "l", "r") == first
        second = uow.votes.set("owner", ids[0], "right", "l", "r")
        uow.votes.set("owner", ids[1], "tie", "l", "r")
        taken_back = uow.votes.set("owner", ids[1], None, "l", "r")
        theirs = uow.votes.set("bob", ids[0], "bad", "l", "r")
        with pytest.raises(RecordNotFoundError):
            uow.votes.set("owner", "no match", "left", "l", "r")
        uow.commit()
    assert taken_back.choice is None and taken_back.is_current
    with database.read() as uow:
        assert uow.votes.current("owner", ids) == {ids[0]: second} and uow.votes.current("bob", ids) == {ids[0]: theirs}
        assert uow.connection.exec_driver_sql("SELECT count(*) FROM votes").scalar_one() == 5


def test_the_newest_promotion_of_a_task_and_model_is_in_force(database: Database) -> None:
    with database.write() as uow:
        switch = {"task": "text", "base_model_id": "m1"}
        assert uow.promotions.current("owner", "text", "m1") is None
        first = uow.promotions.add("owner", **switch, adapter_id="a", previous_id="base", override="I like it")
        back = uow.promotions.add("owner", **switch, adapter_id="base", previous_id="a")
        other = uow.promotions.add("owner", task="text", base_model_id="m2", adapter_id="b", previous_id="base")
        uow.commit()
    with database.read() as uow:
        assert uow.promotions.current("owner", "text", "m1") == back and uow.promotions.current("owner", "text", "m2") == other
        assert uow.promotions.history("owner") == (other, back, first) and uow.promotions.history("owner", "image") == ()
        assert uow.promotions.current("bob", "text", "m1") is None


def test_jobs_are_listed_newest_first(database: Database) -> None:
    filled = fill(database)
    learned = fill_learning(database, None, filled)
    with database.read() as uow:
        assert [job.id for job in uow.jobs.list("owner")] == [learned.run_id, filled.job_id]
        assert [job.id for job in uow.jobs.list("owner", "train")] == [learned.run_id]
        assert len(uow.jobs.list("owner", limit=1)) == 1 and uow.jobs.list("bob") == ()
