"""The Images page's actions against a real studio with a model that draws to order: what the page gets for what it asks."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from engine.bootstrap import Overrides, build_studio
from engine.errors import BadFileError, BadOptionError, NotFoundError
from engine.services import expansion
from engine.settings import Settings
from engine.studio import Studio
from engine.types import WriteRequest
from storage.records import LOCAL_OWNER
from tests.engine.services.fakes import wait_for
from tests.engine.services.image_studio import FakeImageHost, FakeImageModel
from tests.ui.drawn import catalog_that_draws
from tests.ui.scripted import ScriptedHost, ScriptedModel
from ui.i18n import translator
from ui.tabs.images import BATCHES_SHOWN, ImagesPage
from ui.tabs.library import LibraryPage


@pytest.fixture
def model() -> FakeImageModel:
    return FakeImageModel()


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: FakeImageModel) -> Iterator[Studio]:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "data" / "tmp"))
    settings = Settings(data_dir=tmp_path / "data", models_dir=tmp_path / "models", offline=True, no_browser=True)
    parts = Overrides(
        text_host=ScriptedHost(ScriptedModel()),
        image_host=FakeImageHost(model),
        catalog=catalog_that_draws(tmp_path / "sticker"),
    )
    made = build_studio(settings, parts)
    yield made
    made.close()


@pytest.fixture
def page(studio: Studio) -> ImagesPage:
    return ImagesPage(studio, translator("en"), "en")


def ask(page: ImagesPage | LibraryPage, type: str, **payload: Any) -> dict[str, Any]:
    """As the browser does: the answer must be JSON."""
    answer: dict[str, Any] = page.actions[type](LOCAL_OWNER, {"type": type, **payload})
    return json.loads(json.dumps(answer))  # type: ignore[no-any-return]


def uploaded(studio: Studio, data: bytes, name: str = "picture.png") -> str:
    folder = studio.settings.tmp_dir / "uploaded"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
    return str(folder / name)


def png(colour: str = "red") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(file, "PNG")
    return file.getvalue()


def draw(page: ImagesPage, prompt: str = "a fox", *, key: str = "k", source: str | None = None, **options: Any) -> dict[str, Any]:
    """Start, follow to the end, and return the batch as it is then."""
    wanted = {"n": 2, "width": 64, "height": 64, **options}
    started = ask(page, "imagine", prompt=prompt, key=key, source=source, options=wanted)
    updates = follow(page, started["job_id"])
    assert updates[-1]["done"] and updates[-1]["error"] is None
    batch: dict[str, Any] = ask(page, "batch", job_id=started["job_id"])["batch"]
    return batch


def follow(page: ImagesPage, job_id: str) -> list[dict[str, Any]]:
    async def collect() -> list[dict[str, Any]]:
        return [update async for update in page.follow(LOCAL_OWNER, job_id)]

    return asyncio.run(collect())


def test_a_prompt_becomes_a_batch_with_pictures(page: ImagesPage) -> None:
    batch = draw(page, "a <b>fox</b>", style="flat", seed=7)
    assert batch["prompt"] == "a <b>fox</b>" and batch["status"] == "done" and batch["title"] == "Flat · 64 × 64"
    assert [item["seed"] for item in batch["items"]] == [7, 8] and all(item["url"] for item in batch["items"])
    opened = ask(page, "open")
    assert [one["job_id"] for one in opened["batches"]] == [batch["job_id"]] and not opened["more"] and opened["jobs"] == []
    assert opened["form"]["model"] == "sticker" and opened["form"]["missing"] == ""
    assert ask(page, "item", id=batch["items"][1]["id"])["batch"]["job_id"] == batch["job_id"]


def test_the_same_click_twice_is_one_job_and_a_running_one_is_in_every_answer(page: ImagesPage, model: FakeImageModel) -> None:
    model.hold()
    first = ask(page, "imagine", prompt="one", key="same", options={"n": 2})
    again = ask(page, "imagine", prompt="one", key="same", options={"n": 2})
    assert first["job_id"] == again["job_id"] and len(again["jobs"]) == 1
    second = ask(page, "imagine", prompt="two", key="other", options={"n": 1})
    assert [(job["prompt"], job["n"]) for job in second["jobs"]] == [("one", 2), ("two", 1)]
    wait_for(lambda: model.requests)
    assert ask(page, "open")["jobs"][0]["status"] == "running"
    assert ask(page, "cancel", job_id=second["job_id"])["status"] == "cancelled"
    assert ask(page, "skip", job_id=first["job_id"])["skipped"]
    model.release(1000)
    follow(page, first["job_id"])
    notes = [item["note"] for item in ask(page, "batch", job_id=first["job_id"])["batch"]["items"]]
    assert notes == ["skipped", ""]


def test_a_failure_is_said_in_the_page_s_language_and_what_is_done_stays(studio: Studio, model: FakeImageModel) -> None:
    page = ImagesPage(studio, translator("zh"), "zh")
    model.fail_at = 2
    model.failure = NotFoundError("Nothing with this id.", key="error.not_found")
    started = ask(page, "imagine", prompt="a fox", key="k", options={"n": 3})
    last = follow(page, started["job_id"])[-1]
    assert last["done"] and last["error"] and not last["error"].isascii()
    batch = ask(page, "batch", job_id=started["job_id"])["batch"]
    assert batch["can_resume"] and [bool(item["url"]) for item in batch["items"]] == [True, False, False]
    model.fail_at = None
    ask(page, "resume", job_id=started["job_id"])
    follow(page, started["job_id"])
    assert all(item["url"] for item in ask(page, "batch", job_id=started["job_id"])["batch"]["items"])


def test_rating_picking_starring_and_the_trash(page: ImagesPage) -> None:
    batch = draw(page)
    first, second = (item["id"] for item in batch["items"])
    assert ask(page, "rate", id=first, score=0.5, reasons=["colours"], comment="so red")["rating"]["score"] == 0.5
    before = ask(page, "open")["next_training_in"]
    assert ask(page, "prefer", id=first, others=[second])["next_training_in"] <= before
    assert ask(page, "star", id=first, on=True) == {"starred": True}
    seen = ask(page, "batch", job_id=batch["job_id"])["batch"]
    assert seen["picked"] == first and seen["items"][0]["starred"]
    assert seen["items"][0]["rating"] == {"score": 0.5, "reasons": ["colours"], "comment": "so red"}
    with pytest.raises(BadOptionError):
        ask(page, "prefer", id=first, others=second)
    ask(page, "trash", ids=[first, second])
    assert ask(page, "open")["batches"] == []
    ask(page, "restore", ids=[second])
    assert [item["id"] for item in ask(page, "open")["batches"][0]["items"]] == [second]


def test_earlier_batches_come_page_by_page(page: ImagesPage) -> None:
    jobs = [draw(page, f"picture {number}", key=str(number), n=1)["job_id"] for number in range(BATCHES_SHOWN + 2)]
    first = ask(page, "open")
    assert first["more"] and [one["job_id"] for one in first["batches"]] == jobs[:1:-1]
    rest = ask(page, "earlier", before=first["batches"][-1]["job_id"])
    assert not rest["more"] and [one["job_id"] for one in rest["batches"]] == [jobs[1], jobs[0]]


def test_a_file_to_start_from_must_have_been_uploaded(page: ImagesPage, studio: Studio, tmp_path: Path) -> None:
    batch = draw(page, source=uploaded(studio, png()), strength=0.5)
    assert batch["source"] == {"id": None} and batch["options"]["init_image"] is None
    outside = tmp_path / "secret.png"
    outside.write_bytes(png())
    for path in (str(outside), str(studio.settings.tmp_dir / ".." / ".." / "secret.png"), "a\0b"):
        with pytest.raises(BadFileError):
            ask(page, "imagine", prompt="a fox", key="x", source=path, options={})
        with pytest.raises(BadFileError):
            ask(page, "read", path=path)


def test_a_picture_of_ours_brings_back_what_makes_it_again(page: ImagesPage, studio: Studio) -> None:
    batch = draw(page, "a fox", style="line", seed=5, negative="blue", guidance=6.5, steps=4)
    item = batch["items"][1]
    data = studio.library.media_path(LOCAL_OWNER, item["id"]).read_bytes()
    found = ask(page, "read", path=uploaded(studio, data))["settings"]
    assert found["prompt"] == "a fox" and found["creation_id"] == item["id"]
    wanted = {"style": "line", "seed": 6, "negative": "blue", "guidance": 6.5, "steps": 4, "width": 64, "height": 64}
    assert {name: found["options"][name] for name in wanted} == wanted
    assert {"prompt", "seed", "style", "size"} <= set(found["found"])
    assert ask(page, "read", path=uploaded(studio, png())) == {"settings": None}
    with pytest.raises(BadFileError):
        ask(page, "read", path=uploaded(studio, b"<html>"))


def test_the_library_shows_a_picture_and_hands_back_its_settings(page: ImagesPage, studio: Studio) -> None:
    batch = draw(page, "a fox", style="line", seed=5, n=1)
    library = LibraryPage(studio, translator("en"), "en")
    (row,) = ask(library, "search")["items"]
    assert row["picture"] and row["kind"] == "image"
    detail = ask(library, "open", id=row["id"])
    assert detail["image_url"] and detail["can_reproduce"] and ["Style", "Line"] in detail["facts"] and detail["note"] == ""
    again = ask(library, "draw", id=row["id"])
    assert again["prompt"] == "a fox" and again["options"]["seed"] == 5 and again["options"]["style"] == "line"
    job_id = ask(library, "reproduce", id=row["id"])["job_id"]
    wait_for(lambda: ask(library, "reproduced", job_id=job_id)["done"])
    assert ask(library, "reproduced", job_id=job_id)["identical"] is True
    job_id = ask(page, "redraw", id=batch["items"][0]["id"])["job_id"]
    wait_for(lambda: ask(page, "redrawn", job_id=job_id)["done"])
    assert "every pixel" in ask(page, "redrawn", job_id=job_id)["message"]


def test_variations_and_enlarging_are_batches_of_their_own(page: ImagesPage) -> None:
    batch = draw(page, n=1, seed=3)
    picture = batch["items"][0]["id"]
    varied = ask(page, "vary", id=picture, n=3, key="v")
    follow(page, varied["job_id"])
    seeds = [item["seed"] for item in ask(page, "batch", job_id=varied["job_id"])["batch"]["items"]]
    assert len(seeds) == 3 and 3 not in seeds
    larger = ask(page, "enlarge", id=picture, factor=2, key="e")
    follow(page, larger["job_id"])
    assert "enlarged 2×" in ask(page, "batch", job_id=larger["job_id"])["batch"]["title"]


def test_what_is_no_picture_has_no_address_here(page: ImagesPage, studio: Studio) -> None:
    added = studio.models.add_server(LOCAL_OWNER, "scripted", "http://127.0.0.1:9/v1", "scripted", "")
    studio.models.set_default(LOCAL_OWNER, "text", added.id)
    started = studio.text.write(LOCAL_OWNER, WriteRequest("Hello"))
    for creation_id in (started.creation_ids[0], "0" * 32):
        with pytest.raises(NotFoundError):
            ask(page, "item", id=creation_id)


def test_the_text_model_s_detail_is_polled_to_its_end(page: ImagesPage, studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expansion, "_SAMPLING", replace(expansion._SAMPLING, max_new_tokens=4))
    added = studio.models.add_server(LOCAL_OWNER, "scripted", "http://127.0.0.1:9/v1", "scripted", "")
    studio.models.set_default(LOCAL_OWNER, "text", added.id)
    job_id = ask(page, "expand", prompt="a fox", key="k")["job_id"]
    wait_for(lambda: ask(page, "expanded", job_id=job_id)["done"])
    ended = ask(page, "expanded", job_id=job_id)
    assert ended == {"text": "a fox, seed0 w2 w3 w4", "done": True, "ok": True, "error": None}
