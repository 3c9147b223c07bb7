"""The Library's view models: what a row shows, where an excerpt starts, and the page's filter as a CreationFilter."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from engine.errors import BadOptionError
from storage.records import CreationFilter, CreationRecord, LibraryItem, Page, PreferenceRecord, RatingRecord
from ui.view_library import EXCERPT_CHARS, Names, detail_view, filter_from, item_view, one_line, page_view, preference_view

MADE = datetime(2026, 11, 3, 12, tzinfo=UTC)


def creation(**changes: Any) -> CreationRecord:
    made = CreationRecord(
        id="a" * 32, seq=1, owner_id="owner", kind="text", origin="generated", conversation_id=None, context_id=None,
        turn_id="a" * 32, parent_id=None, job_id=None, prompt="Write about bread", output="Warm **bread**.", status="done",
        error=None, finish_reason="stop", model_id="m1", adapter_id="base", seed=7, params={"temperature": 0.0, "system": ""},
        path={"engine": "transformers"}, prompt_tokens=5, output_tokens=4, ttft_s=0.1, duration_s=1.1, media_name=None,
        media_sha256=None, starred=False, tags=("x",), created_at=MADE, updated_at=MADE, trashed_at=None,
    )  # fmt: skip
    return replace(made, **changes)


def preference(**changes: Any) -> PreferenceRecord:
    made = PreferenceRecord("p", 1, "owner", "a" * 32, "b" * 32, "win", "pick", True, True, MADE)
    return replace(made, **changes)


@dataclass(frozen=True)
class Found:
    """The shape of LibraryService's Detail."""

    creation: CreationRecord
    versions: tuple[CreationRecord, ...]
    rating: RatingRecord | None = None
    rating_history: tuple[RatingRecord, ...] = ()
    preferences: tuple[PreferenceRecord, ...] = ()


def test_an_empty_filter_passes_everything() -> None:
    assert filter_from(None) == filter_from({}) == filter_from({"query": "", "kind": "", "from": ""}) == CreationFilter()


def test_a_filter_keeps_what_was_chosen() -> None:
    given = {"query": "面包", "model": "m1", "rated": False, "min_score": 0.5, "starred": True}
    found = filter_from(
        {
            **given,
            "tag": "t",
            "trashed": True,
            "kind": "text",
            "from": "2026-11-03T00:00:00.000Z",
            "to": "2026-11-04T00:00:00+08:00",
        }
    )
    assert (found.query, found.model_id, found.rated, found.min_score, found.starred) == ("面包", "m1", False, 0.5, True)
    assert found.created_from == datetime(2026, 11, 3, tzinfo=UTC)
    assert found.created_to is not None and found.created_to.utcoffset() is not None


@pytest.mark.parametrize("bad", [{"kind": "video"}, {"from": "yesterday"}, {"to": "2026-11-03"}])
def test_an_impossible_filter_is_refused(bad: dict[str, str]) -> None:
    with pytest.raises(BadOptionError):
        filter_from(bad)


def test_a_row_is_short_however_long_the_text_is() -> None:
    long = creation(prompt="p" * 200_000, output="o" * 200_000)
    view = item_view(LibraryItem(long, None), Names())
    assert len(view["title"]) + len(view["excerpt"]) < 2 * EXCERPT_CHARS


def test_an_excerpt_starts_near_the_searched_word() -> None:
    text = "one " * 500 + "needle " + "two " * 500
    assert "needle" in one_line(text, EXCERPT_CHARS, "Needle")
    assert "needle" not in one_line(text, EXCERPT_CHARS)
    assert "面包" in one_line("雨" * 600 + "面包", EXCERPT_CHARS, "面包")


def test_marks_of_markdown_are_not_in_an_excerpt_and_names_are_the_models() -> None:
    view = item_view(LibraryItem(creation(output="# Title\n\n- **Warm** `bread`"), 0.5), Names(models={"m1": "Model One"}))
    assert view["excerpt"] == "Title Warm bread"
    assert (view["model"], view["score"]) == ("Model One", 0.5)


def test_a_page_says_whether_there_is_more() -> None:
    item = LibraryItem(creation(), None)
    assert page_view(Page((item,), 101, 2, 50), Names())["more"] is True
    assert page_view(Page((item,), 100, 2, 50), Names())["more"] is False


def test_a_detail_shows_every_setting_and_the_newest_rating_first() -> None:
    ratings = tuple(RatingRecord(str(n), n, "a" * 32, "owner", score, (), "", n == 2, MADE) for n, score in ((1, 1.0), (2, -1.0)))
    one = creation(params={"temperature": 0.0, "system": "", "notices": [{"key": "k"}]})
    found = Found(one, (one, creation(id="b" * 32)), ratings[1], ratings)
    view = detail_view(found, Names(render=lambda text: f"<p>{text}</p>"), {})
    assert view["params"] == {"temperature": 0.0}
    assert [rating["score"] for rating in view["history"]] == [-1.0, 1.0]
    assert view["html"].startswith("<p>") and view["rating"]["score"] == -1.0
    assert [version["n"] for version in view["versions"]] == [1, 2]
    assert view["can_reproduce"] and not detail_view(Found(creation(origin="edited"), ()), Names(), {})["can_reproduce"]


def test_what_a_summary_found_out_is_no_setting_of_it() -> None:
    found = {
        "sentences": [{"text": "x"}],
        "documents": [{}],
        "document_ids": ["d"],
        "scores": {"support": 1.0},
        "asked": {"text": "x"},
    }
    one = creation(kind="summary", params={"method": "extractive", "focus": "costs?", **found})
    assert detail_view(Found(one, (one,)), Names(), {})["params"] == {"method": "extractive", "focus": "costs?"}


@pytest.mark.parametrize(
    ("changes", "result"),
    [
        ({}, "won"),
        ({"chosen_id": "b" * 32, "rejected_id": "a" * 32}, "lost"),
        ({"outcome": "tie"}, "tie"),
        ({"outcome": "both_bad"}, "both_bad"),
    ],
)
def test_a_preference_is_told_from_the_side_of_the_one_that_is_open(changes: dict[str, Any], result: str) -> None:
    versions = (creation(), creation(id="b" * 32))
    view = preference_view(preference(**changes), versions[0], versions)
    assert (view["result"], view["other_id"], view["other_n"]) == (result, "b" * 32, 2)
