"""The Summarise page's view models: lines and their sentences, what a document says of itself, what is doubtful, what is left."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from engine.jobs.job import JobSnapshot
from engine.services.summary_documents import KeptDocument
from engine.services.summary_records import SummaryTurn, SummaryVersion
from engine.summary.document import Document, Skipped
from tests.ui.summaries import creation_of
from ui.i18n import translator
from ui.view_summary import (
    document_view,
    lines_of,
    live_view,
    progress_line,
    refused_view,
    scores_view,
    sentence_view,
    text_view,
    turn_view,
    verdict_of,
    version_view,
)

T = translator("en")
ZH = translator("zh")


def spans(text: str, *sentences: str) -> list[dict[str, Any]]:
    return [{"start": text.index(one), "end": text.index(one) + len(one)} for one in sentences]


def snapshot(**changes: Any) -> JobSnapshot:
    return replace(JobSnapshot("j", 1, "summarize", "running", {}, {}, None, None, None), **changes)


def test_a_summary_is_lines_of_sentences_and_nothing_of_it_is_lost() -> None:
    text = "😀 One here. Two there.\n- Three, in a list\n• Four"
    lines = lines_of(text, spans(text, "😀 One here.", "Two there.", "Three, in a list"))
    assert [line["item"] for line in lines] == [False, True, True]
    assert lines[0]["parts"] == [["😀 One here.", 0], [" ", None], ["Two there.", 1]]
    assert lines[1]["parts"] == [["Three, in a list", 2]] and lines[2]["parts"] == [["Four", None]]


def test_a_sentence_over_two_lines_is_the_same_one_in_both() -> None:
    text = "It goes on\nand ends here. Next."
    lines = lines_of(text, [{"start": 0, "end": 25}, {"start": 26, "end": 31}])
    assert [[number for _, number in line["parts"]] for line in lines] == [[0], [0, None, 1]]
    assert "".join(part for line in lines for part, _ in line["parts"]) == text.replace("\n", "")


def test_an_unjudged_summary_has_no_sentences_and_empty_lines_are_left_out() -> None:
    assert lines_of("One.\n\n\nTwo.", []) == [
        {"item": False, "parts": [["One.", None]]},
        {"item": False, "parts": [["Two.", None]]},
    ]
    assert lines_of("", []) == []


def test_what_is_doubtful_is_said_in_words() -> None:
    fine = {"supported": True, "flags": [], "sources": [{"document": 0, "start": 3, "end": 9, "score": 0.5}] * 5}
    assert sentence_view(fine, T)["why"] == [] and len(sentence_view(fine, T)["sources"]) == 3
    bad = {"supported": False, "flags": ["number", "negation"], "sources": []}
    assert len(sentence_view(bad, T)["why"]) == 3 and "Not found" in sentence_view(bad, T)["why"][0]
    assert verdict_of([fine, fine], T) == "All 2 sentences are found in the document."
    assert verdict_of([fine, bad, bad], T).startswith("2 of 3 sentences are doubtful")
    assert verdict_of([], T) == ""


def test_a_document_says_what_it_is_and_what_was_left_out() -> None:
    skipped = (
        Skipped("notice.read_pages", {"first": 501, "last": 900, "limit": 500}, "x"),
        Skipped("notice.read_notes", {"what": "footnotes"}, "x"),
    )
    kept = KeptDocument("d" * 64, Document("Report", "a\n\nb", "en", 12_345, 900, (0, 3), skipped, "r.pdf", "pdf"))
    view = document_view(kept.about(), T)
    assert view["facts"] == "PDF · 900 pages · 12,345 words · English"
    assert view["skipped"][0] == "Pages 501 to 900 were left out: the limit is 500 pages."
    assert document_view(kept.about(), ZH)["skipped"][1] == "脚注未读。"


def test_a_text_is_paragraphs_with_their_offsets_and_the_pages_that_begin_there() -> None:
    text = "First.\n\nSecond goes on.\n\nThird."
    kept = KeptDocument("d" * 64, Document("t", text, "en", 5, 4, (0, 8, 16, 25)))
    rows = text_view(kept, T)["paragraphs"]
    assert [text[start : start + len(words)] for start, words, _ in rows] == [words for _, words, _ in rows]
    assert [page for _, _, page in rows] == [1, 3, 4]


def test_a_file_that_could_not_be_read_is_named_in_the_page_s_language() -> None:
    refused = [
        {
            "name": "a.png",
            "message": "a.png is a picture.",
            "key": "error.read_type",
            "values": {"name": "a.png", "what": "a picture"},
        }
    ]
    assert refused_view(refused, ZH)[0]["message"].startswith("a.png 是图片")
    assert refused_view([{**refused[0], "key": "error.unheard_of"}], ZH)[0]["message"] == "a.png is a picture."


def test_figures_that_are_there_are_rows_with_an_explanation() -> None:
    rows = scores_view({"rouge_1": 0.42, "bleu": 7.31, "coverage": 0.5, "support": None, "words": 80, "odd": True}, T)
    assert [(row["name"], row["value"]) for row in rows] == [("Coverage", "50 %"), ("ROUGE-1", "42 %"), ("BLEU", "7.3")]
    assert all(row["about"] and not row["about"].startswith("summarize.") for row in rows)


@pytest.mark.parametrize(
    ("progress", "line"),
    [
        ({"phase": "notes", "step": 2, "total": 12, "eta_s": 41.0}, "Part 3 of 12 · 41 s left"),
        ({"phase": "notes", "step": 12, "total": 12}, "Part 12 of 12"),
        ({"phase": "reading", "step": 7, "total": 90, "note": "a.pdf"}, "Reading a.pdf, 8 of 90"),
        ({"phase": "judging", "step": 0, "total": 0}, "Looking for the sources"),
        ({"phase": "unheard-of"}, "At work"),
        ({"phase": "notes", "note": "waiting"}, "Waiting for its turn"),
    ],
)
def test_progress_is_said_in_words(progress: dict[str, Any], line: str) -> None:
    assert progress_line(snapshot(progress=progress), T) == line


def test_a_live_update_has_the_text_so_far_and_the_end_has_no_line() -> None:
    so_far = [{"id": id, "text": text, "sentences": []} for id, text in (("c", "So far"), ("d", ""))]
    view = live_view(snapshot(data={"creations": so_far, "turn_id": "t"}), None, T)
    assert not view["done"] and view["summaries"][1] == {"id": "d", "lines": []}
    assert view["summaries"][0] == {"id": "c", "lines": [{"item": False, "parts": [["So far", None]]}]}
    assert live_view(snapshot(status="done"), None, T)["line"] == ""


def test_versions_say_how_they_were_made() -> None:
    writer = {"method": "abstractive", "style": "bullets", "length": {"words": 80}, "focus": "costs?"}
    versions = (
        SummaryVersion(creation_of()),
        SummaryVersion(creation_of(id="b" * 32, params=writer, model_id="m"), is_picked=True),
    )
    view = turn_view(SummaryTurn("a" * 32, "The mill", (), versions), {"m": "Small Model"}, T)
    assert [one["label"] for one in view["versions"]] == ["Extractive · Abstract", "Abstractive · Bullet points"]
    assert [one["seed"] for one in view["versions"]] == [None, "7"]
    assert view["versions"][1]["facts"] == "80 words · question: costs? · Small Model · 1.9 s" and view["versions"][1]["picked"]


@pytest.mark.parametrize("status", ["failed", "cancelled", "interrupted"])
def test_why_a_summary_is_not_whole(status: Any) -> None:
    view = version_view(SummaryVersion(creation_of(status=status, error="No." if status == "failed" else None)), {}, T)
    assert view["note"] and view["can_resume"]
    assert version_view(SummaryVersion(creation_of()), {}, T)["note"] == ""
