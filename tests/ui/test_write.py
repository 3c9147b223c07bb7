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
from storage.records import LOCAL_OWNER
from tests.ui.scripted import ScriptedHost, ScriptedModel
from ui.components.frame import Frame
from ui.handlers import acting
from ui.i18n import translator
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
