"""From rated summaries to a better summariser: what becomes a row, what a blind test asks, and who writes after it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.errors import BadOptionError, NotEnoughDataError
from engine.services.arena_prompts import ArenaPrompts
from engine.services.examples import examples_of
from engine.summary.abstractive import SAMPLING
from engine.training.dataset import prompt_key
from engine.training.presets import settings_for
from storage.records import BASE, CreationFilter, Method
from tests.engine.services.arena_parts import (
    ASSETS_DIR,
    STYLES,
    ArenaModel,
    ArenaStudio,
    FakeDatasets,
    arena_studio,
    for_adapter,
    make_adapter,
    user,
)
from tests.engine.services.studio_parts import OWNER
from tests.engine.services.summary_studio import MILL, SummaryStudio, long_text, seeded, summary_studio


@pytest.fixture
def arena(tmp_path: Path) -> Iterator[ArenaStudio]:
    with arena_studio(tmp_path, ArenaModel(seeded)) as parts:
        yield parts


@pytest.fixture
def summaries(arena: ArenaStudio, tmp_path: Path) -> SummaryStudio:
    return summary_studio(arena.studio, tmp_path)


def rows(summaries: SummaryStudio, method: Method) -> list[Any]:
    with summaries.parts.database.read() as uow:
        return [dict(example.row) for example, _ in examples_of(uow, OWNER, OWNER, method, CreationFilter(kind="summary"))]


def several(summaries: SummaryStudio, text: str, n: int = 3, **options: Any) -> tuple[str, ...]:
    started = summaries.summarize(text, method="abstractive", n=n, seed=1, **options)
    assert summaries.ended(started.job_id).status == "done"
    return started.creation_ids


def test_picks_thumbs_and_edits_of_summaries_become_rows_with_what_the_model_was_asked(summaries: SummaryStudio) -> None:
    first, second, third = several(summaries, MILL)
    asked = summaries.parts.model.requests[-1].messages
    feedback = summaries.parts.feedback
    feedback.prefer(OWNER, OWNER, second, [first, third])
    feedback.rate(OWNER, OWNER, third, -1.0)
    edited = summaries.summary.edit(OWNER, first, "The mill burned down; a library will stand there.")
    summaries.ended(edited.job_id)
    pairs = [(row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in rows(summaries, "dpo")]
    said = {id: summaries.parts.row(id).output for id in (first, second, third, edited.creation_id)}
    assert pairs == [(said[second], said[first]), (said[second], said[third]), (said[edited.creation_id], said[first])]
    (thumb,), (answer,) = rows(summaries, "kto"), rows(summaries, "sft")
    assert thumb["label"] is False and thumb["completion"][0]["content"] == said[third]
    assert answer["messages"][-1]["content"] == said[edited.creation_id]
    wanted = [{"role": one.role, "content": one.content} for one in asked]
    assert answer["messages"][:-1] == wanted and {str(row["prompt"]) for row in rows(summaries, "dpo")} == {str(wanted)}
    assert wanted[-1]["content"] == MILL


def test_of_a_long_document_the_notes_are_the_prompt_and_a_summary_that_no_model_read_is_none(summaries: SummaryStudio) -> None:
    text = long_text(600)
    first, second = several(summaries, text, 2)
    asked = [{"role": one.role, "content": one.content} for one in summaries.parts.model.requests[-1].messages]
    picked = summaries.made(None, parent_id=first)
    summaries.parts.feedback.prefer(OWNER, OWNER, first, [second, picked.id])
    (pair,) = rows(summaries, "dpo")
    assert pair["prompt"] == asked and len(asked[-1]["content"]) < len(text) / 3
    assert pair["rejected"][0]["content"] == summaries.parts.row(second).output
    again = summaries.made(None, parent_id=first, method="abstractive", seed=9)
    assert again.params["asked"] == summaries.parts.row(first).params["asked"]


def test_a_promoted_adapter_for_summaries_writes_them_from_the_model_s_own_notes(summaries: SummaryStudio) -> None:
    parts = summaries.parts
    trained, other = make_adapter(parts, task="summary"), make_adapter(parts, "Taglines")
    parts.adapters.promote(OWNER, trained.id, override="I have read its summaries.")
    row = summaries.made(long_text(600), method="abstractive")
    assert (row.adapter_id, row.path["adapter"]) == (trained.id, trained.sha256)
    assert {one.adapter for one in parts.model.requests if one.batched} == {None}
    assert [one.adapter.id for one in parts.model.requests if one.adapter] == [trained.id]
    assert parts.wrote("hello").adapter_id == BASE
    assert summaries.made(method="abstractive", adapter="base").adapter_id == BASE
    with pytest.raises(BadOptionError, match="for text"):
        summaries.summarize(method="abstractive", adapter=other.id)
    parts.adapters.promote(OWNER, other.id, override="For taglines.")
    assert summaries.made(method="abstractive").adapter_id == trained.id and parts.wrote("hello").adapter_id == other.id
    states = {view.record.id: view.state for view in parts.adapters.list(OWNER)}
    assert states == {trained.id: "promoted", other.id: "promoted"}
    assert parts.adapters.roll_back(OWNER, "summary").adapter_id == BASE
    assert parts.wrote("hello").adapter_id == other.id


def test_a_blind_test_of_summaries_asks_about_held_out_documents_then_about_others_that_nobody_judged(
    summaries: SummaryStudio,
) -> None:
    several(summaries, MILL, 1)
    judged = several(summaries, "It rained. It was cold.", 2)
    several(summaries, "Snow fell.", 1)
    summaries.parts.feedback.prefer(OWNER, OWNER, *judged)
    summaries.made("A long one: " + long_text(600))
    with summaries.parts.database.write() as uow:
        uow.datasets.set_splits(OWNER, "summary", {prompt_key(user("Snow fell.")): "train"})
        uow.commit()
    held_out = [{"role": "system", "content": "Sum it up."}, *user("Held out.")]
    prompts = ArenaPrompts(summaries.parts.database, FakeDatasets([held_out]), ASSETS_DIR / "prompts", STYLES)
    found = prompts.chosen(OWNER, "summary", dataset_id=None, n=2, seed=0)
    assert [(one.text, one.is_held_out) for one in found] == [("Held out.", True), (MILL, False)] * 2
    assert [message["role"] for message in found[1].messages] == ["system", "user"]
    (given,) = {one.messages[0]["content"] for one in prompts.given(OWNER, "summary", (MILL,), 2)}
    assert "summary of the input text" in given


def test_without_a_document_that_was_not_learned_from_there_is_no_test(arena: ArenaStudio) -> None:
    trained = make_adapter(arena.studio, task="summary")
    with pytest.raises(NotEnoughDataError, match="Summarise another one"):
        arena.arena.evaluate(OWNER, trained.id)


def test_both_sides_of_a_test_write_as_the_summariser_does_and_the_better_one_takes_over(
    arena: ArenaStudio, summaries: SummaryStudio
) -> None:
    trained = make_adapter(arena.studio, task="summary")
    arena.model.script = lambda request, row: [f"{request.adapter.id if request.adapter else 'Nobody'} {request.seeds[row]}."]
    run_id = arena.evaluate(trained.id, prompts=(MILL, "Snow fell. It was cold."), n=30)
    assert {one.sampling.temperature for one in arena.model.requests} == {SAMPLING.temperature}
    arena.vote_all(run_id, for_adapter(trained))
    arena.studio.adapters.promote(OWNER, trained.id)
    assert summaries.made(method="abstractive").adapter_id == trained.id


def test_training_on_summaries_has_room_for_documents() -> None:
    text, summary = (settings_for("dpo", "balanced", examples=40, device_kind="cpu", task=task) for task in ("text", "summary"))  # type: ignore[arg-type]
    assert summary.max_length > 2.5 * text.max_length and text.widen > summary.widen == 0
    named = settings_for("dpo", "balanced", examples=40, device_kind="cpu", task="summary", overrides={"max_length": 512})
    assert named.max_length == 512
