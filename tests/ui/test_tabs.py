"""The actions of the Library, Models and Settings pages against a real studio: what the page gets for what it asks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.bootstrap import Overrides, build_studio
from engine.errors import BadFileError, BadOptionError, NotFoundError
from engine.settings import Settings
from engine.studio import Studio
from engine.types import WriteOptions, WriteRequest
from storage.records import LOCAL_OWNER
from tests.ui.scripted import ScriptedHost, ScriptedModel
from ui.i18n import translator
from ui.tabs.library import FORMATS, LibraryPage
from ui.tabs.models import ModelsPage
from ui.tabs.settings import SettingsPage

SECRET = "sk-very-secret"


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Studio]:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "data" / "tmp"))
    settings = Settings(data_dir=tmp_path / "data", models_dir=tmp_path / "models", offline=True, no_browser=True)
    made = build_studio(settings, Overrides(text_host=ScriptedHost(ScriptedModel())))
    yield made
    made.close()


@pytest.fixture
def library(studio: Studio) -> LibraryPage:
    return LibraryPage(studio, translator("en"), "en")


def ask(tab: Any, type: str, **payload: Any) -> dict[str, Any]:
    """As the browser does: the answer must be JSON."""
    answer: dict[str, Any] = tab.actions[type](LOCAL_OWNER, {"type": type, **payload})
    return json.loads(json.dumps(answer))  # type: ignore[no-any-return]


def upload(studio: Studio, name: str, data: bytes) -> str:
    folder = studio.settings.tmp_dir / "uploaded"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
    return str(folder / name)


def bring_in(studio: Studio, library: LibraryPage, *texts: str) -> list[str]:
    rows = [{"prompt": f"Write {text}", "completion": f"{text} it is", "label": True} for text in texts]
    path = upload(studio, "rows.jsonl", "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode())
    assert ask(library, "import", path=path)["added"] == len(texts)
    assert not Path(path).exists()
    return [item["id"] for item in ask(library, "search")["items"]]


def test_search_open_rate_and_mark(studio: Studio, library: LibraryPage) -> None:
    ids = bring_in(studio, library, "bread", "面包")
    found = ask(library, "search", filter={"query": "面包"}, page=1)
    assert found["total"] == 1 and found["more"] is False
    one = found["items"][0]["id"]
    assert ask(library, "open", id=one)["rating"]["score"] == 1
    rated = ask(library, "rate", id=one, score=-0.5, reasons=["generic"], comment="no")
    assert rated["rating"]["score"] == -0.5 and [r["score"] for r in rated["detail"]["history"]] == [-0.5, 1]
    assert ask(library, "rate", id=one, score=None)["rating"] is None
    assert ask(library, "star", ids=ids, on=True)["changed"] == 2
    assert ask(library, "tag", ids=ids, add=["客户"])["facets"]["tags"] == ["客户"]
    assert ask(library, "trash", ids=[one])["changed"] == 1
    assert [item["id"] for item in ask(library, "search", filter={"trashed": True})["items"]] == [one]
    assert ask(library, "restore", ids=[one])["changed"] == 1


def test_a_conversation_is_opened_where_it_was_and_a_one_shot_fills_the_prompt(studio: Studio, library: LibraryPage) -> None:
    (one_shot,) = bring_in(studio, library, "bread")
    assert ask(library, "write", id=one_shot)["prompt"] == "Write bread"
    conversation = studio.conversations.create(LOCAL_OWNER)
    added = studio.models.add_server(LOCAL_OWNER, "scripted", "http://127.0.0.1:9/v1", "scripted", SECRET)
    studio.models.set_default(LOCAL_OWNER, "text", added.id)
    options = WriteOptions(conversation_id=conversation.id, max_new_tokens=2)
    started = studio.text.write(LOCAL_OWNER, WriteRequest("Hello", options))
    assert ask(library, "write", id=started.creation_ids[0]) == {"conversation_id": conversation.id}
    studio.conversations.trash(LOCAL_OWNER, conversation.id)
    assert ask(library, "write", id=started.creation_ids[0])["prompt"] == "Hello"


@pytest.mark.parametrize("format", FORMATS)
def test_every_export_can_be_downloaded(studio: Studio, library: LibraryPage, format: str) -> None:
    bring_in(studio, library, "bread")
    made = ask(library, "export", format=format, filter={"query": "bread"})
    path = studio.exports.path_of(LOCAL_OWNER, made["url"].removeprefix("/exports/"))
    assert path.name == made["name"] and path.stat().st_size > 0


def test_nothing_outside_the_upload_folder_is_imported(studio: Studio, library: LibraryPage, tmp_path: Path) -> None:
    outside = tmp_path / "secret.jsonl"
    outside.write_text('{"prompt": "a", "completion": "b", "label": true}')
    for path in (str(outside), str(studio.settings.tmp_dir / ".." / ".." / "secret.jsonl"), "", None, "a\0b"):
        with pytest.raises(BadFileError):
            ask(library, "import", path=path)
    assert outside.exists()


def test_bad_actions_are_one_error(library: LibraryPage) -> None:
    with pytest.raises(NotFoundError):
        ask(library, "open", id="0" * 32)
    with pytest.raises(BadOptionError):
        ask(library, "export", format="exe")
    with pytest.raises(BadOptionError):
        ask(library, "search", page="1; drop table")


def test_models_say_what_they_need_and_never_a_key(studio: Studio) -> None:
    page = ModelsPage(studio, translator("zh"), "zh")
    shown = ask(page, "show")
    starter = next(card for card in shown["cards"] if card["is_starter"] and card["task"] == "text")
    assert starter["state"] == "missing" and starter["is_default"] and starter["download_bytes"] > 0
    assert any("\u4e00" <= character <= "\u9fff" for character in starter["description"])
    added = ask(page, "add_server", url="http://127.0.0.1:9/v1", model="tiny", key=SECRET)
    assert SECRET not in json.dumps(added)
    shown = ask(page, "default", id=added["added"], task="text")
    assert [card["id"] for card in shown["cards"] if card["is_default"] and card["task"] == "text"] == [added["added"]]
    shown = ask(page, "remove", id=added["added"])
    assert added["added"] not in [card["id"] for card in shown["cards"]]


def test_why_a_download_failed_is_said_in_the_pages_language(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"name": "SmolLM2", "reason": "the server cannot be reached"}
    said = "SmolLM2 (97 MB) could not be downloaded: the server cannot be reached. Check the network, then try again."
    card = replace(studio.models.cards()[0], error=said, error_key="error.download_failed", error_values=values)
    monkeypatch.setattr(type(studio.models), "cards", lambda *_: (card,))
    errors = [ask(ModelsPage(studio, translator(code), code), "show")["cards"][0]["error"] for code in ("en", "zh")]
    assert errors == [said, "SmolLM2 下载失败：无法连接服务器。请检查网络后重试。"]


def test_settings_are_saved_backed_up_and_a_restore_waits_for_the_next_start(studio: Studio) -> None:
    page = SettingsPage(studio, translator("en"))
    assert ask(page, "set", name="theme", value="dark")["theme"] == "dark"
    assert studio.preferences.get(LOCAL_OWNER).theme == "dark"
    with pytest.raises(BadOptionError):
        ask(page, "set", name="owner", value="x")
    made = ask(page, "backup")
    second = ask(page, "backup")
    assert not Path(made["path"]).exists() and Path(second["path"]).stat().st_size == second["size_bytes"]
    shown = ask(page, "restore", path=upload(studio, "backup.zip", Path(second["path"]).read_bytes()))
    assert shown["staged"] is True
    assert ask(page, "unstage")["staged"] is False
    with pytest.raises(BadFileError, match=r"Nothing was changed\.$") as caught:
        ask(page, "restore", path=upload(studio, "bad.zip", b"PK no zip"))
    assert "import" not in caught.value.message


def test_an_unfinished_reproduction_is_not_done(library: LibraryPage, monkeypatch: pytest.MonkeyPatch) -> None:
    def job(**state: Any) -> None:
        snapshot = SimpleNamespace(error=None, result=None, **state)
        monkeypatch.setattr(type(library.studio.jobs), "get", lambda *_: snapshot)

    job(status="running")
    assert ask(library, "reproduced", job_id="j") == {"done": False}
    job(status="cancelled")
    assert ask(library, "reproduced", job_id="j")["identical"] is None
