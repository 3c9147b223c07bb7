"""Exports in the formats of TRL, CSV and bundles."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.errors import BadOptionError, BusyError, NotFoundError
from engine.services.export import KEPT_EXPORTS, ExportService
from engine.services.feedback import FeedbackService
from engine.services.library import LibraryService
from storage.database import Database
from storage.files import FileStore
from storage.records import CreationFilter
from tests.engine.services.library_parts import OWNER, add, export_service, message, opened, rich_library, rows_of, version_of

FORMATS = ("sft", "dpo", "kto", "csv", "bundle")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with opened(tmp_path) as database:
        yield database


@pytest.fixture
def exports(tmp_path: Path, database: Database) -> ExportService:
    return export_service(tmp_path, database)


def test_sft_rows_hold_context_system_prompt_and_only_what_shows_how_to_write(database: Database, exports: ExportService) -> None:
    feedback = FeedbackService(database)
    system = {"system": "Be brief."}
    first = add(database, "Hello", "Hi.", params=system)
    second = add(database, "And?", "Bye.", context_id=first.id, params=system)
    plain = add(database, "No system", "Fine")
    edited = version_of(database, plain, "Fine, by hand", origin="edited")
    hated = version_of(database, plain, "Edited but hated", origin="edited")
    for creation, score in ((second, 0.5), (plain, 0.4), (hated, -1)):
        feedback.rate(OWNER, OWNER, creation.id, score)
    assert rows_of(exports, "sft") == [
        {
            "messages": [
                message("system", "Be brief."), message("user", "Hello"), message("assistant", "Hi."),
                message("user", "And?"), message("assistant", "Bye."),
            ]
        },
        {"messages": [message("user", "No system"), message("assistant", edited.output)]},
    ]  # fmt: skip


def test_dpo_rows_are_each_pair_once_and_explicit_choices_win(database: Database, exports: ExportService) -> None:
    feedback = FeedbackService(database)
    first = add(database, "Prompt", "one")
    second = version_of(database, first, "two")
    third = version_of(database, first, "three")
    same = version_of(database, first, "one")
    for creation, score in ((first, 1), (second, -1), (same, -1)):
        feedback.rate(OWNER, OWNER, creation.id, score)
    feedback.prefer(OWNER, OWNER, second.id, first.id)
    feedback.prefer(OWNER, OWNER, third.id, first.id)
    rows = rows_of(exports, "dpo")
    prompt = [message("user", "Prompt")]
    assert {(row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in rows} == {("two", "one"), ("three", "one")}
    assert len(rows) == 2 and all(row["prompt"] == prompt and row["chosen"][0]["role"] == "assistant" for row in rows)


def test_kto_labels_follow_the_sign_and_zero_is_left_out(database: Database, exports: ExportService) -> None:
    feedback = FeedbackService(database)
    for score in (1, 0.5, 0, -0.5, -1, None):
        feedback.rate(OWNER, OWNER, add(database, f"rated {score}", "x").id, score)
    rows = rows_of(exports, "kto")
    assert [(row["prompt"][0]["content"], row["label"]) for row in rows] == [
        ("rated 1", True), ("rated 0.5", True), ("rated -0.5", False), ("rated -1", False),
    ]  # fmt: skip
    assert rows[0]["completion"] == [message("assistant", "x")]


def test_trl_reads_the_rows_as_conversations(database: Database, exports: ExportService, tmp_path: Path) -> None:
    """The columns and their shapes are those of TRL's dataset formats, in every row."""
    rich_library(database, FileStore(tmp_path / "files"))
    for format, columns in (
        ("sft", {"messages"}),
        ("dpo", {"prompt", "chosen", "rejected"}),
        ("kto", {"prompt", "completion", "label"}),
    ):
        rows = rows_of(exports, format)
        assert rows
        for row in rows:
            assert row.keys() == columns
            for name in columns - {"label"}:
                assert all(
                    part.keys() == {"role", "content"} and part["role"] in ("system", "user", "assistant") for part in row[name]
                )
            if "prompt" in row:
                assert row["prompt"][-1]["role"] == "user"


def test_the_filter_and_the_trash_decide_what_goes_out(database: Database, exports: ExportService, tmp_path: Path) -> None:
    feedback = FeedbackService(database)
    library = LibraryService(database, FileStore(tmp_path / "files"))
    good, other = add(database, "A", "good"), add(database, "B", "other", starred=True)
    worse = version_of(database, good, "worse")
    for creation, score in ((good, 1), (other, 1), (worse, -1)):
        feedback.rate(OWNER, OWNER, creation.id, score)
    assert len(rows_of(exports, "kto")) == 3 and len(rows_of(exports, "dpo")) == 1
    assert len(rows_of(exports, "kto", filter=CreationFilter(starred=True))) == 1
    assert rows_of(exports, "dpo", filter=CreationFilter(starred=True)) == []
    library.trash(OWNER, [worse.id])
    assert len(rows_of(exports, "kto")) == 2 and rows_of(exports, "dpo") == []


