"""The Summarise page's actions against a real studio with a text model that writes to order."""

from __future__ import annotations

import asyncio
import io
import json
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from engine.bootstrap import Overrides, build_studio
from engine.errors import BadFileError, BadOptionError, NotFoundError
from engine.settings import Settings
from engine.studio import Studio
from storage.records import LOCAL_OWNER
from tests.engine.services.fakes import FakeEncoders
from tests.engine.summary import papers
from tests.ui.scripted import ScriptedHost, ScriptedModel
from ui.files import add_file_routes
from ui.i18n import translator
from ui.tabs.summarize import SummarizePage

MILL = (
    "The old mill at Harrow burned down on Tuesday night. Nobody was hurt in the fire. The owner had sold the building to the "
    "council for 40,000 crowns in March.\n\nFirefighters from three villages fought the flames until dawn. The council wants to "
    "build a library where the mill stood. It will decide on the plan in June."
)


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Studio]:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "data" / "tmp"))
    settings = Settings(data_dir=tmp_path / "data", models_dir=tmp_path / "models", offline=True, no_browser=True)
    parts = Overrides(text_host=ScriptedHost(ScriptedModel()), encoders=FakeEncoders([]))
    made = build_studio(settings, parts)
    monkeypatch.setattr(type(made.models), "require", lambda *_: None)
    yield made
    made.close()


@pytest.fixture
def page(studio: Studio) -> SummarizePage:
    return SummarizePage(studio, translator("en"), "en")


def ask(page: SummarizePage, type: str, **payload: Any) -> dict[str, Any]:
    """As the browser does: the answer must be JSON."""
    answer: dict[str, Any] = page.actions[type](LOCAL_OWNER, {"type": type, **payload})
    return json.loads(json.dumps(answer))  # type: ignore[no-any-return]


def uploaded(studio: Studio, name: str, data: bytes) -> str:
    folder = studio.settings.tmp_dir / "uploaded"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
    return str(folder / name)


def read(page: SummarizePage, *paths: str) -> dict[str, Any]:
    """Read uploaded files and wait for what came of them."""
    job_id = ask(page, "read", paths=list(paths))["job_id"]
    for _ in range(600):
        view = ask(page, "reading", job_id=job_id)
        if view["done"]:
            return view
        time.sleep(0.05)
    raise AssertionError("the reading never ended")


def follow(page: SummarizePage, job_id: str) -> list[dict[str, Any]]:
    async def all_of_it() -> list[dict[str, Any]]:
        return [json.loads(json.dumps(view)) async for view in page.follow(LOCAL_OWNER, job_id)]

    return asyncio.run(all_of_it())


def made(
    page: SummarizePage, *, key: str = "k", parent: str | None = None, text: str | None = MILL, **payload: Any
) -> dict[str, Any]:
    """Summarise, wait, and return the version as it is then."""
    options = {"length": {"sentences": 2}, "parent_id": parent, **payload.pop("options", {})}
    started = ask(page, "summarize", text=None if parent else text, key=key, options=options, **payload)
    assert follow(page, started["job_id"])[-1]["done"]
    turn = ask(page, "turn", id=started["id"])["turn"]
    return next(version for version in turn["versions"] if version["id"] == started["id"])


def test_the_page_opens_with_what_can_be_chosen(page: SummarizePage) -> None:
    view = ask(page, "open")
    assert [one["id"] for one in view["form"]["methods"]] == ["extractive", "abstractive", "hybrid"]
    assert len(view["form"]["styles"]) == 7 and all(one["name"] for one in view["form"]["styles"])
    assert view["recent"] == [] and view["next_training_in"] > 0 and view["form"]["urls"] is False


