"""The Write page's actions against a real studio with a scripted model: what the page gets for what it asks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from engine.bootstrap import Overrides, build_studio
from engine.errors import BadOptionError, NotFoundError
from engine.settings import Settings
from engine.studio import Studio
from storage.records import LOCAL_OWNER, DatasetRow
from tests.ui.scripted import ScriptedHost, ScriptedModel
from ui.components.frame import Frame
from ui.handlers import acting
from ui.i18n import translator
from ui.tabs.library import LibraryPage
from ui.tabs.write import WritePage


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Studio]:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "data" / "tmp"))
    settings = Settings(data_dir=tmp_path / "data", models_dir=tmp_path / "models", offline=True, no_browser=True)
    made = build_studio(settings, Overrides(text_host=ScriptedHost(ScriptedModel(seconds_per_token=0.001))))
    monkeypatch.setattr(type(made.models), "require", lambda *_: None)
    yield made
    made.close()


@pytest.fixture
def page(studio: Studio) -> WritePage:
    return WritePage(studio, translator("en"), "en")


def _do(page: WritePage, type: str, **payload: Any) -> dict[str, Any]:
    return page.actions[type](LOCAL_OWNER, {"type": type, **payload})


def _write(page: WritePage, prompt: str, *, c: str | None = None, key: str = "k", **options: Any) -> dict[str, Any]:
    """Start, follow to the end, and return the thread as it is then."""
    started = _do(page, "write", prompt=prompt, c=c, key=key, options={"max_new_tokens": 8, **options})
    updates = asyncio.run(_collect(page, started["job_id"]))
    assert updates[-1]["done"] and updates[-1]["error"] is None
    thread: dict[str, Any] = _do(page, "open", c=started["thread"]["conversation"]["id"])["thread"]
    return thread


async def _collect(page: WritePage, job_id: str) -> list[dict[str, Any]]:
    return [update async for update in page.follow(LOCAL_OWNER, job_id)]


def test_a_prompt_becomes_a_turn_with_its_figures(page: WritePage) -> None:
    thread = _write(page, "Say <b>something</b>.")
    (turn,) = thread["turns"]
    assert turn["prompt"] == "Say <b>something</b>." and turn["answer"]["status"] == "done"
    assert turn["answer"]["html"].startswith("<p>") and turn["answer"]["seed"] is not None
    assert any("8 tokens" in part for part in turn["answer"]["figures"])
    assert thread["job_id"] is None and thread["conversation"]["title"] == "Say <b>something</b>."
    assert [one["id"] for one in _do(page, "list")["conversations"]] == [thread["conversation"]["id"]]


def test_the_same_click_twice_is_one_job_in_one_conversation(page: WritePage) -> None:
    options = {"max_new_tokens": 4}
    first = _do(page, "write", prompt="Once.", key="same", options=options)
    second = _do(page, "write", prompt="Once.", key="same", options=options)
    assert first["job_id"] == second["job_id"] and first["creation_ids"] == second["creation_ids"]
    asyncio.run(_collect(page, first["job_id"]))
    assert len(_do(page, "list")["conversations"]) == 1


def test_versions_edit_branch_delete_and_undo(page: WritePage) -> None:
    thread = _write(page, "A line.")
    c, answer = thread["conversation"]["id"], thread["turns"][0]["answer"]
    again = _write(page, "A line.", c=c, key="k2", parent_id=answer["id"])
    assert len(again["turns"][0]["versions"]) == 2 and again["turns"][0]["version_index"] == 1
    back = _do(page, "version", c=c, id=answer["id"])["thread"]
    assert back["turns"][0]["answer"]["id"] == answer["id"]
    edited = _do(page, "edit", c=c, id=answer["id"], text="My *line*.")["thread"]["turns"][0]["answer"]
    assert edited["edited"] and "<em>line</em>" in edited["html"] and edited["seed"] is None
    branch = _do(page, "branch", c=c, id=answer["id"])["thread"]
    assert branch["conversation"]["id"] != c and len(branch["turns"]) == 1
    assert len(_do(page, "delete", c=c, id=edited["id"])["thread"]["turns"][0]["versions"]) == 2
    assert len(_do(page, "undelete", c=c, id=edited["id"])["thread"]["turns"][0]["versions"]) == 3


def test_candidates_wait_until_one_is_picked(page: WritePage) -> None:
    thread = _write(page, "Three.", n=3)
    candidates = thread["turns"][0]["candidates"]
    assert len(candidates) == 3
    picked = _do(page, "pick", c=thread["conversation"]["id"], id=candidates[1]["id"])["thread"]["turns"][0]
    assert picked["candidates"] == [] and picked["answer"]["id"] == candidates[1]["id"] and len(picked["versions"]) == 3


def test_a_rating_comes_back_with_the_thread_and_says_what_it_does(page: WritePage) -> None:
    thread = _write(page, "Rate me.")
    answer = thread["turns"][0]["answer"]
    rated = _do(page, "rate", id=answer["id"], score=0.5, reasons=["clear"], comment="Good.")
    assert rated["next_training_in"] == thread["next_training_in"] - 1
    shown = _do(page, "open", c=thread["conversation"]["id"])["thread"]["turns"][0]["answer"]
    assert shown["rating"] == {"score": 0.5, "reasons": ["clear"], "comment": "Good."} == rated["rating"]
    assert _do(page, "rate", id=answer["id"], score=None)["rating"] is None


def test_stop_keeps_what_was_written_and_it_can_go_on(page: WritePage) -> None:
    started = _do(page, "write", prompt="Long.", key="k", options={"max_new_tokens": 8000})
    deadline = time.monotonic() + 20
    while not _do(page, "open", c=started["thread"]["conversation"]["id"])["thread"]["turns"][0]["answer"]["text"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    _do(page, "cancel", job_id=started["job_id"])
    asyncio.run(_collect(page, started["job_id"]))
    answer = _do(page, "open", c=started["thread"]["conversation"]["id"])["thread"]["turns"][0]["answer"]
    assert answer["status"] == "cancelled" and answer["text"] and answer["can_continue"] and answer["note"]


def test_a_long_conversation_shows_its_newest_turns(page: WritePage) -> None:
    thread = _write(page, "First.")
    for number in range(3):
        thread = _write(page, f"More {number}.", c=thread["conversation"]["id"], key=f"k{number}")
    shown = _do(page, "open", c=thread["conversation"]["id"], shown=2)["thread"]
    assert [turn["prompt"] for turn in shown["turns"]] == ["More 1.", "More 2."] and shown["earlier"] == 2


def test_bad_actions_are_one_sentence(page: WritePage) -> None:
    with pytest.raises(BadOptionError, match='"id" must be text'):
        _do(page, "star")
    with pytest.raises(NotFoundError):
        _do(page, "open", c="0" * 32)
    with pytest.raises(BadOptionError, match="temprature"):
        _do(page, "write", prompt="x", key="k", options={"temprature": 1})


def test_an_unknown_action_is_one_sentence_that_names_it(page: WritePage) -> None:
    act = acting(Frame("en", "local", gr.HTML()), page.actions)
    for name in ("format_disk", "__init__", "actions"):
        error = act({"type": name}, None)["error"]
        assert error["code"] == "bad_option" and name in error["message"]


def test_personas_are_kept_and_used(page: WritePage) -> None:
    saved = _do(page, "save_persona", name="Editor", system="Be brief.")["personas"]
    assert [(one["name"], one["system"]) for one in saved] == [("Editor", "Be brief.")]
    thread = _write(page, "Hello.", key="p")
    _do(page, "set_system", c=thread["conversation"]["id"], system="Be brief.")
    assert _do(page, "open", c=thread["conversation"]["id"])["thread"]["conversation"]["system"] == "Be brief."
    assert _do(page, "remove_persona", id=saved[0]["id"])["personas"] == []


def test_the_line_of_taste_is_there_at_once_and_follows_ratings(page: WritePage) -> None:
    line = _learned(page)
    assert line["text"].startswith("Pick or rate 8 more answers") and not line["ready"]
    for number in range(4):
        thread = _write(page, f"Prompt {number}.", key=f"k{number}", n=3)
        _do(page, "pick", c=thread["conversation"]["id"], id=thread["turns"][0]["candidates"][0]["id"])
    assert _do(page, "taste")["learning"]
    assert _learned(page)["ready"]


def test_ranked_candidates_stand_best_first_and_say_so(page: WritePage) -> None:
    for number in range(4):
        thread = _write(page, f"Prompt {number}.", key=f"k{number}", n=3)
        _do(page, "pick", c=thread["conversation"]["id"], id=thread["turns"][0]["candidates"][0]["id"])
    (turn,) = _write(page, "Another.", key="ranked", n=4, rank_by="taste")["turns"]
    assert [one["taste_rank"] for one in turn["candidates"]] == [1, 2, 3, 4]
    assert turn["answer"]["id"] == turn["candidates"][0]["id"]


def test_the_base_model_s_answers_have_a_short_history(page: WritePage) -> None:
    (turn,) = _write(page, "Say something.")["turns"]
    assert turn["answer"]["adapter"] is None
    lineage = _do(page, "lineage", id=turn["answer"]["id"])
    assert lineage["adapter"] is None and lineage["written_at"]
    with pytest.raises(NotFoundError):
        _do(page, "lineage", id="0" * 32)


def test_an_answer_names_its_adapter_and_leads_back_to_single_ratings(page: WritePage, studio: Studio) -> None:
    thread = _write(page, "Say something.", n=2)
    chosen, rejected = (one["id"] for one in thread["turns"][0]["candidates"])
    (preference_id,) = studio.conversations.pick(LOCAL_OWNER, thread["conversation"]["id"], chosen)
    rating = studio.feedback.rate(LOCAL_OWNER, LOCAL_OWNER, chosen, 1.0)
    adapter_id, written_id = _adapter_of(studio, (preference_id, rating.rating_id, chosen, rejected, "f" * 32))
    turn = _do(page, "open", c=_conversation_of(studio, written_id))["thread"]["turns"][-1]
    assert turn["answer"]["adapter"] == {"id": adapter_id, "name": "Short and warm"}
    assert "Short and warm" not in turn["answer"]["figures"]
    lineage = _do(page, "lineage", id=written_id)
    assert lineage["adapter"]["name"] == "Short and warm" and not lineage["adapter"]["is_removed"]
    assert lineage["promoted"]["override"] == "" and lineage["dataset"] == {"train": 8, "held_out": 2}
    assert (lineage["gone"], lineage["more"]) == (1, 0)
    by_score = {row.get("score"): row for row in lineage["rows"]}
    assert by_score[5]["text"] == by_score[None]["chosen"] != by_score[None]["rejected"]
    assert {row["id"] for row in lineage["rows"]} == {chosen}, "each row leads to its answer in the Library"


def test_the_library_calls_an_adapter_by_its_name_and_knows_where_its_answers_come_from(page: WritePage, studio: Studio) -> None:
    adapter_id, written_id = _adapter_of(studio, ("f" * 32,))
    library = LibraryPage(studio, translator("en"), "en").actions
    (facet,) = [one for one in library["facets"](LOCAL_OWNER, {})["adapters"] if one["id"] != "base"]
    assert facet == {"id": adapter_id, "name": "Short and warm"}
    shown = library["open"](LOCAL_OWNER, {"id": written_id})
    assert shown["adapter"] == "Short and warm" and "Short and warm" in shown["figures"]
    assert library["lineage"](LOCAL_OWNER, {"id": written_id}) == _do(page, "lineage", id=written_id)


def _adapter_of(studio: Studio, source_ids: tuple[str, ...]) -> tuple[str, str]:
    """A promoted adapter trained on these, and an answer that it wrote."""
    with studio.feedback._database.write() as uow:
        dataset = uow.datasets.add(
            LOCAL_OWNER, task="text", method="dpo", name="", sha256="d" * 64, filter={}, counts={"train": 8, "held_out": 2},
            rows=[DatasetRow(0, "train", {}, source_ids)],
        )  # fmt: skip
        adapter = uow.adapters.add(
            LOCAL_OWNER, task="text", name="Short and warm", base_model_id="scripted", base_sha256="b" * 64, method="dpo",
            dataset_id=dataset.id, recipe="dpo", sha256="a" * 64, size_bytes=1,
        )  # fmt: skip
        uow.promotions.add(LOCAL_OWNER, task="text", base_model_id="scripted", adapter_id=adapter.id, previous_id="base")
        conversation = uow.conversations.add(LOCAL_OWNER)
        written = uow.creations.add(
            LOCAL_OWNER, kind="text", prompt="p", output="It wrote this.", model_id="scripted", adapter_id=adapter.id,
            conversation_id=conversation.id, status="done",
        )  # fmt: skip
        uow.conversations.update(LOCAL_OWNER, conversation.id, head_id=written.id)
        uow.commit()
    return adapter.id, written.id


def _conversation_of(studio: Studio, creation_id: str) -> str:
    with studio.feedback._database.read() as uow:
        return str(uow.creations.get(LOCAL_OWNER, creation_id).conversation_id)


def _learned(page: WritePage) -> dict[str, Any]:
    """The line once nothing is being learned."""
    deadline_s = time.monotonic() + 30
    while time.monotonic() < deadline_s:
        line = _do(page, "taste")
        if line["text"] and not line["learning"]:
            return line
        time.sleep(0.05)
    raise AssertionError("nothing was learned in time")
