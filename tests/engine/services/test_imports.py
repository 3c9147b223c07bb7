"""What comes back in: exported rows, rows from elsewhere, and files that are broken or hostile."""

from __future__ import annotations

import json
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import BadFileError
from engine.services.export import ExportService
from engine.services.feedback import FeedbackService
from engine.services.imports import MAX_LINE_BYTES
from storage.database import Database
from storage.files import FileStore
from storage.records import CreationFilter
from tests.engine.services.library_parts import OWNER, export_service, message, opened, rich_library, rows_of


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with opened(tmp_path) as database:
        yield database


@pytest.fixture
def exports(tmp_path: Path, database: Database) -> ExportService:
    return export_service(tmp_path, database)


@pytest.mark.parametrize("format", ["sft", "dpo", "kto"])
def test_rows_come_back_in_and_go_out_the_same(database: Database, exports: ExportService, tmp_path: Path, format: str) -> None:
    rich_library(database, FileStore(tmp_path / "files"))
    made = exports.export(OWNER, OWNER, format=format)
    other = tmp_path / "other"
    with opened(other) as empty:
        there = export_service(other, empty)
        result = there.import_file(OWNER, OWNER, made.path)
        assert (result.added, result.skipped, result.errors) == (made.rows, 0, ())
        again = there.export(OWNER, OWNER, format=format)
        with zipfile.ZipFile(again.path) as new, zipfile.ZipFile(made.path) as old:
            assert new.read("rows.jsonl") == old.read("rows.jsonl")
        assert there.import_file(OWNER, OWNER, made.path).added == 0
        with empty.read() as uow:
            items = uow.creations.search(OWNER, OWNER, CreationFilter()).items
        assert items and all(item.creation.origin == "imported" for item in items)


def write_jsonl(path: Path, *rows: object) -> Path:
    path.write_bytes(b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows))
    return path


def test_plain_text_formats_and_implicit_prompts_are_understood(
    database: Database, exports: ExportService, tmp_path: Path
) -> None:
    path = write_jsonl(
        tmp_path / "in.jsonl",
        {"prompt": "The sky is", "completion": " blue.", "label": True},
        {"prompt": "The sky is", "completion": " green.", "label": False},
        {"prompt": "2+2", "chosen": "4", "rejected": "5"},
        {
            "chosen": [message("user", "Hi"), message("assistant", "Hello")],
            "rejected": [message("user", "Hi"), message("assistant", "?")],
        },
        {"prompt": [message("system", "S"), message("user", "Q")], "completion": [message("assistant", "A")]},
    )
    assert exports.import_file(OWNER, OWNER, path).added == 5
    assert len(rows_of(exports, "dpo")) == 3  # the two about the sky are versions of one prompt, rated differently
    assert {row["label"] for row in rows_of(exports, "kto")} == {True, False}
    assert rows_of(exports, "sft")[-1]["messages"][0] == message("system", "S")


GOOD = json.dumps({"prompt": "p", "completion": "c", "label": True}).encode()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"not json", "not JSON"),
        (b"=cmd()|'/c calc'!A0", "not JSON"),
        (b'{"prompt": "p", "completion": "c", "label": NaN}', "not JSON"),
        (b"[1, 2]", "not a JSON object"),
        (b'{"text": "only text"}', "no \"messages\""),
        (b'{"prompt": "p", "chosen": "a"}', '"rejected" is missing'),
        (b'{"chosen": "a", "rejected": "b"}', '"prompt" is missing'),
        (b'{"prompt": "p", "chosen": "a", "rejected": "a"}', "same text"),
        (b'{"completion": "c"}', '"prompt" is missing'),
        (b'{"prompt": "p", "completion": "c", "label": "yes"}', "true or false"),
        (b'{"messages": [{"role": "robot", "content": "x"}]}', '"role"'),
        (b'{"messages": [{"role": "user", "content": "x"}]}', "answer of the assistant"),
        (b'{"messages": [{"role": "assistant", "content": "x"}]}', "user, assistant"),
        (b'{"messages": []}', "list of messages"),
        ("{\"prompt\": \"猫\", \"completion\": \"咪\"}".encode("gbk"), "UTF-8"),
        (b'{"prompt": "' + b"x" * 200_001 + b'", "completion": "c"}', "200,000"),
        (b"[" * 100_000, "not JSON"),
        (b'{"prompt": "' + b"x" * MAX_LINE_BYTES + b'", "completion": "c"}', "longer than"),
        (b'{"prompt": "raw \0 nul", "completion": "c"}', "not JSON"),
    ],
)  # fmt: skip
def test_a_bad_row_is_named_by_its_number_and_nothing_is_imported(
    database: Database, exports: ExportService, tmp_path: Path, line: bytes, said: str
) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"\n".join([GOOD, b"", line, GOOD]) + b"\n")
    result = exports.import_file(OWNER, OWNER, path)
    assert (result.added, result.skipped) == (0, 0)
    assert [number for number, _ in result.errors] == [3]
    assert result.errors[0][1].startswith("Row 3: ") and said in result.errors[0][1]
    with database.read() as uow:
        assert uow.creations.search(OWNER, OWNER, CreationFilter()).total == 0