def test_files_are_read_before_anything_is_made_of_them_and_each_sentence_leads_to_its_place(
    studio: Studio, page: SummarizePage
) -> None:
    good = uploaded(studio, "mill.docx", papers.docx(MILL.split("\n\n"), title="The mill"))
    bad = uploaded(studio, "photo.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 50)
    view = read(page, good, bad)
    (document,) = view["documents"]
    assert document["title"] == "The mill" and "Word" in document["facts"]
    assert [one["name"] for one in view["refused"]] == ["photo.png"] and "a picture" in view["refused"][0]["message"]
    version = made(page, text=None, documents=[document["id"]])
    assert version["status"] == "done" and version["label"] == "Extractive · Abstract"
    (text,) = ask(page, "documents", id=version["id"])["documents"]
    whole = "\n\n".join(words for _, words, _ in text["paragraphs"])
    numbers = [number for line in version["lines"] for _, number in line["parts"] if number is not None]
    assert numbers == [0, 1] and len(version["sentences"]) == 2
    for sentence, said in zip(
        version["sentences"], [part for part, number in version["lines"][0]["parts"] if number is not None], strict=True
    ):
        best = sentence["sources"][0]
        assert sentence["supported"] and whole[best["start"] : best["end"]] == said


def test_several_summaries_of_one_document_stand_side_by_side_and_the_best_is_picked(page: SummarizePage) -> None:
    first = made(page, key="1")
    second = made(page, key="2", parent=first["id"], options={"method": "abstractive", "style": "headline"})
    turn = ask(page, "turn", id=second["id"])["turn"]
    assert [one["id"] for one in turn["versions"]] == [first["id"], second["id"]] and turn["id"] == first["id"]
    picked = ask(page, "prefer", id=first["id"], others=[second["id"]])
    assert [one["picked"] for one in picked["turn"]["versions"]] == [True, False]
    assert ask(page, "recent")["recent"][0]["n"] == 2
    with pytest.raises(BadOptionError):
        ask(page, "prefer", id=first["id"], others=[])


def test_rating_editing_and_throwing_away(page: SummarizePage) -> None:
    version = made(page)
    assert ask(page, "rate", id=version["id"], score=1, reasons=["complete"], comment="")["rating"]["score"] == 1
    edited = ask(page, "edit", id=version["id"], text="The mill burned. It cost 90,000 crowns.")
    while not ask(page, "judged", job_id=edited["job_id"])["done"]:
        time.sleep(0.02)
    versions = {one["id"]: one for one in ask(page, "turn", id=edited["id"])["turn"]["versions"]}
    assert versions[edited["id"]]["edited"] and len(versions[edited["id"]]["sentences"]) == 2
    assert versions[version["id"]]["rating"]["reasons"] == ["complete"]
    assert ask(page, "star", id=version["id"], on=True) == {"starred": True}
    ask(page, "trash", ids=[version["id"]])
    assert version["id"] not in {one["id"] for one in ask(page, "turn", id=edited["id"])["turn"]["versions"]}
    ask(page, "restore", ids=[version["id"]])
    assert version["id"] in {one["id"] for one in ask(page, "turn", id=edited["id"])["turn"]["versions"]}


def test_the_same_click_twice_is_one_summary_and_nothing_is_no_summary(page: SummarizePage) -> None:
    once, twice = made(page, key="same"), made(page, key="same")
    assert once["id"] == twice["id"]
    with pytest.raises(BadFileError, match="nothing"):
        ask(page, "summarize", text="  ", key="x", options={})
    with pytest.raises(NotFoundError):
        ask(page, "turn", id="no-such-summary")
    with pytest.raises(BadOptionError):
        ask(page, "read", paths="mill.pdf")
    with pytest.raises(BadFileError):
        ask(page, "read", paths=["/etc/passwd"])


def test_a_web_page_is_fetched_only_where_the_start_allows_it(page: SummarizePage) -> None:
    with pytest.raises(BadOptionError, match="--read-urls"):
        ask(page, "fetch", url="http://127.0.0.1/")
    assert not Settings(read_urls=True, offline=True).may_fetch_pages and Settings(read_urls=True).may_fetch_pages


def test_an_inside_address_is_refused_even_then_and_the_page_says_so(studio: Studio) -> None:
    chinese = SummarizePage(studio, translator("zh"), "zh")
    job_id = studio.summary.read(LOCAL_OWNER, [], url="http://127.0.0.1/")
    while not (view := ask(chinese, "reading", job_id=job_id))["done"]:
        time.sleep(0.02)
    assert view["status"] == "failed" and "互联网" in view["message"]


def test_a_summary_is_taken_along_as_a_labelled_file(studio: Studio, page: SummarizePage) -> None:
    version = made(page)
    app = FastAPI()
    add_file_routes(app, studio)
    with TestClient(app) as client:
        answer = client.get(f"/summaries/{version['id']}/export?format=docx")
        assert answer.status_code == 200 and "attachment" in answer.headers["content-disposition"]
        assert "docProps/custom.xml" in zipfile.ZipFile(io.BytesIO(answer.content)).namelist()
        assert client.get(f"/summaries/{version['id']}/export?format=json").json()["summary"] == version["text"]
        assert client.get(f"/summaries/{version['id']}/export?format=pdf").status_code == 400
        assert client.get("/summaries/nothing/export").status_code == 404