def test_csv_cells_are_text_to_a_spreadsheet_and_chinese_is_readable(database: Database, exports: ExportService) -> None:
    evil = ["=cmd()", "+1", "-1", "@SUM(A1)", "\tx", "＝1", '=HYPERLINK("http://x")']
    for text in evil:
        add(database, text, f'{text}, "quoted"\nand a new line 猫咪', tags=(text.strip(),))
    FeedbackService(database).rate(OWNER, OWNER, add(database, "rated", "minus").id, -1)
    made = exports.export(OWNER, OWNER, format="csv")
    data = made.path.read_bytes()
    assert data.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    assert len(rows) == made.rows == len(evil) + 1
    assert [row["prompt"] for row in rows[:-1]] == [f"'{text}" for text in evil]
    assert all(not cell.startswith(("=", "+", "@", "\t", "＝")) for row in rows for cell in row.values())
    assert "猫咪" in rows[0]["output"] and rows[-1]["score"] == "-1.0"
    assert all("人工智能" in row["label"] for row in rows)


def test_a_zip_has_a_label_beside_the_rows_and_the_same_rows_are_the_same_bytes(
    database: Database, exports: ExportService, tmp_path: Path
) -> None:
    rich_library(database, FileStore(tmp_path / "files"))
    for format in ("sft", "dpo", "kto"):
        first, second = (exports.export(OWNER, OWNER, format=format) for _ in range(2))
        assert first.id != second.id and first.path.read_bytes() == second.path.read_bytes()
        with zipfile.ZipFile(first.path) as archive:
            assert archive.namelist() == ["rows.jsonl", "PROVENANCE.json"]
            label, rows = json.loads(archive.read("PROVENANCE.json")), archive.read("rows.jsonl")
        assert label["sha256"] == hashlib.sha256(rows).hexdigest() and label["AIGC"]["Label"] == "1"
        assert "人工智能" not in rows.decode() and label["rows"] == first.rows


def test_bundle_into_an_empty_studio_gives_the_same_bytes_again(
    database: Database, exports: ExportService, tmp_path: Path
) -> None:
    rich_library(database, FileStore(tmp_path / "files"))
    made = {format: exports.export(OWNER, OWNER, format=format) for format in FORMATS}
    assert made["bundle"].rows == 6
    other = tmp_path / "other"
    with opened(other) as empty:
        there = export_service(other, empty)
        result = there.import_file(OWNER, OWNER, made["bundle"].path)
        assert result.added > 0 and result.skipped == 0 and result.errors == ()
        for format in FORMATS:
            again = there.export(OWNER, OWNER, format=format)
            assert again.path.read_bytes() == made[format].path.read_bytes(), format
            assert again.rows == made[format].rows
        assert (other / "files" / "ab" / "cat.png").read_bytes() == b"\x89PNG cat"
        twice = there.import_file(OWNER, OWNER, made["bundle"].path)
        assert twice.added == 0 and twice.skipped > 0
        assert there.export(OWNER, OWNER, format="bundle").path.read_bytes() == made["bundle"].path.read_bytes()


def test_exports_are_their_owners_and_old_ones_make_room(database: Database, exports: ExportService) -> None:
    first = exports.export(OWNER, OWNER, format="csv")
    assert exports.path_of(OWNER, first.id) == first.path
    for owner, export_id in (("alice", first.id), (OWNER, "0" * 32), (OWNER, "../x"), (OWNER, ""), (OWNER, "a\0")):
        with pytest.raises(NotFoundError, match="^Nothing with this id.$"):
            exports.path_of(owner, export_id)
    newest = [exports.export(OWNER, OWNER, format="csv") for _ in range(KEPT_EXPORTS)]
    assert not first.path.exists() and all(made.path.exists() for made in newest)


@pytest.mark.parametrize(
    "options",
    [
        {"format": "xml"}, {"format": "dpo", "task": "cooking"}, {"format": "sft", "task": "image"},
        {"format": "bundle", "filter": CreationFilter(starred=True)},
    ],
)  # fmt: skip
def test_unknown_formats_and_tasks_are_refused(exports: ExportService, options: dict[str, Any]) -> None:
    with pytest.raises(BadOptionError):
        exports.export(OWNER, OWNER, **options)


def test_a_full_disk_is_one_sentence_and_leaves_no_half_export(
    database: Database, exports: ExportService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FeedbackService(database).rate(OWNER, OWNER, add(database).id, 1)

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("engine.services.export.os.replace", full)
    with pytest.raises(BusyError, match="disk is full"):
        exports.export(OWNER, OWNER, format="sft")
    assert [path for path in (tmp_path / "exports").rglob("*") if path.is_file()] == []
