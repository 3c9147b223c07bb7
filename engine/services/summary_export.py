"""Summaries as files people take along: Markdown, Word, plain text, and JSON with every source. Each says that it was generated.

The label's fields are those of engine/safety/provenance.py: front matter in Markdown, last lines in plain text, a custom property
in Word (ECMA-376 part 2, docProps/custom.xml), a member in JSON. Knows rows and documents; knows no database and no page.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from xml.sax.saxutils import escape

from engine.errors import BadOptionError
from engine.safety.provenance import COMPOSITE_WITH_TRAINED, PRODUCER, TRAINED_ALGORITHMIC_MEDIA, aigc_label
from engine.services.summary_documents import KeptDocument
from storage.records import CreationRecord

SUMMARY_FORMATS: Final = ("markdown", "docx", "text", "json")
_ENDINGS: Final = {"markdown": "md", "docx": "docx", "text": "txt", "json": "json"}
_MEDIA_TYPES: Final = {
    "markdown": "text/markdown; charset=utf-8",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "text": "text/plain; charset=utf-8",
    "json": "application/json",
}
_NOTE: Final = "AI-generated summary (人工智能生成)"
_SETTINGS: Final = ("method", "style", "length", "language", "focus")
_CUSTOM: Final = """<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<Properties xmlns="http://schemas.openxmlformats.org/officeDocument/2006/custom-properties"
 xmlns:vt="http://schemas.openxmlformats.org/officeDocument/2006/docPropsVTypes">{properties}</Properties>"""
_CUSTOM_TYPE: Final = "application/vnd.openxmlformats-officedocument.custom-properties+xml"
_CUSTOM_RELATION: Final = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/custom-properties"
_CUSTOM_FORMAT_ID: Final = "{D5CDD505-2E9C-101B-9397-08002B2CF9AE}"


@dataclass(frozen=True, slots=True)
class SummaryFile:
    """A file to hand over."""

    name: str
    media_type: str
    data: bytes


def export_summary(creation: CreationRecord, documents: Sequence[KeptDocument], format: str) -> SummaryFile:
    """Return the summary in one of SUMMARY_FORMATS, labelled. Raises BadOptionError for another format."""
    if format not in SUMMARY_FORMATS:
        text = f"A summary is saved as markdown, docx, text or json, not as {format[:40]}."
        raise BadOptionError(text, key="error.summary_format", format=format[:40])
    write = {"markdown": _markdown, "docx": _docx, "text": _text, "json": _json}[format]
    name = f"tastemaker-{creation.id[:8]}.{_ENDINGS[format]}"
    return SummaryFile(name, _MEDIA_TYPES[format], write(creation, documents))


def _labels(creation: CreationRecord) -> dict[str, Any]:
    """What says how it came about: the label of GB 45438, IPTC's kind of source, model and settings."""
    sha256 = hashlib.sha256(creation.output.encode()).hexdigest()
    is_edited = creation.origin == "edited"
    return {
        "AIGC": aigc_label(produce_id=creation.id, sha256=sha256),
        "DigitalSourceType": COMPOSITE_WITH_TRAINED if is_edited else TRAINED_ALGORITHMIC_MEDIA,
        "model": creation.model_id,
        "adapter": creation.adapter_id,
        "seed": creation.seed,
        "settings": {name: creation.params[name] for name in _SETTINGS if creation.params.get(name)},
        "created_at": creation.created_at.isoformat(),
    }


def _markdown(creation: CreationRecord, documents: Sequence[KeptDocument]) -> bytes:
    # JSON values are YAML too, so any reader of front matter takes them.
    front = {"title": creation.prompt, "sources": [_source_name(one) for one in documents], **_labels(creation)}
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in front.items()]
    body = re.sub(r"^• ", "- ", creation.output.strip(), flags=re.MULTILINE)
    return "\n".join(("---", *lines, "---", "", f"# {_one_line(creation.prompt)}", "", body, "", f"*{_NOTE}*", "")).encode()


def _text(creation: CreationRecord, documents: Sequence[KeptDocument]) -> bytes:
    labels = json.dumps(_labels(creation), ensure_ascii=False)
    sources = "; ".join(_source_name(one) for one in documents)
    lines = (_one_line(creation.prompt), "", creation.output.strip(), "", "--", f"{_NOTE}: {sources}", labels, "")
    return "\n".join(lines).encode("utf-8-sig")


def _json(creation: CreationRecord, documents: Sequence[KeptDocument]) -> bytes:
    """Everything, with the text of each source beside its offsets."""
    texts = [one.document.text for one in documents]

    def passage(source: dict[str, Any]) -> dict[str, Any]:
        text = texts[source["document"]] if 0 <= source["document"] < len(texts) else ""
        return {**source, "text": text[source["start"] : source["end"]]}

    sentences = [
        {**one, "sources": [passage(dict(source)) for source in one.get("sources") or ()]}
        for one in creation.params.get("sentences") or ()
    ]
    content = {
        "title": creation.prompt,
        "summary": creation.output,
        "sentences": sentences,
        "scores": creation.params.get("scores") or {},
        "documents": [one.about() for one in documents],
        "provenance": {**_labels(creation), "note": _NOTE},
    }
    return (json.dumps(content, ensure_ascii=False, indent=2) + "\n").encode()


def _docx(creation: CreationRecord, documents: Sequence[KeptDocument]) -> bytes:
    from docx import Document as new_document
    from docx.opc.packuri import PackURI
    from docx.opc.part import Part

    made = new_document()
    made.core_properties.title = _xml_text(_one_line(creation.prompt))[:255]
    made.core_properties.author = PRODUCER
    made.core_properties.comments = _NOTE
    made.add_heading(_xml_text(_one_line(creation.prompt)), level=1)
    for line in creation.output.splitlines():
        item = line.removeprefix("- ").removeprefix("• ")
        if line.strip():
            made.add_paragraph(_xml_text(item), style="List Bullet" if item != line else None)
    made.add_paragraph(f"{_NOTE}: {_xml_text('; '.join(_source_name(one) for one in documents))}").runs[0].italic = True
    package = made.part.package
    part = Part(PackURI("/docProps/custom.xml"), _CUSTOM_TYPE, _custom_properties(_labels(creation)), package)
    package.relate_to(part, _CUSTOM_RELATION)
    file = io.BytesIO()
    made.save(file)
    return file.getvalue()


def _custom_properties(labels: dict[str, Any]) -> bytes:
    rows = []
    for number, (name, value) in enumerate(labels.items(), 2):  # numbers 0 and 1 are taken by the format
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        said = f"<vt:lpwstr>{escape(_xml_text(text))}</vt:lpwstr>"
        rows.append(f'<property fmtid="{_CUSTOM_FORMAT_ID}" pid="{number}" name="{name}">{said}</property>')
    return _CUSTOM.replace("{properties}", "".join(rows)).encode()


def _source_name(kept: KeptDocument) -> str:
    document = kept.document
    return _one_line(document.name or document.title)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _xml_text(text: str) -> str:
    """Without the characters that XML 1.0 does not allow."""
    return "".join(c for c in text if c in "\t\n\r" or c >= " " and not "\ud800" <= c <= "\udfff" and c not in "\ufffe\uffff")
