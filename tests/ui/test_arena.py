"""The actions of the Arena page and of the versions on the Models page, against a real studio and a scripted model."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.bootstrap import Overrides, build_studio
from engine.errors import BadOptionError, BusyError, GateError, NotFoundError
from engine.settings import Settings
from engine.studio import Studio
from storage.records import LOCAL_OWNER
from tests.ui.scripted import ScriptedHost, ScriptedModel
from tests.ui.trained import add_adapter
from ui.i18n import translator
from ui.tabs.arena import ArenaPage
from ui.tabs.models import ModelsPage

SECRETS = ("candidate", "perplexity", "sha256", "words", "base", "you like")
N = 5


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Studio]:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "data" / "tmp"))
    settings = Settings(data_dir=tmp_path / "data", models_dir=tmp_path / "models", offline=True, no_browser=True)
    made = build_studio(settings, Overrides(text_host=ScriptedHost(ScriptedModel())))
    added = made.models.add_server(LOCAL_OWNER, "Scripted", "http://127.0.0.1:9/v1", "scripted", "")
    made.models.set_default(LOCAL_OWNER, "text", added.id)
    add_adapter(made, added.id, "a" * 32)
    yield made
    made.close()


@pytest.fixture
def arena(studio: Studio) -> ArenaPage:
    return ArenaPage(studio, translator("en"), "en")


def ask(page: Any, type: str, **payload: Any) -> dict[str, Any]:
    """As the browser does: the answer must be JSON."""
    answer: dict[str, Any] = page.actions[type](LOCAL_OWNER, {"type": type, **payload})
    return json.loads(json.dumps(answer))  # type: ignore[no-any-return]


def ready(arena: ArenaPage, run: str) -> dict[str, Any]:
    """The page once a pair or the result is there."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        view = ask(arena, "show", run=run)
        if view["test"]["match"] or view["test"]["result"]:
            return view
        time.sleep(0.02)
    raise AssertionError("nothing to vote on came")


def begin(arena: ArenaPage) -> str:
    return str(ask(arena, "evaluate", adapter_id="a" * 32, n=N)["run"])


def vote_all(arena: ArenaPage, run: str, choice: str | None = None) -> dict[str, Any]:
    """Vote `choice` everywhere, or for the adapter's side; the page at the end."""
    for _ in range(N):
        match = ready(arena, run)["test"]["match"]
        side = choice or ("left" if " you " in match["left"] else "right")
        view = ask(arena, "vote", run=run, match_id=match["id"], choice=side)
    return view


def test_the_list_offers_what_was_trained(arena: ArenaPage) -> None:
    shown = ask(arena, "show")
    assert [one["id"] for one in shown["versions"]] == ["a" * 32] and shown["versions"][0]["result"] is None
    assert shown["in_use"] == shown["open"] == shown["history"] == []


def test_before_the_last_vote_the_page_holds_two_texts_and_how_far_it_is(arena: ArenaPage) -> None:
    run = begin(arena)
    for voted in range(N - 1):
        view = ready(arena, run)
        assert view["history"] == [] and view["test"]["result"] is None and view["test"]["votes"] == voted
        assert set(view["test"]["match"]) == {"id", "context", "prompt", "left", "right"}
        told = json.dumps({**view["test"], "match": {**view["test"]["match"], "prompt": ""}})
        assert not [secret for secret in (*SECRETS, "a" * 32, "Short and direct") if secret in told]
        ask(arena, "vote", run=run, match_id=view["test"]["match"]["id"], choice="tie")
    assert [one["votes"] for one in ask(arena, "show")["open"]] == [N - 1]


def test_a_vote_is_taken_back_and_its_pair_comes_again(arena: ArenaPage) -> None:
    run = begin(arena)
    first = ready(arena, run)["test"]["match"]
    ask(arena, "vote", run=run, match_id=first["id"], choice="left")
    back = ask(arena, "undo", run=run)["test"]
    assert back["match"] == first and back["votes"] == 0
    with pytest.raises(BadOptionError):
        ask(arena, "undo", run=run)
    with pytest.raises(BadOptionError):
        ask(arena, "vote", run=run, match_id=first["id"], choice="middle")