def test_marks_line_ends_and_escaped_nul_are_no_trouble(database: Database, exports: ExportService, tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    rows = [json.dumps({"prompt": f"p{n}", "completion": "a\\u0000b\ud800", "label": True}).encode() for n in range(4)]
    rows = [row.replace(b"\\\\u0000", b"\\u0000") for row in rows]
    path.write_bytes(b"\xef\xbb\xbf" + rows[0] + b"\r\n\r\n" + rows[1] + b"\n" + rows[2] + b"\r" + rows[3])
    assert exports.import_file(OWNER, OWNER, path).added == 4
    with database.read() as uow:
        outputs = {item.creation.output for item in uow.creations.search(OWNER, OWNER, CreationFilter()).items}
    assert outputs == {"ab\ufffd"}


def test_a_file_full_of_errors_is_not_read_to_its_end(exports: ExportService, tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"x\n" * 5000)
    assert len(exports.import_file(OWNER, OWNER, path).errors) == 100


def test_a_rating_given_here_is_not_overwritten_by_an_import(database: Database, exports: ExportService, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "in.jsonl", {"prompt": "p", "completion": "c", "label": True})
    exports.import_file(OWNER, OWNER, path)
    with database.read() as uow:
        (item,) = uow.creations.search(OWNER, OWNER, CreationFilter()).items
    FeedbackService(database).rate(OWNER, OWNER, item.creation.id, -1)
    assert exports.import_file(OWNER, OWNER, path).skipped == 1
    rating = FeedbackService(database).rating(OWNER, item.creation.id)
    assert rating is not None and rating.score == -1


def make_zip(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    "members",
    [
        [("../evil.txt", b"x"), ("rows.jsonl", GOOD)],
        [("/etc/evil", b"x"), ("rows.jsonl", GOOD)],
        [("C:\\evil", b"x"), ("rows.jsonl", GOOD)],
        [("rows.jsonl", GOOD), ("rows.jsonl", GOOD)],
        [(link("rows.jsonl"), b"/etc/passwd")],
        [("rows.jsonl", b" " * 300_000_000)],
        [("something.txt", b"x")],
        [],
        [("manifest.json", b"{}")],
        [("manifest.json", b"not json"), ("../evil", b"x")],
        [("manifest.json", b'{"format": 1, "counts": {}, "members": {}}'), ("files/../../evil", b"x")],
    ],
    ids=["parent", "absolute", "windows", "twice", "link", "bomb", "other", "empty", "bare", "damaged", "extra"],
)
def test_hostile_zips_are_refused_whole(
    database: Database, exports: ExportService, tmp_path: Path, members: list[tuple[str | zipfile.ZipInfo, bytes]]
) -> None:
    path = make_zip(tmp_path / "in.zip", *members)
    before = sorted(str(p) for p in tmp_path.rglob("*"))
    with pytest.raises(BadFileError):
        exports.import_file(OWNER, OWNER, path)
    after = {str(p) for p in tmp_path.rglob("*") if p.name not in ("tmp",)}
    assert after <= set(before)
    with database.read() as uow:
        assert uow.creations.search(OWNER, OWNER, CreationFilter()).total == 0


def test_files_that_are_nothing_are_one_sentence(exports: ExportService, tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "half.zip").write_bytes(make_zip(tmp_path / "w.zip", ("rows.jsonl", GOOD * 50)).read_bytes()[:-10])
    result = exports.import_file(OWNER, OWNER, tmp_path / "half.zip") if zipfile.is_zipfile(tmp_path / "half.zip") else None
    assert result is None or result.errors
    for name in ("empty", "nowhere", "."):
        with pytest.raises(BadFileError):
            exports.import_file(OWNER, OWNER, tmp_path / name)
