"""Summaries as files: what is in them, that each says it was generated, and that hostile text stays text."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from datetime import UTC, datetime
from typing import Any

import docx
import pytest
import yaml
from lxml import etree

from engine.errors import BadOptionError
from engine.services.summary_documents import KeptDocument
from engine.services.summary_export import SUMMARY_FORMATS, export_summary
from engine.summary.document import Document
from storage.records import CreationRecord
from tests.ui.summaries import creation_of

TEXT = "The mill burned on Tuesday. Nobody was hurt. Rice costs 3 < 4."
DOCUMENT = KeptDocument("d" * 64, Document("Mill", TEXT, "en", 11, name="mill.pdf", kind="pdf"))
LIST = "- The mill burned on Tuesday.\n- Nobody was hurt."


def summary(**changes: Any) -> CreationRecord:
    sentence = {"text": "The mill burned on Tuesday.", "start": 2, "end": 29, "supported": True, "flags": []}
    sentence["sources"] = [{"document": 0, "start": 0, "end": 27, "score": 0.9}]
    params = {"method": "extractive", "style": "bullets", "length": "short", "sentences": [sentence], "scores": {"support": 1.0}}
    made: dict[str, Any] = {"output": LIST, "prompt": "Mill\nof <Harrow>", "created_at": datetime(2026, 11, 26, tzinfo=UTC)}
    return creation_of(**{**made, "params": params, **changes})


def label_in(data: bytes, format: str) -> dict[str, Any]:
    """The label as another program would find it."""
    match format:
        case "markdown":
            return dict(yaml.safe_load(data.decode().split("---\n")[1])["AIGC"])
        case "text":
            return dict(json.loads(data.decode("utf-8-sig").strip().splitlines()[-1])["AIGC"])
        case "json":
            return dict(json.loads(data)["provenance"]["AIGC"])
        case _:
            tree = etree.fromstring(zipfile.ZipFile(io.BytesIO(data)).read("docProps/custom.xml"))
            found = next(one for one in tree if one.get("name") == "AIGC")
            return dict(json.loads("".join(found.itertext())))


@pytest.mark.parametrize("format", SUMMARY_FORMATS)
def test_every_file_says_that_it_was_generated_and_what_it_is(format: str) -> None:
    made = export_summary(summary(), [DOCUMENT], format)
    label = label_in(made.data, format)
    assert label["Label"] == "1" and label["ProduceID"] == summary().id
    assert label["ReservedCode1"] == hashlib.sha256(LIST.encode()).hexdigest()
    assert made.name.startswith("tastemaker-") and made.name.rpartition(".")[2] in ("md", "docx", "txt", "json")
    assert export_summary(summary(), [DOCUMENT], format).name == made.name


def test_markdown_and_text_hold_the_summary_as_it_is() -> None:
    assert f"# Mill of <Harrow>\n\n{LIST}\n" in export_summary(summary(), [DOCUMENT], "markdown").data.decode()
    text = export_summary(summary(), [DOCUMENT], "text").data.decode("utf-8-sig")
    assert LIST in text and "mill.pdf" in text and "AI-generated" in text


def test_json_has_the_text_of_every_source() -> None:
    content = json.loads(export_summary(summary(), [DOCUMENT], "json").data)
    assert content["sentences"][0]["sources"][0]["text"] == "The mill burned on Tuesday."
    assert content["documents"][0]["name"] == "mill.pdf" and content["scores"] == {"support": 1.0}


def test_word_opens_it_with_a_list_and_a_title() -> None:
    opened = docx.Document(io.BytesIO(export_summary(summary(output=LIST + "\nEnd \x0b1."), [DOCUMENT], "docx").data))
    styles = [(one.style.name if one.style else "", one.text) for one in opened.paragraphs]
    assert styles[:3] == [
        ("Heading 1", "Mill of <Harrow>"),
        ("List Bullet", "The mill burned on Tuesday."),
        ("List Bullet", "Nobody was hurt."),
    ]
    assert "AI-generated" in styles[-1][1] and opened.core_properties.title == "Mill of <Harrow>"


def test_what_a_person_edited_is_called_composite() -> None:
    edited = json.loads(export_summary(summary(origin="edited"), [], "json").data)
    assert edited["provenance"]["DigitalSourceType"].endswith("compositeWithTrainedAlgorithmicMedia")
    assert edited["sentences"][0]["sources"][0]["text"] == ""


def test_another_format_is_refused() -> None:
    with pytest.raises(BadOptionError, match="pdf"):
        export_summary(summary(), [], "pdf")
