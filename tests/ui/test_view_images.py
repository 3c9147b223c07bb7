"""The Images page's view models: what a form offers, what a batch and a live update say, what a dropped picture told."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from engine.jobs.job import JobSnapshot
from engine.services.image_records import Batch, FoundSettings, ImageChoices, ImageModelChoice, PresetChoice
from engine.services.notices import Notice
from storage.records import CreationRecord, RatingRecord
from ui.i18n import translator
from ui.view_images import batch_view, form_view, found_view, job_view, live_view, note_of, options_of

MADE = datetime(2026, 11, 3, 12, tzinfo=UTC)
T = translator("en")
PARAMS = {
    "style": "noto", "negative": "", "width": 512, "height": 256, "steps": 20, "guidance": 4.0, "scheduler": "euler",
    "strength": None, "transparent": True, "upscale": 1, "preset": "balanced", "n": 2, "init": None, "mask": False,
}  # fmt: skip


def creation(letter: str = "a", **changes: Any) -> CreationRecord:
    made = CreationRecord(
        id=letter * 32, seq=1, owner_id="owner", kind="image", origin="generated", conversation_id=None, context_id=None,
        turn_id="a" * 32, parent_id=None, job_id="j" * 32, prompt="a <b>fox</b>", output="", status="done", error=None,
        finish_reason=None, model_id="sticker", adapter_id="base", seed=7, params=PARAMS, path={}, prompt_tokens=None,
        output_tokens=None, ttft_s=None, duration_s=1.94, media_name="x.png", media_sha256="ab12cd34ef", starred=False, tags=(),
        created_at=MADE, updated_at=MADE, trashed_at=None,
    )  # fmt: skip
    return replace(made, **changes)


def choices(*, state: Any = "installed", **changes: Any) -> ImageChoices:
    model = ImageModelChoice(
        id="sticker", name="Sticker", state=state, fits=True, languages=("en", "zh"), styles=("noto", "unheard-of"),
        pictured_styles=("noto",), schedulers=("euler", "heun"), presets=(PresetChoice("fast", 8),), guidance=4.0, width=512,
        height=512, sizes=((256, 256), (512, 512)), max_side=1024, is_square=True, can_clear=True, can_start=True, can_mask=True,
        has_negative=True,
    )  # fmt: skip
    made = ImageChoices(
        models=(model,), default_model_id="sticker", max_pictures=16, min_side=64, max_side=2048, max_final_side=4096,
        max_steps=150, max_guidance=30.0, upscale_factors=(1, 2, 4), prompt_max_chars=1000,
    )  # fmt: skip
    return replace(made, **changes)


def batch(*creations: CreationRecord, **changes: Any) -> Batch:
    made = Batch(job_id="j" * 32, status="done", prompt="a <b>fox</b>", creations=creations)
    return replace(made, **changes)


def snapshot(rows: list[dict[str, Any]], **changes: Any) -> JobSnapshot:
    made = JobSnapshot("j", 3, "imagine", "running", {}, {"prompt": "a fox", "creations": rows}, None, None, None)
    return replace(made, **changes)


def test_a_form_offers_what_the_model_can_do_and_only_thumbnails_that_exist() -> None:
    view = form_view(choices(), T)
    assert view["model"] == "sticker" and view["missing"] == ""
    styles = view["models"][0]["styles"]
    assert styles[0] == {"id": "noto", "name": "Cartoon", "picture": "/styles/sticker/noto"}
    assert styles[1] == {"id": "unheard-of", "name": "unheard-of", "picture": None}
    assert view["limits"]["enlarge"] == [2, 4] and view["models"][0]["sizes"][0] == [256, 256]


def test_without_a_model_there_is_one_sentence_that_says_where_they_are() -> None:
    view = form_view(choices(state="missing"), T)
    assert view["models"] == [] and view["model"] is None
    assert "Models page" in view["missing"] and view["missing"].count(". ") == 1
    assert form_view(choices(models=()), T)["missing"]


def test_another_model_stands_in_while_the_default_is_missing() -> None:
    missing = replace(choices().models[0], id="big", name="Big", state="missing")
    view = form_view(choices(models=(missing, *choices().models), default_model_id="big"), T)
    assert view["model"] == "sticker" and view["missing"] == ""


def test_a_batch_says_what_its_pictures_share_and_each_picture_all_of_its_settings() -> None:
    rating = RatingRecord("r", 1, "a" * 32, "owner", 0.5, ("colours",), "", True, MADE)
    skipped = creation("b", status="cancelled", finish_reason="skipped", media_sha256=None, media_name=None)
    ratings = {"a" * 32: rating}
    view = batch_view(batch(creation(), skipped, ratings=ratings, picked_id="a" * 32), {"sticker": "Sticker"}, T)
    assert view["title"] == "Cartoon · 512 × 256" and view["picked"] == "a" * 32 and view["source"] is None
    first, second = view["items"]
    assert first["url"] == f"/media/{'a' * 32}?v=ab12cd34" and first["thumb"].endswith("/thumb?v=ab12cd34")
    assert first["rating"] == {"score": 0.5, "reasons": ["colours"], "comment": ""} and first["clear"]
    assert dict(first["facts"])["Sampler"] == "euler" and dict(first["facts"])["Took"] == "1.9 s"
    assert "Without" not in dict(first["facts"]) and "Changed by" not in dict(first["facts"])
    assert second["url"] is None and second["note"] == "skipped"


def test_what_makes_it_again_is_the_options_and_nothing_else() -> None:
    found = options_of(creation(params={**PARAMS, "init": {"creation_id": "c" * 32}, "strength": 0.6, "mask": True}))
    assert found["init_image"] == "c" * 32 and found["strength"] == 0.6 and found["model"] == "sticker"
    assert found["style"] == "noto" and "negative" not in found and "n" not in found and "mask" not in found
    lost = options_of(creation(params={**PARAMS, "init": {"creation_id": None}, "strength": 0.6}))
    assert lost["init_image"] is None
    assert "init_image" not in options_of(creation())


@pytest.mark.parametrize(
    ("status", "reason", "error", "said"),
    [
        ("done", None, None, ""),
        ("queued", None, None, ""),
        ("cancelled", "skipped", None, "skipped"),
        ("cancelled", "cancelled", None, "stopped"),
        ("interrupted", None, None, "interrupted"),
        ("failed", None, "No memory.", "No memory."),
        ("failed", None, None, "failed"),
    ],
)
def test_why_a_picture_is_not_there(status: str, reason: str | None, error: str | None, said: str) -> None:
    assert note_of(status, reason, error, T) == said


def test_a_live_update_has_one_progress_line_and_every_picture() -> None:
    rows = [
        {"id": "a", "status": "done", "step": 20, "total": 20, "preview": None, "media_sha256": "ab12cd34ef"},
        {"id": "b", "status": "running", "step": 5, "total": 20, "preview": "data:image/webp;base64,AA", "media_sha256": None},
        {"id": "c", "status": "queued", "step": 0, "total": 20, "preview": None, "media_sha256": None},
    ]
    progress = {"step": 25, "total": 60, "eta_s": 3.2, "phase": "drawing"}
    view = live_view(snapshot(rows, progress=progress), None, T)
    assert view["line"] == "Drawing 2 of 3 · 3 s left" and view["fraction"] == pytest.approx(25 / 60) and not view["done"]
    assert [item["part"] for item in view["items"]] == [1, 0.25, 0] and view["items"][0]["url"] == "/media/a?v=ab12cd34"
    assert view["items"][1]["preview"].startswith("data:image/")
    assert live_view(snapshot(rows, progress={**progress, "phase": "loading"}), None, T)["line"] == "Loading the model…"
    assert live_view(snapshot(rows, progress={**progress, "eta_s": 240}), None, T)["line"].endswith("4 min left")
    assert "text" in live_view(snapshot(rows, progress={"note": "waiting"}), None, T)["line"]
    done = live_view(snapshot(rows, status="done"), None, T)
    assert done["done"] and done["line"] == ""
    assert job_view(snapshot(rows)) == {"job_id": "j", "kind": "imagine", "status": "running", "prompt": "a fox", "n": 3}


def test_a_dropped_picture_names_what_was_found_and_what_cannot_be_used() -> None:
    notice = Notice("notice.unheard_of", {}, "There is no sampler “Euler a” here.")
    found = FoundSettings("a fox", {"seed": 0, "width": 256, "height": 256, "steps": 30}, "Another 1.0", None, (notice,))
    view = found_view(found, T)
    assert view["found"] == ["prompt", "seed", "steps", "size"] and view["tool"] == "Another 1.0"
    assert view["notices"] == ["There is no sampler “Euler a” here."]
    assert found_view(FoundSettings("", {}, None, None, ()), T)["found"] == []
