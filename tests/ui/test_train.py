"""The actions of the Train page against a real studio whose training is a stand-in: rows in, plan, start, watch, stop, go on."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.bootstrap import Overrides, build_studio
from engine.errors import BadOptionError, NotEnoughDataError, NotFoundError
from engine.settings import Settings
from engine.studio import Studio
from engine.types import SummaryOptions, SummaryRequest
from storage.records import LOCAL_OWNER, CreationFilter
from tests.engine.services.training_stand_in import MODULE
from tests.tiny import make_model
from tests.ui.scripted import ScriptedHost, ScriptedModel
from ui.i18n import translator
from ui.tabs.train import TrainPage

LIMIT_S = 60.0
FORM = {"preset": "quick", "recipe": None, "base": None, "dataset": None, "name": "", "settings": {}}


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Studio]:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "data" / "tmp"))
    settings = Settings(data_dir=tmp_path / "data", models_dir=tmp_path / "models", offline=True, no_browser=True)
    made = build_studio(settings, Overrides(text_host=ScriptedHost(ScriptedModel()), training_module=MODULE))
    yield made
    for run in made.training.runs(LOCAL_OWNER):
        made.jobs.cancel(LOCAL_OWNER, run.run_id)
    made.close()


@pytest.fixture
def page(studio: Studio) -> TrainPage:
    return TrainPage(studio, translator("en"), "en")


@pytest.fixture
def ready(studio: Studio, page: TrainPage, tmp_path: Path) -> TrainPage:
    """With a model on this machine and enough pairs."""
    folder = tmp_path / "tiny"
    make_model(folder)
    studio.models.set_default(LOCAL_OWNER, "text", studio.models.add_local(LOCAL_OWNER, folder, "Tiny").id)
    bring_in(studio, page, 14)
    return page


def ask(page: TrainPage, type: str, **payload: Any) -> dict[str, Any]:
    """As the browser does: the answer must be JSON."""
    return json.loads(json.dumps(page.actions[type](LOCAL_OWNER, {"type": type, **payload}), allow_nan=False))  # type: ignore[no-any-return]


def bring_in(studio: Studio, page: TrainPage, n: int) -> None:
    rows = [
        {"prompt": f"Write about subject {i}.", "chosen": f"Short {i}.", "rejected": f"A long one about {i}."} for i in range(n)
    ]
    folder = studio.settings.tmp_dir / "uploaded"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    assert ask(page, "import", path=str(folder / "rows.jsonl"))["added"] == n


def until(page: TrainPage, run_id: str, *statuses: str) -> dict[str, Any]:
    """Ask as the page does until the run has one of these states; the view, with every figure that came."""
    after, rows, view = 0, [], {}
    ends_s = time.monotonic() + LIMIT_S
    while view.get("status") not in statuses:
        assert time.monotonic() < ends_s, view
        seen = ask(page, "run", id=run_id, after=after)
        assert seen["since"] == after
        after, rows, view = seen["after"], rows + seen["metrics"], {**view, **seen["view"]}
        time.sleep(0.05)
    return {**view, "rows": rows}


def test_an_empty_studio_says_why_it_cannot_start(page: TrainPage) -> None:
    shown = ask(page, "show")
    assert shown["runs"] == [] and shown["data"]["datasets"] == [] and shown["data"]["missing"]
    plan = ask(page, "plan", form=FORM)
    assert plan["can_start"] is False and plan["is_enough"] is False
    assert any("more pairs" in reason for reason in plan["reasons"]) and plan["estimates"] == {}
    assert [field["name"] for group in plan["settings"] for field in group["fields"]]


def test_reasons_are_said_in_the_page_s_language(studio: Studio) -> None:
    plan = ask(TrainPage(studio, translator("zh"), "zh"), "plan", form=FORM)
    assert plan["reasons"] and all(re.search("[\u4e00-\u9fff]", reason) for reason in plan["reasons"])


def test_a_plan_has_time_and_memory_for_each_preset(ready: TrainPage) -> None:
    plan = ask(ready, "plan", form=FORM)
    assert plan["can_start"] and plan["reasons"] == [] and plan["method"] == "dpo" and plan["base_name"] == "Tiny"
    assert set(plan["estimates"]) == {"quick", "balanced", "careful"}
    assert all(one["duration_s"] > 0 and one["memory_bytes"] > 0 for one in plan["estimates"].values())
    assert plan["rows"]["train"] + plan["rows"]["held_out"] == 14


def test_a_changed_setting_is_planned_and_a_bad_one_is_a_reason(ready: TrainPage) -> None:
    def field(plan: dict[str, Any], name: str) -> dict[str, Any]:
        return next(one for group in plan["settings"] for one in group["fields"] if one["name"] == name)

    changed = field(ask(ready, "plan", form={**FORM, "settings": {"lora_rank": 5}}), "lora_rank")
    assert changed["value"] == 5 and changed["preset"] != 5
    refused = ask(ready, "plan", form={**FORM, "settings": {"lora_rank": "wide"}})
    assert not refused["can_start"] and "LoRA rank" in refused["reasons"][0]
    unknown = ask(ready, "plan", form={**FORM, "settings": {"speed": 9}})
    assert not unknown["can_start"] and "speed" in unknown["reasons"][0]


def test_a_run_is_watched_to_its_end(ready: TrainPage) -> None:
    started = ask(ready, "start", form=FORM, key="k1")
    assert ask(ready, "start", form=FORM, key="k1") == started
    view = until(ready, started["run_id"], "done", "failed")
    assert view["status"] == "done" and not view["is_live"] and view["error"] is None
    steps = [row["step"] for row in view["rows"]]
    assert steps == sorted(set(steps)) and len(steps) > 3
    assert view["actions"] == ["evaluate"] and view["title"] and view["settings"]["method"] == "dpo"
    (row,) = ask(ready, "runs")["runs"]
    assert row["next"] == "evaluate" and row["status"] == "done" and len(row["spark"]) > 3 and row["examples"] == 14
    again = ask(ready, "run", id=started["run_id"], after=0)
    assert [one["step"] for one in again["metrics"]] == steps


def test_an_answer_that_says_a_run_is_over_has_the_last_of_its_events(
    studio: Studio, ready: TrainPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = ask(ready, "start", form=FORM)["run_id"]
    view = ready.runs_of.view

    def view_after_the_end(*arguments: Any, **options: Any) -> Any:
        """As if the run ended just while the page asked."""
        ends_s = time.monotonic() + LIMIT_S
        while not studio.jobs.get(LOCAL_OWNER, run_id).is_final and time.monotonic() < ends_s:
            time.sleep(0.01)
        return view(*arguments, **options)

    monkeypatch.setattr(ready.runs_of, "view", view_after_the_end)
    seen = ask(ready, "run", id=run_id, after=0)
    assert not seen["view"]["is_live"] and seen["after"] == studio.training.events(LOCAL_OWNER, run_id)[-1].n
    assert seen["metrics"][-1]["step"] == 12


def test_another_window_hears_of_each_change(ready: TrainPage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN", json.dumps({"steps": 400, "step_s": 0.02}))
    seen = [ask(ready, "changes")["changes"]]
    run_id = ask(ready, "start", form=FORM)["run_id"]
    until(ready, run_id, "running")
    seen.append(ask(ready, "changes")["changes"])
    assert ask(ready, "changes")["changes"] == ask(ready, "runs")["changes"] == seen[-1], "progress is no change"
    ask(ready, "stop", id=run_id)
    until(ready, run_id, "interrupted")
    seen.append(ask(ready, "changes")["changes"])
    ask(ready, "resume", id=run_id)
    until(ready, run_id, "running")
    seen.append(ask(ready, "run", id=run_id)["changes"])
    assert len(set(seen)) == 4
    ask(ready, "cancel", id=run_id)


def test_stop_and_go_on_is_the_same_run(ready: TrainPage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN", json.dumps({"steps": 400, "step_s": 0.02}))
    run_id = ask(ready, "start", form=FORM)["run_id"]
    until(ready, run_id, "running")
    ask(ready, "stop", id=run_id)
    assert until(ready, run_id, "interrupted")["actions"] == ["resume"]
    assert ask(ready, "runs")["runs"][0]["next"] == "resume"
    monkeypatch.setenv("STAND_IN", json.dumps({"steps": 12, "step_s": 0.01}))
    ask(ready, "resume", id=run_id)
    assert until(ready, run_id, "done", "failed")["status"] == "done"
    assert len(ask(ready, "runs")["runs"]) == 1


def test_a_failure_says_why_in_the_page_s_language(studio: Studio, ready: TrainPage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN", json.dumps({"fail_at": 2}))
    run_id = ask(ready, "start", form=FORM)["run_id"]
    assert until(ready, run_id, "failed")["error"] == "No luck."
    chinese = ask(TrainPage(studio, translator("zh"), "zh"), "run", id=run_id, after=0)["view"]["error"]
    assert chinese and "\u4e00" <= chinese[0] <= "\u9fff"


def test_a_frozen_dataset_can_be_trained_on_and_exported(studio: Studio, ready: TrainPage) -> None:
    until(ready, ask(ready, "start", form=FORM)["run_id"], "done", "failed")
    (dataset,) = ask(ready, "show")["data"]["datasets"]
    plan = ask(ready, "plan", form={**FORM, "dataset": dataset["id"]})
    assert plan["can_start"] and plan["suggested"] is None
    for made in (ask(ready, "export", dataset=dataset["id"]), ask(ready, "export", format="dpo")):
        assert made["rows"] == 14
        assert studio.exports.path_of(LOCAL_OWNER, made["url"].removeprefix("/exports/")).name == made["name"]


def test_summaries_are_trained_on_from_ratings_of_their_own(studio: Studio, ready: TrainPage) -> None:
    options = SummaryOptions(method="abstractive", n=2, length={"words": 6})
    for number in range(15):
        report = f"Report {number} is about the mill. The mill burned down. Nobody was hurt in the fire."
        made = studio.summary.summarize(LOCAL_OWNER, SummaryRequest(report, options=options))
        ends_s = time.monotonic() + LIMIT_S
        while not studio.jobs.get(LOCAL_OWNER, made.job_id).is_final:
            assert time.monotonic() < ends_s
            time.sleep(0.02)
        studio.feedback.prefer(LOCAL_OWNER, LOCAL_OWNER, *made.creation_ids)
    form = {**FORM, "task": "summary"}
    plan, text = ask(ready, "plan", form=form), ask(ready, "plan", form=FORM)
    assert "15 usable ratings: 15 pairs" in plan["headline"] and "14 pairs" in text["headline"]
    assert "several summaries" in plan["hint"] and plan["can_start"] and plan["task"] == "summary"
    run_id = ask(ready, "start", form=form)["run_id"]
    assert until(ready, run_id, "done", "failed")["status"] == "done"
    (row,) = ask(ready, "runs")["runs"]
    assert (row["task"], row["next"]) == ("summary", "evaluate")
    (adapter,) = studio.adapters.list(LOCAL_OWNER, "summary")
    assert studio.adapters.list(LOCAL_OWNER, "text") == () and adapter.record.run_id == run_id
    data = ask(ready, "show", task="summary")["data"]
    assert [one["train"] + one["held_out"] for one in data["datasets"]] == [15] and "mill" in data["examples"][0]["prompt"]
    assert ask(ready, "show")["data"]["datasets"] == []
    with pytest.raises(BadOptionError):
        ask(ready, "plan", form={**FORM, "task": "poems"})


def test_a_part_of_the_ratings_can_be_frozen(studio: Studio, ready: TrainPage) -> None:
    ids = [item.creation.id for item in studio.library.search(LOCAL_OWNER, LOCAL_OWNER, CreationFilter()).items]
    studio.library.tag(LOCAL_OWNER, ids, add=["mine"])
    made = ask(ready, "freeze", filter={"tag": "mine", "model": "", "from": None, "starred": False}, name="Mine")
    assert made["title"].startswith("Mine") and studio.datasets.get(LOCAL_OWNER, made["id"]).filter == {"tag": "mine"}
    assert made["id"] in [one["id"] for one in ask(ready, "show")["data"]["datasets"]]
    with pytest.raises(NotEnoughDataError):
        ask(ready, "freeze", filter={"starred": True})


def test_what_is_not_there_is_not_found(ready: TrainPage) -> None:
    for action in ("run", "stop", "resume", "evaluate", "promote"):
        with pytest.raises(NotFoundError):
            ask(ready, action, id="0" * 32, after=0)
    for bad in ({"form": None}, {"form": {"preset": "huge"}}, {"form": {**FORM, "settings": [1]}}):
        with pytest.raises(BadOptionError):
            ask(ready, "plan", **bad)
    with pytest.raises(BadOptionError):
        ask(ready, "export", format="csv")


def test_without_an_adapter_there_is_nothing_to_test(ready: TrainPage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN", json.dumps({"fail_at": 1}))
    run_id = ask(ready, "start", form=FORM)["run_id"]
    until(ready, run_id, "failed")
    with pytest.raises(BadOptionError):
        ask(ready, "evaluate", id=run_id)
