"""Summaries from the click to the row, on real storage and real documents, with a text model that writes to order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import BadFileError, BadOptionError, BusyError, NoModelError, NotFoundError, TooLongError
from engine.models.catalog import STARTER_ENCODER_ID
from engine.services.examples import examples_of
from engine.services.summarizing import marked
from engine.services.summary_records import length_of
from engine.services.summary_sources import MAX_FILES
from engine.summary import support
from engine.summary.document import Document
from engine.types import SummaryOptions
from storage.records import CreationFilter
from tests.engine.services.fakes import FakeTextModel, wait_for
from tests.engine.services.studio_parts import OWNER, text_studio
from tests.engine.services.summary_studio import MILL, ZH, SummaryStudio, long_text, seeded, summary_studio, words_of_the_text


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[SummaryStudio]:
    with text_studio(tmp_path, FakeTextModel(words_of_the_text)) as parts:
        yield summary_studio(parts, tmp_path)


def test_an_extractive_summary_is_of_the_document_s_own_sentences(studio: SummaryStudio) -> None:
    started = studio.summarize(length={"sentences": 2})
    snapshot = studio.ended(started.job_id)
    row, result = studio.parts.row(started.creation_ids[0]), dict(snapshot.result or {})
    assert (row.kind, row.status, row.model_id, row.finish_reason) == ("summary", "done", STARTER_ENCODER_ID, "stop")
    assert result["summary"] == row.output and result["sentences"] == row.params["sentences"]
    (document,) = studio.summary.documents(OWNER, row.id)
    assert len(row.params["sentences"]) == 2
    for sentence in row.params["sentences"]:
        assert sentence["supported"] and row.output[sentence["start"] : sentence["end"]] == sentence["text"]
        best = sentence["sources"][0]
        assert " ".join(document.document.text[best["start"] : best["end"]].split()) == sentence["text"]
    assert result["documents"][0]["words"] == document.document.words and result["documents"][0]["language"] == "en"


def test_files_are_read_and_one_that_cannot_be_is_named(studio: SummaryStudio, tmp_path: Path) -> None:
    good, bad = tmp_path / "mill.txt", tmp_path / "broken.pdf"
    good.write_text(MILL, encoding="utf-8")
    bad.write_bytes(b"%PDF-1.7 nothing of the kind")
    started = studio.summarize(None, files=[bad, good])
    row_before = studio.parts.row(started.creation_ids[0])
    assert row_before.prompt == "broken.pdf; mill.txt" or row_before.status == "done"
    snapshot = studio.ended(started.job_id)
    assert snapshot.status == "done"
    assert [one["name"] for one in snapshot.data["refused"]] == ["broken.pdf"] and snapshot.data["refused"][0]["message"]
    assert [one["name"] for one in snapshot.data["documents"]] == ["mill.txt"]
    alone = studio.summarize(None, files=[bad])
    assert studio.ended(alone.job_id).error_code == "bad_file"
    assert studio.parts.row(alone.creation_ids[0]).status == "failed"


def test_what_was_read_before_is_summarised_by_its_id(studio: SummaryStudio, tmp_path: Path) -> None:
    path = tmp_path / "磨坊.txt"
    path.write_text(ZH, encoding="gb18030")
    read = studio.ended(studio.summary.read(OWNER, [path])).result
    assert read is not None and read["documents"][0]["language"] == "zh" and read["refused"] == []
    row = studio.made(None, documents=[read["documents"][0]["id"]], length={"sentences": 1})
    assert row.output and row.output in ZH
    with pytest.raises(NotFoundError):
        studio.summarize(None, documents=["0" * 64])
    with pytest.raises(NotFoundError):
        studio.summarize(None, documents=["../../etc/passwd"])


def test_nothing_and_too_much_are_refused_before_a_row_is_written(studio: SummaryStudio, tmp_path: Path) -> None:
    for text in (None, "", " \n "):
        with pytest.raises(BadFileError):
            studio.summarize(text)
    with pytest.raises(TooLongError):
        studio.summarize(None, files=[tmp_path / f"{number}.txt" for number in range(MAX_FILES + 1)])
    with pytest.raises(BadFileError):
        studio.summarize(None, files=[tmp_path / "gone.txt"])
    with pytest.raises(NoModelError):
        studio.summarize(method="abstractive", model="missing-model")
    with pytest.raises(BadOptionError):
        SummaryOptions(length={"sentences": 0})
    with pytest.raises(BadOptionError):
        SummaryOptions(length="huge")
    with pytest.raises(BadOptionError, match="abstractive"):
        SummaryOptions(n=2)
    assert studio.parts.rows() == 0


def test_the_model_s_own_words_are_judged(studio: SummaryStudio) -> None:
    studio.parts.model.script = lambda request, row: ["The mill burned down on Tuesday. ", "It was sold for 90,000 crowns."]
    row = studio.made(method="abstractive")
    first, second = row.params["sentences"]
    assert first["supported"] and not first["flags"]
    assert "number" in second["flags"] and not second["supported"]
    assert row.model_id == studio.parts.model.id and row.path["engine"] == "fake"
    assert "notes" not in row.params


def test_a_long_document_is_noted_by_parts_and_goes_on_where_it_was_stopped(studio: SummaryStudio) -> None:
    model = studio.parts.model
    model.hold()
    started = studio.summarize(long_text(600), method="abstractive")
    wait_for(lambda: len(model.requests) > 1)
    model.release(60)
    wait_for(lambda: (studio.parts.runner.snapshot(started.job_id) or pytest.fail()).progress.get("step", 0) > 0)
    studio.parts.jobs.cancel(OWNER, started.job_id)
    assert studio.ended(started.job_id).status == "cancelled"
    row = studio.parts.row(started.creation_ids[0])
    kept = row.params["notes"]
    assert kept and row.status == "cancelled"
    with pytest.raises(BusyError):
        again = studio.summary.resume(OWNER, started.job_id)
        studio.summary.resume(OWNER, again.job_id)
    model.release(100_000)
    assert studio.ended(started.job_id).status == "done"
    done = studio.parts.row(started.creation_ids[0])
    assert done.output and done.params["sentences"] and "notes" not in done.params
    with pytest.raises(BadOptionError):
        studio.summary.resume(OWNER, started.job_id)


def test_the_same_click_twice_is_one_summary(studio: SummaryStudio) -> None:
    first, second = studio.summarize(key="k"), studio.summarize(key="k")
    assert first == second and studio.ended(first.job_id).status == "done" and studio.parts.rows() == 1


def test_several_summaries_of_one_click_share_the_reading_and_each_has_its_seed(studio: SummaryStudio) -> None:
    studio.parts.model.script = seeded
    started = studio.summarize(long_text(600), method="abstractive", n=3, seed=40, key="k")
    snapshot = studio.ended(started.job_id)
    rows = [studio.parts.row(id) for id in started.creation_ids]
    assert [row.seed for row in rows] == list(started.seeds) == [40, 41, 42]
    assert [row.output.rpartition("Seed ")[2] for row in rows] == ["40 said so.", "41 said so.", "42 said so."]
    assert len({row.turn_id for row in rows}) == len({str(row.params["asked"]) for row in rows}) == 1
    requests = studio.parts.model.requests
    assert [one.seeds for one in requests if not one.batched] == [(40, 41, 42)]
    asked = rows[0].params["asked"]
    assert [asked["system"], asked["text"]] == [one.content for one in requests[-1].messages]
    assert all(row.status == "done" and len(row.params["sentences"]) == 2 and "notes" not in row.params for row in rows)
    assert [one["id"] for one in snapshot.data["creations"]] == list(started.creation_ids)
    assert [one.creation.id for one in studio.summary.turn(OWNER, OWNER, rows[1].id).versions] == list(started.creation_ids)
    assert studio.summarize(long_text(600), method="abstractive", n=3, key="k") == started


def test_a_stop_ends_all_summaries_of_a_click_and_what_is_done_stays(studio: SummaryStudio) -> None:
    studio.parts.model.script = seeded
    studio.parts.model.hold()
    started = studio.summarize(method="abstractive", n=2, seed=1)
    wait_for(lambda: studio.parts.model.requests)
    studio.parts.model.release(3)
    studio.parts.jobs.cancel(OWNER, started.job_id)
    assert studio.ended(started.job_id).status == "cancelled"
    rows = [studio.parts.row(id) for id in started.creation_ids]
    assert [(row.status, row.finish_reason) for row in rows] == [("cancelled", "cancelled")] * 2
    with studio.parts.database.write() as uow:
        uow.creations.update(OWNER, rows[0].id, status="done", output="Kept.")
        uow.commit()
    studio.parts.model.release(1000)
    assert studio.ended(studio.summary.resume(OWNER, started.job_id).job_id).status == "done"
    kept, again = (studio.parts.row(id) for id in started.creation_ids)
    assert kept.output == "Kept." and again.output.endswith("Seed 2 said so.") and again.params["sentences"]
    assert studio.parts.model.requests[-1].seeds == (2,)


def test_a_job_from_before_one_click_could_begin_several_is_read(studio: SummaryStudio) -> None:
    started = studio.summarize(seed=3)
    studio.ended(started.job_id)
    request = {**started.as_json(), "creation_id": started.creation_ids[0], "seed": 3}
    del request["creation_ids"], request["seeds"]
    with studio.parts.database.write() as uow:
        old, _ = uow.jobs.add(OWNER, kind="summarize", request=request)
        uow.commit()
    assert [one["id"] for one in studio.parts.jobs.get(OWNER, old.id).data["creations"]] == list(started.creation_ids)


def test_versions_share_documents_and_can_be_compared_others_cannot(studio: SummaryStudio) -> None:
    first = studio.made()
    second = studio.made(None, parent_id=first.id, style="bullets", length={"sentences": 3})
    assert second.turn_id == first.turn_id and second.params["document_ids"] == first.params["document_ids"]
    assert second.output.count("\n- ") == 2 and second.output.startswith("- ")
    assert studio.parts.feedback.prefer(OWNER, OWNER, second.id, first.id)
    turn = studio.summary.turn(OWNER, OWNER, first.id)
    assert [one.creation.id for one in turn.versions] == [first.id, second.id] and turn.versions[1].is_picked
    other = studio.made(MILL.replace("40,000", "50,000"))
    with pytest.raises(BadOptionError):
        studio.parts.feedback.prefer(OWNER, OWNER, other.id, first.id)
    assert [one.turn_id for one in studio.summary.recent(OWNER, OWNER)] == [other.turn_id, first.turn_id]


def test_an_edit_beats_the_original_and_is_judged_anew(studio: SummaryStudio) -> None:
    row = studio.made(length={"sentences": 1})
    with pytest.raises(BadOptionError):
        studio.summary.edit(OWNER, row.id, row.output)
    edited = studio.summary.edit(OWNER, row.id, "Nobody was hurt in the fire. Seventy people died.")
    assert studio.ended(edited.job_id).status == "done"
    version = studio.parts.row(edited.creation_id)
    assert [one["supported"] for one in version.params["sentences"]] == [True, False]
    assert version.parent_id == row.id and version.origin == "edited" and studio.summary.documents(OWNER, version.id)
    text = studio.parts.wrote()
    with pytest.raises(BadOptionError):
        studio.summary.edit(OWNER, text.id, "something else")


def test_who_wrote_a_sentence_decides_how_far_it_is_trusted(studio: SummaryStudio, monkeypatch: pytest.MonkeyPatch) -> None:
    loose = "The building went up in flames."
    studio.parts.model.script = lambda request, row: ["Nobody was hurt in the fire. ", loose]
    known = support.SupportModel(-2.0, {}, {studio.parts.model.id: 4.0})
    monkeypatch.setattr(support, "support_model", lambda name: known)
    row = studio.made(method="abstractive")
    assert [one["supported"] for one in row.params["sentences"]] == [True, False]  # the first is a copy
    once = studio.summary.edit(OWNER, row.id, f"{row.output} Nobody was harmed.")
    twice = studio.summary.edit(OWNER, once.creation_id, f"Nobody was harmed. {loose}")
    for edited, expected in ((once, [True, False, True]), (twice, [True, False])):
        assert studio.ended(edited.job_id).status == "done"
        assert [one["supported"] for one in studio.parts.row(edited.creation_id).params["sentences"]] == expected
    started = studio.summarize(method="abstractive")
    assert [notice.key for notice in started.notices] == ["notice.summary_invents"] and studio.ended(started.job_id)
    assert not studio.summarize().notices
    picked = studio.made(length={"sentences": 1})
    by_hand = studio.summary.edit(OWNER, picked.id, f"{picked.output} {loose}")
    studio.ended(by_hand.job_id)
    assert all(one["supported"] for one in studio.parts.row(by_hand.creation_id).params["sentences"])


def test_any_summary_is_checked_against_any_text(studio: SummaryStudio) -> None:
    job = studio.ended(studio.summary.check(OWNER, MILL, "The council will decide in June. The mill was sold for 90,000 crowns."))
    first, second = (job.result or {})["sentences"]
    assert first["supported"] and not second["supported"] and "number" in second["flags"]
    with pytest.raises(BadOptionError):
        studio.summary.check(OWNER, MILL, " ")
    assert studio.parts.rows() == 0


def test_what_a_stop_of_the_studio_cut_off_goes_on_after_the_next_start(tmp_path: Path) -> None:
    with text_studio(tmp_path, FakeTextModel(words_of_the_text)) as parts:
        parts.model.hold()
        started = summary_studio(parts, tmp_path).summarize(method="abstractive")
        wait_for(lambda: len(parts.model.requests) == 1)
    with text_studio(tmp_path, FakeTextModel(words_of_the_text)) as parts:
        studio = summary_studio(parts, tmp_path)
        snapshot = parts.jobs.get(OWNER, started.job_id)
        assert snapshot.status == "interrupted" and snapshot.can_resume and snapshot.data["documents"]
        assert studio.ended(studio.summary.resume(OWNER, started.job_id).job_id).status == "done"
        assert parts.row(started.creation_ids[0]).output


def test_a_language_that_the_model_lacks_is_said_before_anything_is_written(studio: SummaryStudio) -> None:
    (notice,) = studio.summarize(ZH, method="abstractive").notices
    assert notice.key == "notice.summary_language" and "extractive" in notice.message
    (notice,) = studio.summarize(MILL, language="zh").notices
    assert notice.key == "notice.summary_kept_language"
    assert studio.summarize(ZH).notices == ()


def test_ratings_of_summaries_are_examples_with_the_whole_text_as_prompt(studio: SummaryStudio) -> None:
    first = studio.made(length={"sentences": 2})
    second = studio.made(None, parent_id=first.id, method="abstractive", length={"sentences": 2})
    bullets = studio.made(None, parent_id=first.id, style="bullets", length={"sentences": 2})
    long = studio.made(long_text(600))
    for row in (first, long):
        studio.parts.feedback.rate(OWNER, OWNER, row.id, 1.0)
    studio.parts.feedback.prefer(OWNER, OWNER, first.id, [second.id, bullets.id])
    with studio.parts.database.read() as uow:
        liked = [example.row for example, _ in examples_of(uow, OWNER, OWNER, "sft", CreationFilter(kind="summary"))]
        pairs = [example.row for example, _ in examples_of(uow, OWNER, OWNER, "dpo", CreationFilter(kind="summary"))]
    (messages,) = (row["messages"] for row in liked)
    assert [message["role"] for message in messages] == ["system", "user", "assistant"]
    assert (
        "up to 2 sentences" in messages[0]["content"]
        and messages[1]["content"] == MILL
        and messages[2]["content"] == first.output
    )
    (pair,) = pairs
    assert pair["rejected"][0]["content"] == second.output


def test_only_the_mark_of_an_item_is_changed() -> None:
    assert marked("- a well- or ill- known thing - or two\n- b", "• ") == "• a well- or ill- known thing - or two\n• b"


def test_a_length_means_words_of_the_summary_s_language() -> None:
    document = Document("t", "x", "en", 1000)
    assert length_of(SummaryOptions(length="short"), [document], "en").words == 50
    assert length_of(SummaryOptions(length={"percent": 10}), [document], "en").words == 100
    assert length_of(SummaryOptions(length={"sentences": 3}), [document], "en").sentences == 3
    small = replace(document, words=40)
    assert length_of(SummaryOptions(length="long"), [small], "en").words == 24
