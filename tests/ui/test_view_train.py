"""A training's events as the page's figures, samples, log and alarms; a row's sparkline; the settings' form."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields
from typing import Any, Literal

import pytest

from engine.training.args import TrainingSettings
from engine.training.presets import settings_for
from storage.records import RunEventRecord
from ui.i18n import LANGUAGES, messages, translator
from ui.view_train import MAX_ROWS, RARE, new_events, spark, thinned
from ui.view_train_form import field_notes, form_groups, in_order, label_of

T = translator("en")


def event(n: int, kind: str, **body: Any) -> RunEventRecord:
    return RunEventRecord("a" * 32, n, kind, body)


def metrics(n: int, **figures: Any) -> RunEventRecord:
    return event(n, "metrics", **figures)


def test_events_become_what_the_page_adds() -> None:
    seen = new_events(
        [
            event(3, "phase", phase="train", step=0, total=9),
            metrics(4, step=1, loss=0.7, note="no figure", ok=True),
            event(5, "sample", step=0, index=0, prompt="Hello", text="Hi.", seed=7),
            event(6, "log", text="a line"),
            event(7, "waiting", on=True),
        ],
        T,
        "en",
    )
    assert seen["metrics"] == [{"step": 1, "loss": 0.7}]
    assert seen["samples"] == [{"step": 0, "index": 0, "prompt": "Hello", "text": "Hi."}]
    assert (seen["log"], seen["after"]) == (["a line"], 7)


def test_nothing_new_says_nothing_new() -> None:
    seen = new_events([], T, "en")
    assert seen["after"] == 0 and not seen["metrics"]


def test_a_figure_that_is_no_number_is_no_json_and_no_point() -> None:
    rows = new_events([metrics(1, step=1, loss=float("nan"), margin=float("inf"), accuracy=0.5)], T, "en")["metrics"]
    assert rows == [{"step": 1, "accuracy": 0.5}]
    json.dumps(rows, allow_nan=False)


def test_the_same_alarm_is_said_once_and_an_unknown_one_in_its_own_words() -> None:
    alarms = [event(n, "alarm", name="something_new", message="Look here.") for n in (1, 2)]
    assert new_events(alarms, T, "en")["alarms"] == [{"name": "something_new", "text": "Look here."}]


def test_alarms_are_said_in_the_page_s_language() -> None:
    drift = event(1, "alarm", name="length", message="Answers are 2.5 times shorter.", values={"times": 0.4})
    guard = event(2, "alarm", name="fluency", message="The language suffers: x.", values={"figure": "odd_share"})
    said = [one["text"] for one in new_events([drift, guard], translator("zh"), "zh")["alarms"]]
    assert "2.5" in said[0] and "异常字符" in said[1] and not any("train." in text for text in said)
    unknown = event(3, "alarm", name="fluency", message="The language suffers.", values={})
    assert new_events([unknown], translator("zh"), "zh")["alarms"][0]["text"] == "The language suffers."
    assert new_events([drift], T, "en")["alarms"][0]["text"] == "Answers are 2.5 times shorter."


@pytest.mark.parametrize("language", LANGUAGES)
def test_of_alarms_of_one_kind_the_newest_is_said(language: str) -> None:
    softer = [
        event(n, "alarm", name="softened", message=f"{p} %.", values={"figure": "perplexity", "percent": p})
        for n, p in ((1, 75), (2, 56))
    ]
    (said,) = new_events(softer, translator(language), language)["alarms"]
    assert "56" in said["text"] and "train." not in said["text"]


def test_many_rows_are_thinned_but_seldom_figures_and_the_end_stay() -> None:
    rows: list[dict[str, Any]] = [{"step": i, "loss": 1.0} for i in range(20_000)]
    rows[777][RARE[0]] = 0.5
    kept = thinned(rows)
    assert len(kept) <= MAX_ROWS + 2
    assert rows[777] in kept and kept[-1]["step"] == 19_999 and kept[0]["step"] == 0
    assert [row["step"] for row in kept] == sorted(row["step"] for row in kept)


def test_a_sparkline_shows_held_out_figures_where_there_are_some() -> None:
    events = [metrics(i, step=i, loss=1.0 - i / 10) for i in range(5)]
    assert spark(events) == [1.0, 0.9, 0.8, 0.7, 0.6]
    events += [metrics(9, step=2, held_out_accuracy=0.5), metrics(10, step=4, held_out_accuracy=0.75)]
    assert spark(events) == [0.5, 0.75]
    assert spark(events[:1]) == []


def test_a_step_done_again_after_a_resume_counts_once() -> None:
    assert spark([metrics(1, step=1, loss=1.0), metrics(2, step=2, loss=0.9), metrics(3, step=2, loss=0.8)]) == [1.0, 0.8]


@dataclass(frozen=True)
class Example:
    """Settings of every type."""

    method: str = "dpo"
    """Chosen elsewhere."""
    lora_rank: int = 16
    grain: int = 2
    """How
    fine."""
    beta: float = 0.1
    shape: Literal["round", "square"] = "round"
    names: tuple[str, ...] = ("a", "b")
    limit: float | None = None
    is_slow: bool = False
    word: str = "x"


def test_a_form_is_made_from_fields_types_and_docstrings() -> None:
    groups = form_groups(Example(beta=0.5), Example(), {"word": ("x", "y")}, T)
    made = {field["name"]: field for group in groups for field in group["fields"]}
    assert list(field_notes(Example)) == ["method", "grain"]
    assert set(made) == {field.name for field in fields(Example)} - {"method"}
    assert made["grain"]["note"] == "How fine.", "a setting without words has its docstring"
    assert made["lora_rank"]["note"] == messages("en")["train.setting.lora_rank.note"]
    kinds = {name: field["type"] for name, field in made.items()}
    assert kinds == dict(
        lora_rank="int", grain="int", beta="float", shape="choice", names="list", limit="float", is_slow="bool", word="choice"
    )  # fmt: skip
    assert made["shape"]["choices"] == ["round", "square"] and made["word"]["choices"] == ["x", "y"]
    assert (made["beta"]["value"], made["beta"]["preset"]) == (0.5, 0.1)
    assert made["limit"]["is_optional"] and not made["beta"]["is_optional"]
    assert [group["name"] for group in groups] == ["learning", "adapter", "loss"]
    json.dumps(groups)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_setting_has_a_name_and_a_sentence(language: str) -> None:
    words = messages(language)
    for field in fields(TrainingSettings):
        assert f"train.setting.{field.name}" in words and words[f"train.setting.{field.name}.note"]
    settings = settings_for("kto", "careful", examples=40, device_kind="cpu")
    groups = form_groups(settings, settings, {}, translator(language))
    made = [field for group in groups for field in group["fields"]]
    assert len(made) == len(fields(TrainingSettings)) - 1
    assert all(field["label"] and field["note"] for field in made)
    names = re.compile(r"[a-z]_[a-z]|[A-Z]{4,}|[()]\"")
    assert not [field["note"] for field in made if names.search(field["note"])], "names of the code are no words for a page"


def test_settings_come_in_the_form_s_order_whatever_a_database_makes_of_them() -> None:
    settings = settings_for("dpo", "quick", examples=20, device_kind="cpu").to_json()
    shown = list(in_order(dict(sorted(settings.items())), T))
    assert set(shown) == set(settings)
    assert shown.index("learning_rate") < shown.index("lora_rank") < shown.index("beta") < shown.index("fluency_limit")


def test_an_unknown_setting_is_called_by_its_name() -> None:
    assert label_of("brand_new", T) == "brand new"
