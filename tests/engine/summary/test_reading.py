"""The limited child: what is hostile or broken costs one sentence, and never the studio."""

from __future__ import annotations

import contextlib
import io
import os
import threading
import time
import zipfile
from pathlib import Path

import psutil
import pytest
from pypdf import PdfWriter

from engine.errors import BadFileError, CancelledError, StudioError, TooLongError
from engine.jobs.job import CancelToken
from engine.summary.reading.draft import ReadingLimits
from engine.summary.reading.read import Reading, ReadingProgress, Source, display_name, read_documents
from tests.engine.summary import papers

GOOD = Source("good.txt", b"The council of the town met on Monday, and it was a long evening.")
LIMITS = ReadingLimits(time_s=30)


def read(tmp_path: Path, *sources: Source, limits: ReadingLimits = LIMITS) -> Reading:
    return read_documents(sources, tmp_path / "work", limits)


def refusal(tmp_path: Path, name: str, data: bytes, limits: ReadingLimits = LIMITS) -> StudioError:
    """The one error of a file, which must not harm the good one after it."""
    reading = read(tmp_path, Source(name, data), GOOD, limits=limits)
    assert [document.name for document in reading.documents] == ["good.txt"]
    assert [(one.index, one.name) for one in reading.refused] == [(0, display_name(name))]
    error = reading.refused[0].error
    assert error.message.endswith(".") and "\n" not in error.message and display_name(name) in error.message
    return error


def old_word_file() -> bytes:
    return b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600 + "WordDocument".encode("utf-16-le") + b"\0" * 600


def locked_word_file() -> bytes:
    return b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600 + "EncryptedPackage".encode("utf-16-le") + b"\0" * 600