def test_a_clear_win_can_be_promoted_and_rolled_back(studio: Studio, arena: ArenaPage) -> None:
    run = begin(arena)
    result = vote_all(arena, run)["test"]["result"]
    assert (result["verdict"], result["wins"], result["pass"], result["can_promote"]) == ("better", N, True, True)
    assert result["interval"][0] > 0.5 and result["figures"] and result["worst"] == []
    promoted = ask(arena, "promote", run=run, adapter_id="a" * 32)
    assert promoted["switched"] == "Short and direct" and promoted["test"]["result"]["is_promoted"]
    home = ask(arena, "show")
    assert home["in_use"][0]["can_roll_back"] and home["versions"][0]["state"] == "promoted" and len(home["history"]) == 1
    back = ask(arena, "rollback", base_id=home["in_use"][0]["base_id"])
    assert not back["in_use"][0]["can_roll_back"] and [row["kind"] for row in back["history"]] == ["rollback", "promote"]
    with pytest.raises(BadOptionError):
        ask(arena, "rollback", base_id=home["in_use"][0]["base_id"])


def test_versions_for_summaries_stand_beside_those_for_writing_and_are_switched_alone(studio: Studio, arena: ArenaPage) -> None:
    base_id = studio.models.default("text", LOCAL_OWNER)
    for_summaries = add_adapter(studio, base_id, "b" * 32, b"others", task="summary")
    for one in ("a" * 32, for_summaries):
        ask(arena, "promote", adapter_id=one, override="Only a test.")
    view = ask(arena, "show")
    assert [one["task"] for one in view["versions"]] == ["summary", "text"]
    assert {one["task"]: one["base"] for one in view["in_use"]} == {"text": "Scripted", "summary": "Scripted, Summaries"}
    view = ask(arena, "rollback", task="summary", base_id=base_id)
    assert {one["task"]: one["adapter_id"] for one in view["in_use"]} == {"text": "a" * 32, "summary": "base"}
    with pytest.raises(BadOptionError):
        ask(arena, "rollback", task="poems", base_id=base_id)


def test_what_has_not_won_needs_a_reason(arena: ArenaPage) -> None:
    run = begin(arena)
    result = vote_all(arena, run, "bad")["test"]["result"]
    assert result["verdict"] == "unproven" and result["ties"] == N and not result["pass"]
    with pytest.raises(GateError):
        ask(arena, "promote", run=run, adapter_id="a" * 32, override="  ")
    view = ask(arena, "promote", run=run, adapter_id="a" * 32, override="Because.")
    assert view["test"]["result"]["is_promoted"] and "Because." in view["history"][0]["why"]


def test_a_test_of_somebody_s_imagination_is_not_found(arena: ArenaPage) -> None:
    with pytest.raises(NotFoundError):
        ask(arena, "show", run="0" * 32)


def test_versions_are_on_their_models_card(studio: Studio) -> None:
    models = ModelsPage(studio, translator("zh"), "zh")

    def versions(view: dict[str, Any]) -> list[dict[str, Any]]:
        return [one for card in view["cards"] for one in card["adapters"]]

    shown = versions(ask(models, "show"))
    assert [one["name"] for one in shown] == ["Short and direct"] and shown[0]["size_bytes"] > 0
    base_id = shown[0]["base_id"]
    assert versions(ask(models, "rename_adapter", id="a" * 32, name="Brief"))[0]["name"] == "Brief"
    with pytest.raises(GateError):
        ask(models, "promote", id="a" * 32)
    assert versions(ask(models, "promote", id="a" * 32, override="It is short."))[0]["state"] == "promoted"
    with pytest.raises(BusyError):
        ask(models, "remove_adapter", id="a" * 32)
    assert versions(ask(models, "rollback", base_id=base_id))[0]["state"] == "retired"
    assert versions(ask(models, "remove_adapter", id="a" * 32)) == []
    assert "Brief" in json.dumps(ask(ArenaPage(studio, translator("en"), "en"), "show")["history"]), "the history keeps its name"
    assert not (studio.settings.adapters_dir / ("a" * 32)).exists()
