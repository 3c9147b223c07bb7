"""Datasets from real ratings: what is frozen stays, what is missing is said, and what is taken back marks who learned from it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from engine.errors import BadOptionError, NotEnoughDataError, NotFoundError
from engine.services.conversations import ConversationService
from engine.services.datasets import DatasetService
from engine.services.feedback import FeedbackService
from engine.services.library import LibraryService
from engine.training.dataset import prompt_key, prompt_of
from engine.types import DatasetOptions
from storage.database import Database, open_database
from storage.files import FileStore
from storage.records import CreationRecord, DatasetRecord
from tests.engine.services.library_parts import OWNER, add, export_service, opened, version_of
from tests.postgres import running_cluster


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with opened(tmp_path) as made:
        yield made


@pytest.fixture
def datasets(database: Database) -> DatasetService:
    return DatasetService(database)


def picks(database: Database, count: int, *, start: int = 0, rivals: int = 1, **fields: str) -> list[CreationRecord]:
    """The best of some candidates for each prompt is picked; the picked ones."""
    feedback, best = FeedbackService(database), []
    for n in range(start, start + count):
        chosen = add(database, f"prompt {n}", f"good answer {n}", **fields)
        others = [version_of(database, chosen, f"bad answer {n}.{rival}") for rival in range(rivals)]
        feedback.prefer(OWNER, OWNER, chosen.id, [other.id for other in others])
        best.append(chosen)
    return best


def thumbs(database: Database, count: int, *, start: int = 0) -> list[CreationRecord]:
    feedback, rated = FeedbackService(database), []
    for n in range(start, start + count):
        rated.append(add(database, f"prompt {n}", f"answer {n}"))
        feedback.rate(OWNER, OWNER, rated[-1].id, 1 if n % 2 else -1)
    return rated


def adapter_of(database: Database, record: DatasetRecord) -> str:
    with database.write() as uow:
        adapter = uow.adapters.add(
            OWNER, task=record.task, name="a", base_model_id="tiny", base_sha256="b", dataset_id=record.id, method=record.method,
            recipe=record.method, sha256="c", size_bytes=1, metrics={},
        )  # fmt: skip
        uow.commit()
    return adapter.id


def marks(database: Database, adapter_id: str) -> tuple[str, ...]:
    with database.read() as uow:
        return uow.adapters.get(OWNER, adapter_id).marks


def sides(datasets: DatasetService, record: DatasetRecord) -> dict[str, str]:
    return {prompt_key(prompt_of(row.row)): row.split for row in datasets.rows(OWNER, record.id)}


def test_too_little_is_refused_with_what_is_missing_and_nothing_is_written(database: Database, datasets: DatasetService) -> None:
    picks(database, 2)
    with pytest.raises(NotEnoughDataError, match=r"6 more pairs.*4 more prompts") as refused:
        datasets.freeze(OWNER, OWNER, DatasetOptions(kind="dpo"))
    assert refused.value.message_key == "error.need_pairs" and refused.value.values == {"n": 6}
    shown = datasets.preview(OWNER, OWNER)
    assert not shown.is_ready and shown.missing[0].startswith("6 more pairs") and shown.missing_keys[1][1] == {"n": 4}
    assert datasets.list(OWNER) == () and datasets.held_out_prompts(OWNER, "text") == ()
    with database.read() as uow:
        assert uow.datasets.all_splits(OWNER, "text") == {}


def test_the_picks_best_against_each_other_are_frozen_by_prompt(database: Database, datasets: DatasetService) -> None:
    best = picks(database, 18, rivals=2)
    shown = datasets.preview(OWNER, OWNER)
    record = datasets.freeze(OWNER, OWNER, DatasetOptions(name=" mine "))
    assert record.method == shown.method == shown.suggested == "dpo" and record.name == "mine"
    assert record.counts == shown.counts["dpo"]
    assert (record.counts["train"], record.counts["held_out"]) == (28, 8) and record.counts["by_source"] == {"pick": 36}
    rows = datasets.rows(OWNER, record.id)
    assert {row.row["chosen"][0]["content"] for row in rows} == {creation.output for creation in best}
    assert all(creation.id in {id for row in rows for id in row.source_ids} for creation in best)
    assert len(datasets.held_out_prompts(OWNER, "text")) == 4
    assert shown.held_out_prompts == 4 and shown.duplicates == 0 and len(shown.examples) == 5


def test_the_same_ratings_are_the_same_dataset_and_new_ones_keep_every_side(database: Database, datasets: DatasetService) -> None:
    picks(database, 15)
    first = datasets.freeze(OWNER, OWNER)
    assert datasets.freeze(OWNER, OWNER) == first
    rounds = [first]
    for n in range(1, 4):
        picks(database, 7, start=15 + 7 * n)
        rounds.append(datasets.freeze(OWNER, OWNER))
        before, after = sides(datasets, rounds[-2]), sides(datasets, rounds[-1])
        assert {key: after[key] for key in before} == before and len(after) == len(before) + 7
    assert datasets.list(OWNER) == tuple(reversed(rounds)) and len({record.sha256 for record in rounds}) == 4
    held_out = {prompt_key(messages) for messages in datasets.held_out_prompts(OWNER, "text")}
    assert held_out == {key for key, side in sides(datasets, rounds[-1]).items() if side == "held_out"}
    thumbs(database, 30)  # another way to learn, the same prompts
    other = sides(datasets, datasets.freeze(OWNER, OWNER, DatasetOptions(kind="kto")))
    newest = sides(datasets, rounds[-1])
    assert all(newest.get(key, side) == side for key, side in other.items())


def test_thumbs_and_edits_make_their_own_kinds(database: Database, datasets: DatasetService) -> None:
    rated = thumbs(database, 24)
    shown = datasets.preview(OWNER, OWNER)
    assert shown.method == "kto" and shown.balance == {"positive": 12, "negative": 12}
    kto = datasets.freeze(OWNER, OWNER)
    assert kto.counts["by_source"] == {"rating": 24} and kto.counts["positive"] == 12
    version_of(database, rated[0], "edited by hand", origin="edited")
    sft = datasets.freeze(OWNER, OWNER, DatasetOptions(kind="sft"))
    assert sft.counts["by_source"] == {"edit": 1, "rating": 12}
    answers = [row.row["messages"][-1]["content"] for row in datasets.rows(OWNER, sft.id)]
    assert "edited by hand" in answers and "answer 0" not in answers


def test_the_same_answer_twice_counts_once(database: Database, datasets: DatasetService) -> None:
    thumbs(database, 12)
    again = add(database, "prompt 3", "answer 3")
    FeedbackService(database).rate(OWNER, OWNER, again.id, 0.5)
    shown = datasets.preview(OWNER, OWNER, DatasetOptions(kind="kto"))
    assert shown.duplicates == 1 and shown.counts["kto"]["train"] + shown.counts["kto"]["held_out"] == 12


def test_a_filter_chooses_and_a_bad_one_is_named(database: Database, datasets: DatasetService) -> None:
    picks(database, 12)
    picks(database, 12, start=12, model_id="other")
    wish = DatasetOptions(kind="dpo", filter={"model": "other", "min_score": None})
    record = datasets.freeze(OWNER, OWNER, wish)
    assert record.filter == wish.filter and record.counts["prompts"] == 12
    assert datasets.preview(OWNER, OWNER, wish).counts["dpo"]["prompts"] == 12
    for bad in ({"colour": "red"}, {"model": 5}, {"min_score": True}, {"from": "yesterday"}, {"kind": "image"}, {"kind": "x"}):
        with pytest.raises(BadOptionError, match="filter" if bad == {"kind": "image"} else next(iter(bad))):
            datasets.preview(OWNER, OWNER, DatasetOptions(filter=bad))


def test_chosen_ratings_are_trained_on_with_some_of_earlier_rounds(database: Database, datasets: DatasetService) -> None:
    old = picks(database, 24)
    everything = datasets.freeze(OWNER, OWNER)
    assert datasets.with_replay(OWNER, everything.id) == everything
    picks(database, 24, start=24, model_id="other")
    chosen = datasets.freeze(OWNER, OWNER, DatasetOptions(filter={"model": "other"}))
    LibraryService(database, FileStore(Path("nowhere"))).trash(OWNER, [creation.id for creation in old[:12]])
    together = datasets.with_replay(OWNER, chosen.id)
    own, rows = datasets.rows(OWNER, chosen.id), datasets.rows(OWNER, together.id)
    assert rows[: len(own)] == own and len(rows) == len(own) + together.counts["by_source"]["replay"] > len(own)
    replayed = {row.row["prompt"][0]["content"] for row in rows[len(own) :]}
    assert replayed <= {creation.prompt for creation in old[12:]}
    assert datasets.with_replay(OWNER, together.id) == together and datasets.with_replay(OWNER, chosen.id) == together


def test_files_for_the_training_hold_the_rows_whatever_is_in_them(
    database: Database, datasets: DatasetService, tmp_path: Path
) -> None:
    add(database, "x")
    for n in range(12):
        chosen = add(database, f"prompt {n}", f"line one\u2028line\x85two\n{n} 好")
        FeedbackService(database).prefer(OWNER, OWNER, chosen.id, [version_of(database, chosen, "bad").id])
    record = datasets.freeze(OWNER, OWNER)
    datasets.write_files(OWNER, record.id, tmp_path / "run")
    for split in ("train", "held_out"):
        lines = (tmp_path / "run" / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
        assert [json.loads(line) for line in lines] == [row.row for row in datasets.rows(OWNER, record.id, split)]


def test_a_dataset_goes_out_as_exactly_its_rows_and_comes_in_again(
    database: Database, datasets: DatasetService, tmp_path: Path
) -> None:
    picks(database, 14)
    record = datasets.freeze(OWNER, OWNER)
    picks(database, 5, start=14)  # not in it
    exports = export_service(tmp_path, database)
    made = exports.export_dataset(OWNER, record.id)
    with zipfile.ZipFile(made.path) as archive:
        out = {name: [json.loads(line) for line in archive.read(name).splitlines()] for name in ("rows.jsonl", "held_out.jsonl")}
        assert json.loads(archive.read("PROVENANCE.json"))["rows"] == made.rows == 14
    assert out["rows.jsonl"] == [row.row for row in datasets.rows(OWNER, record.id, "train")]
    assert out["held_out.jsonl"] == [row.row for row in datasets.rows(OWNER, record.id, "held_out")]
    assert exports.export_dataset(OWNER, record.id).path.read_bytes() == made.path.read_bytes()
    with pytest.raises(NotFoundError):
        exports.export_dataset("bob", record.id)
    with opened(tmp_path, "other.db") as other:
        assert export_service(tmp_path / "other", other).import_file(OWNER, OWNER, made.path).errors == ()
        assert DatasetService(other).freeze(OWNER, OWNER).counts["prompts"] == 14


def test_what_is_taken_back_marks_the_adapters_that_learned_from_it(database: Database, datasets: DatasetService) -> None:
    feedback, library = FeedbackService(database), LibraryService(database, FileStore(Path("nowhere")))
    rated, best = thumbs(database, 24), picks(database, 12, start=24)
    from_thumbs = adapter_of(database, datasets.freeze(OWNER, OWNER, DatasetOptions(kind="kto")))
    from_pairs = adapter_of(database, datasets.freeze(OWNER, OWNER, DatasetOptions(kind="dpo")))
    feedback.rate(OWNER, OWNER, rated[1].id, None)
    assert len(marks(database, from_thumbs)) == 1 and marks(database, from_pairs) == ()
    feedback.rate(OWNER, OWNER, rated[1].id, 0.5)
    assert marks(database, from_thumbs) == ()
    library.trash(OWNER, [best[0].id, rated[0].id])
    assert marks(database, from_pairs) == (best[0].id,) and marks(database, from_thumbs) == (rated[0].id,)
    library.restore(OWNER, [best[0].id])
    assert marks(database, from_pairs) == ()
    with database.read() as uow:
        (choice,) = uow.preferences.current(OWNER, [best[1].id])
    feedback.prefer(OWNER, OWNER, choice.rejected_id, choice.chosen_id)
    assert marks(database, from_pairs) == (choice.id,)
    feedback.prefer(OWNER, OWNER, choice.chosen_id, choice.rejected_id)
    assert marks(database, from_pairs) == ()


def test_deleting_in_a_conversation_marks_too(database: Database, datasets: DatasetService) -> None:
    conversations = ConversationService(database)
    with database.write() as uow:
        thread = uow.conversations.add(OWNER, title="t", system="")
        uow.commit()
    turn = add(database, "prompt 0", "earlier answer", conversation_id=thread.id)
    for n in range(12):
        rated = add(database, f"later {n}", f"answer {n}", conversation_id=thread.id, context_id=turn.id)
        FeedbackService(database).rate(OWNER, OWNER, rated.id, 1)
    with database.write() as uow:
        uow.conversations.update(OWNER, thread.id, head_id=rated.id)
        uow.commit()
    adapter = adapter_of(database, datasets.freeze(OWNER, OWNER, DatasetOptions(kind="sft")))
    conversations.delete_turn(OWNER, thread.id, turn.id)  # part of what was learned, though nobody rated it
    assert marks(database, adapter) == (turn.id,)
    conversations.undelete_turn(OWNER, thread.id, turn.id)
    assert marks(database, adapter) == ()


def test_datasets_are_their_owners(database: Database, datasets: DatasetService, tmp_path: Path) -> None:
    picks(database, 12)
    record = datasets.freeze(OWNER, OWNER)
    for call in (datasets.get, datasets.rows, datasets.with_replay):
        with pytest.raises(NotFoundError):
            call("bob", record.id)
    assert datasets.list("bob") == () and datasets.held_out_prompts("bob", "text") == ()
    assert datasets.preview("bob", "bob").counts["dpo"]["train"] == 0


@pytest.mark.postgres
def test_the_same_on_postgresql() -> None:
    with running_cluster() as cluster, closing(open_database(cluster.create_database())) as database:
        picks(database, 12, rivals=2)
        datasets = DatasetService(database)
        record = datasets.freeze(OWNER, OWNER)
        assert datasets.freeze(OWNER, OWNER) == record and record.counts["held_out_prompts"] == 4
        adapter = adapter_of(database, record)
        LibraryService(database, FileStore(Path("nowhere"))).trash(OWNER, [datasets.rows(OWNER, record.id)[0].source_ids[1]])
        assert len(marks(database, adapter)) == 1