def zip_of(entries: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return out.getvalue()


def empty_pdf() -> bytes:
    writer = PdfWriter()
    writer.add_blank_page(100, 100)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "key"),
    [
        ("empty.pdf", b"", "error.read_empty"),
        ("blank.txt", b" \n\t\n", "error.read_empty"),
        ("blank.pdf", empty_pdf(), "error.read_no_text"),
        ("blank.docx", papers.docx([]), "error.read_no_text"),
        ("blank.html", b"<!doctype html><html><body></body></html>", "error.read_no_text"),
        ("scan.pdf", papers.scanned_pdf(), "error.read_scan"),
        ("locked.pdf", papers.locked_pdf("secret"), "error.read_locked"),
        ("locked.docx", locked_word_file(), "error.read_locked"),
        ("half.pdf", papers.pdf([["x" * 500]])[:400], "error.read_damaged"),
        ("noise.pdf", b"%PDF-1.7\n" + os.urandom(5_000), "error.read_damaged"),
        ("looping.pdf", papers.looping_pdf(), "error.read_damaged"),
        ("half.docx", papers.docx(["Hello."])[:900], "error.read_damaged"),
        ("wrong.docx", papers.with_entry(papers.docx(["Hello."]), "word/document.xml", b"<w"), "error.read_damaged"),
        ("wrong.epub", papers.with_entry(papers.epub(["<p>a</p>"]), "OEBPS/book.opf", b"<p"), "error.read_damaged"),
        ("old.doc", old_word_file(), "error.read_type"),
        ("table.xlsx", zip_of({"xl/workbook.xml": b"<x/>"}), "error.read_type"),
        ("many.zip", zip_of({"a.txt": b"a"}), "error.read_type"),
        ("photo.pdf", b"\x89PNG\r\n\x1a\n" + b"\0" * 100, "error.read_type"),
        ("noise.txt", b"\x01\x02\x03\0\xff\x90" * 500, "error.read_binary"),
        ("bomb.docx", papers.with_entry(papers.docx(["a"]), "word/document.xml", b" " * 60_000_000), "error.read_bomb"),
        ("bomb.epub", papers.with_entry(papers.epub(["a"]), "OEBPS/text/c 0.xhtml", b" " * 60_000_000), "error.read_bomb"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_that_cannot_be_read_gets_one_sentence_and_the_next_one_is_read(
    tmp_path: Path, name: str, data: bytes, key: str
) -> None:
    error = refusal(tmp_path, name, data)
    assert isinstance(error, BadFileError) and error.message_key == key


def test_a_stream_of_a_gigabyte_in_a_few_kilobytes_costs_the_studio_nothing(tmp_path: Path) -> None:
    data = papers.nested_pdf()
    assert len(data) < 50_000
    before = psutil.Process().memory_info().rss
    started = time.monotonic()
    error = refusal(tmp_path, "nested.pdf", data)
    assert error.message_key in ("error.read_damaged", "error.read_memory", "error.read_time", "error.read_no_text")
    assert time.monotonic() - started < 60 and psutil.Process().memory_info().rss - before < 50_000_000


def test_entities_that_grow_without_end_are_not_expanded(tmp_path: Path) -> None:
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    body = (
        f'<?xml version="1.0"?><!DOCTYPE d [<!ENTITY l0 "lol">{laughs}]>'
        '<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body><w:p><w:r>'
        "<w:t>&l9;</w:t></w:r></w:p></w:body></w:document>"
    )
    data = papers.with_entry(papers.docx(["a"]), "word/document.xml", body.encode())
    assert refusal(tmp_path, "laughs.docx", data).message_key in ("error.read_damaged", "error.read_no_text")


def test_a_file_of_ten_thousand_pages_is_read_up_to_the_limit(tmp_path: Path) -> None:
    data = papers.pdf([[f"Sentence number {n} stands here."] for n in range(10_000)])
    seen: list[ReadingProgress] = []
    (document,) = read_documents(
        [Source("long.pdf", data)], tmp_path, ReadingLimits(pages=100), on_progress=seen.append
    ).documents
    assert document.pages == 10_000 and len(document.page_starts) == 100
    assert "Sentence number 99 " in document.text and "Sentence number 100 " not in document.text
    assert document.skipped[0].key == "notice.read_pages"
    assert seen[-1] == ReadingProgress(0, "long.pdf", 100, 100) and not list(tmp_path.iterdir())


def test_five_megabytes_of_text_are_read(tmp_path: Path) -> None:
    line = "The council of the town met on Monday, and nobody could say how long it would take. "
    data = (line * 12 + "\n\n").encode() * 5_400
    (document,) = read(tmp_path, Source("long.txt", data)).documents
    assert 4_900_000 < len(document.text) <= 5_000_000 and document.words > 800_000
    assert [one.key for one in document.skipped] == ["notice.read_text_limit"]


def test_what_takes_too_long_is_stopped_and_what_was_read_is_kept(tmp_path: Path) -> None:
    lines = ["The council of the town met on Monday, and nobody could say anything."] * 60
    data = papers.pdf([lines] * 400)
    started = time.monotonic()
    reading = read(tmp_path, Source("slow.pdf", data), limits=ReadingLimits(time_s=1.5))
    assert time.monotonic() - started < 20
    (document,) = reading.documents
    assert document.skipped[0].key == "notice.read_time" and 0 < len(document.page_starts) < 400


def test_too_little_memory_is_one_sentence(tmp_path: Path) -> None:
    words = "".join(f"<p>word {n} of a page that is far too large</p>" for n in range(400_000))
    page = f"<!doctype html><html><body>{words}</body></html>".encode()
    error = refusal(tmp_path, "large.html", page, ReadingLimits(memory_bytes=220 * 1024 * 1024))
    assert isinstance(error, TooLongError) and error.message_key == "error.read_memory"


def test_a_file_beyond_the_size_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, "large.txt", b"a " * 1_000, ReadingLimits(file_bytes=1_000)).message_key == "error.read_bytes"


def test_a_child_that_dies_costs_its_file_only(tmp_path: Path) -> None:
    killed: list[int] = []

    def kill(progress: ReadingProgress) -> None:
        if progress.index == 1 and not killed:
            for child in psutil.Process().children():
                with contextlib.suppress(psutil.NoSuchProcess):  # a zombie of another test
                    if "engine.summary.reading.child" in child.cmdline():
                        killed.append(child.pid)
                        child.kill()

    slow = Source("slow.pdf", papers.pdf([["A line of text that is read slowly."] * 50] * 300))
    reading = read_documents([GOOD, slow, GOOD], tmp_path, LIMITS, on_progress=kill)
    assert killed and len(reading.documents) == 2
    (refused,) = reading.refused
    # On a busy machine the child may have gone on to the next file before its progress is seen.
    assert refused.index in (1, 2) and refused.error.message_key == "error.read_memory"


def test_cancel_ends_the_child_at_once(tmp_path: Path) -> None:
    cancel = CancelToken()
    slow = Source("slow.pdf", papers.pdf([["A line of text that is read slowly."] * 50] * 400))
    timer = threading.Timer(1.0, cancel.cancel)
    timer.start()
    started = time.monotonic()
    with pytest.raises(CancelledError):
        read_documents([slow], tmp_path, ReadingLimits(), cancel=cancel)
    assert time.monotonic() - started < 3 and not list(tmp_path.iterdir())
    timer.join()


def test_a_single_file_that_cannot_be_read_raises_its_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadFileError, match=r"^locked\.pdf is locked with a password"):
        read(tmp_path, Source("locked.pdf", papers.locked_pdf("secret")))
    with pytest.raises(BadFileError, match="nothing to read"):
        read(tmp_path)
    with pytest.raises(BadFileError):
        read(tmp_path, Source.pasted("  "))


def test_pasted_text_with_broken_characters_and_names_with_folders(tmp_path: Path) -> None:
    (document,) = read(tmp_path, Source.pasted("Half a pair: \ud800. It is read.")).documents
    assert "\ud800" not in document.text and "It is read." in document.text
    assert display_name("../../etc/pass\0wd") == "passwd" and display_name("C:\\a\\b.pdf") == "b.pdf"
