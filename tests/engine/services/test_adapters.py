"""Adapters: what was asked for writes, or nothing does; promoting needs a passed gate or a reason; every switch is a row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import BadFileError, BadOptionError, BusyError, GateError, NotFoundError
from storage.records import BASE, AdapterRecord, DatasetRow
from tests.engine.services.arena_parts import ArenaModel, ArenaStudio, arena_studio, for_adapter, make_adapter, user
from tests.engine.services.fakes import MODEL_ID
from tests.engine.services.studio_parts import OWNER, TextStudio


@pytest.fixture
def arena(tmp_path: Path) -> Iterator[ArenaStudio]:
    with arena_studio(tmp_path) as parts:
        yield parts


@pytest.fixture
def studio(arena: ArenaStudio) -> TextStudio:
    return arena.studio


def promote(studio: TextStudio, adapter: AdapterRecord) -> None:
    studio.adapters.promote(OWNER, adapter.id, override="I have read its answers.")


def weights(studio: TextStudio, adapter: AdapterRecord) -> Path:
    return studio.adapters_dir / adapter.id / "adapter_model.safetensors"


def test_nothing_is_promoted_at_first(studio: TextStudio) -> None:
    assert studio.adapters.resolve(OWNER, MODEL_ID, "promoted") == (BASE, None)
    assert studio.wrote("hello").adapter_id == BASE
    assert studio.adapters.list(OWNER) == ()
    assert studio.adapters.history(OWNER) == ()


def test_an_id_means_that_adapter_and_its_files(studio: TextStudio) -> None:
    adapter = make_adapter(studio)
    adapter_id, ref = studio.adapters.resolve(OWNER, MODEL_ID, adapter.id)
    assert adapter_id == adapter.id and ref is not None
    assert (ref.id, ref.sha256, ref.folder) == (adapter.id, adapter.sha256, studio.adapters_dir / adapter.id)
    row = studio.wrote("hello", adapter=adapter.id, seed=1)
    assert (row.adapter_id, row.path["adapter"]) == (adapter.id, adapter.sha256)
    assert row.output == f"hello by-{adapter.sha256[:6]} #1"


def test_what_cannot_be_had_is_said_and_nothing_is_written(studio: TextStudio) -> None:
    other = make_adapter(studio, "Other", model_id="another-model")
    with pytest.raises(NotFoundError):
        studio.write("hello", adapter="f" * 32)
    with pytest.raises(BadOptionError, match="trained on another-model"):
        studio.write("hello", adapter=other.id)
    assert studio.rows() == 0


@pytest.mark.parametrize("damage", ["changed", "gone", "no config"])
def test_a_damaged_promoted_adapter_is_never_silently_the_base_model(studio: TextStudio, damage: str) -> None:
    adapter = make_adapter(studio)
    promote(studio, adapter)
    assert studio.wrote("before").adapter_id == adapter.id
    if damage == "changed":
        weights(studio, adapter).write_bytes(b"other bytes of the training")
    elif damage == "gone":
        weights(studio, adapter).unlink()
    else:
        (studio.adapters_dir / adapter.id / "adapter_config.json").unlink()
    with pytest.raises(BadFileError, match="Shorter is damaged") as error:
        studio.write("hello")
    assert error.value.message_key == "error.adapter_damaged"
    assert studio.rows() == 1
    assert studio.wrote("hello", adapter="base").adapter_id == BASE
    studio.adapters.promote(OWNER, BASE)
    assert studio.wrote("again").adapter_id == BASE


def test_promoting_switches_at_once_and_rolling_back_too(studio: TextStudio) -> None:
    first, second = make_adapter(studio, "First"), make_adapter(studio, "Second")
    for adapter in (first, second):
        promote(studio, adapter)
        assert studio.wrote("hello").adapter_id == adapter.id
    assert studio.adapters.promoted(OWNER) == second.id
    assert {view.record.name: view.state for view in studio.adapters.list(OWNER)} == {"Second": "promoted", "First": "retired"}
    assert studio.adapters.roll_back(OWNER).adapter_id == first.id
    assert studio.wrote("hello").adapter_id == first.id
    assert studio.adapters.roll_back(OWNER).adapter_id == BASE
    assert studio.wrote("hello").adapter_id == BASE
    with pytest.raises(BadOptionError, match="nothing to roll back"):
        studio.adapters.roll_back(OWNER)
    history = studio.adapters.history(OWNER, "text")
    assert [(row.previous_id, row.adapter_id) for row in reversed(history)] == [
        (BASE, first.id),
        (first.id, second.id),
        (second.id, first.id),
        (first.id, BASE),
    ]
    assert history[-1].override == "I have read its answers." and history[-1].gate["pass"] is None


def test_rolling_back_passes_over_what_was_removed(studio: TextStudio) -> None:
    first, second, third = (make_adapter(studio, name) for name in ("First", "Second", "Third"))
    for adapter in (first, second, third):
        promote(studio, adapter)
    studio.adapters.remove(OWNER, second.id)
    assert studio.adapters.roll_back(OWNER).adapter_id == first.id
    assert studio.adapters.roll_back(OWNER).adapter_id == BASE


def test_an_untested_adapter_needs_a_reason(studio: TextStudio) -> None:
    adapter = make_adapter(studio)
    with pytest.raises(GateError, match="not been tested blindly"):
        studio.adapters.promote(OWNER, adapter.id)
    with pytest.raises(GateError):
        studio.adapters.promote(OWNER, adapter.id, override="   ")
    assert studio.adapters.promoted(OWNER) == BASE
    made = studio.adapters.promote(OWNER, adapter.id, override="For the demo.")
    assert (made.override, made.previous_id, made.base_model_id) == ("For the demo.", BASE, MODEL_ID)
    assert studio.adapters.promote(OWNER, adapter.id).id == made.id  # it is in use already: no other row


def test_a_passed_gate_promotes_without_a_reason(arena: ArenaStudio) -> None:
    adapter = make_adapter(arena.studio)
    run_id = arena.evaluate(adapter.id, n=10)
    with pytest.raises(GateError, match="Not enough votes yet: 0 of 10"):
        arena.studio.adapters.promote(OWNER, adapter.id)
    arena.vote_all(run_id, for_adapter(adapter))
    made = arena.studio.adapters.promote(OWNER, adapter.id, override="not needed")
    assert (made.evaluation_id, made.override, made.gate["pass"], made.gate["votes"]) == (run_id, "", True, 10)
    (view,) = arena.studio.adapters.list(OWNER)
    assert view.state == "promoted" and view.evaluation_id == run_id
    assert view.result is not None and view.result["win_rate"] == 1.0


def test_a_test_against_something_else_proves_nothing_about_what_is_in_use(arena: ArenaStudio) -> None:
    old, new = make_adapter(arena.studio, "Old"), make_adapter(arena.studio, "New")
    arena.vote_all(arena.evaluate(new.id, n=10), for_adapter(new))  # against the base model
    promote(arena.studio, old)
    with pytest.raises(GateError, match="not been tested blindly against the version in use"):
        arena.studio.adapters.promote(OWNER, new.id)
    arena.vote_all(arena.evaluate(new.id, n=10), for_adapter(old))
    with pytest.raises(GateError, match="It won 0 %"):
        arena.studio.adapters.promote(OWNER, new.id)


def test_a_version_an_edit_and_what_goes_on_keep_their_adapter(studio: TextStudio) -> None:
    first, second = make_adapter(studio, "First"), make_adapter(studio, "Second")
    promote(studio, first)
    chat = studio.conversations.create(OWNER)
    original = studio.wrote("one two three four", conversation_id=chat.id, max_new_tokens=2, seed=3)
    assert original.finish_reason == "length"
    promote(studio, second)
    resumed = studio.text.resume(OWNER, original.id)
    assert resumed.adapter_id == first.id
    assert studio.finish(resumed).status == "done"
    assert studio.wrote("", continue_from=original.id).adapter_id == first.id
    edited = studio.text.edit(OWNER, original.id, "Better.")
    assert studio.row(edited.creation_id).adapter_id == first.id
    again = studio.runner.wait(studio.text.reproduce(OWNER, original.id), 20)
    assert again is not None and again.result is not None and again.result["identical"]
    assert studio.model.requests[-1].adapter is not None and studio.model.requests[-1].adapter.sha256 == first.sha256
    assert studio.wrote("", parent_id=original.id).adapter_id == second.id  # a new version is written by what is in use
    assert studio.row(original.id).adapter_id == first.id


def test_a_removed_adapter_cannot_reproduce_and_says_so(studio: TextStudio) -> None:
    adapter = make_adapter(studio)
    row = studio.wrote("hello", adapter=adapter.id)
    studio.adapters.remove(OWNER, adapter.id)
    with pytest.raises(BadFileError, match="Shorter was removed"):
        studio.text.reproduce(OWNER, row.id)
    with pytest.raises(BadFileError, match="Shorter was removed"):
        studio.adapters.promote(OWNER, adapter.id, override="please")
    assert studio.adapters.list(OWNER) == ()
    assert not (studio.adapters_dir / adapter.id).exists()
    assert studio.adapters.remove(OWNER, adapter.id).removed_at is not None  # twice is harmless


def test_an_answer_from_other_weights_is_not_kept_as_this_adapter_s(arena: ArenaStudio) -> None:
    adapter = make_adapter(arena.studio)
    arena.model.claims = lambda request: "base"
    started = arena.studio.write("hello", adapter=adapter.id)
    snapshot = arena.studio.finish(started)
    assert snapshot.status == "failed" and snapshot.error_key == "error.other_weights"
    assert arena.studio.row(started.creation_ids[0]).status == "failed"


def test_what_is_in_use_or_tested_is_not_removed(arena: ArenaStudio) -> None:
    adapter = make_adapter(arena.studio)
    arena.model.hold()
    run_id = arena.arena.evaluate(OWNER, adapter.id)
    with pytest.raises(BusyError, match="being tested"):
        arena.studio.adapters.remove(OWNER, adapter.id)
    arena.studio.jobs.cancel(OWNER, run_id)
    arena.finish(run_id)
    promote(arena.studio, adapter)
    with pytest.raises(BusyError, match="in use"):
        arena.studio.adapters.remove(OWNER, adapter.id)
    assert weights(arena.studio, adapter).is_file()


def test_a_new_name(studio: TextStudio) -> None:
    adapter = make_adapter(studio)
    assert studio.adapters.rename(OWNER, adapter.id, "  Warmer  ").name == "Warmer"
    with pytest.raises(BadOptionError):
        studio.adapters.rename(OWNER, adapter.id, " ")
    assert studio.adapters.get(OWNER, adapter.id).name == "Warmer"


def test_nobody_reaches_another_owner_s(studio: TextStudio) -> None:
    adapter = make_adapter(studio)
    for call in (
        lambda: studio.adapters.resolve("else", MODEL_ID, adapter.id),
        lambda: studio.adapters.promote("else", adapter.id, override="mine now"),
        lambda: studio.adapters.rename("else", adapter.id, "mine"),
        lambda: studio.adapters.remove("else", adapter.id),
    ):
        with pytest.raises(NotFoundError):
            call()


def test_an_answer_leads_back_to_single_ratings(tmp_path: Path) -> None:
    with arena_studio(tmp_path, ArenaModel()) as parts:
        studio = parts.studio
        liked, disliked = studio.wrote("write a line", seed=1), studio.wrote("write a line", seed=2)
        rating = studio.feedback.rate(OWNER, OWNER, liked.id, 1.0)
        (preference_id,) = studio.feedback.prefer(OWNER, OWNER, liked.id, disliked.id)
        row = DatasetRow(0, "train", {"prompt": user("write a line")}, (rating.rating_id, preference_id, liked.id, disliked.id))
        with studio.database.write() as uow:
            dataset = uow.datasets.add(
                OWNER, task="text", method="dpo", name="", sha256="a" * 64, filter={}, counts={}, rows=[row]
            )
            uow.commit()
        adapter = make_adapter(studio, dataset_id=dataset.id)
        promote(studio, adapter)
        found = studio.adapters.lineage(OWNER, studio.wrote("another").id)
        assert found.adapter is not None and found.adapter.id == adapter.id
        assert found.dataset is not None and found.dataset.id == dataset.id
        assert [one.id for one in found.ratings] == [rating.rating_id]
        assert [one.id for one in found.preferences] == [preference_id]
        assert [one.id for one in found.creations] == [liked.id, disliked.id]
        assert [one.adapter_id for one in found.promotions] == [adapter.id] and found.gone == 0
        studio.feedback.rate(OWNER, OWNER, liked.id, None)
        assert studio.adapters.lineage(OWNER, studio.wrote("another").id).gone == 1
        assert studio.adapters.lineage(OWNER, liked.id).adapter is None
