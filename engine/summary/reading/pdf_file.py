"""PDF: the text of its pages in reading order, without what repeats on each of them.

Source: ISO 32000-2, read by pypdf, which caps what a stream unpacks to. Knows no other format; runs in the limited child.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

from engine.errors import BadFileError, StudioError
from engine.summary.document import Skipped
from engine.summary.reading.draft import Draft, TimeUpError, damaged, locked, text_limit, time_limit, without_text
from engine.summary.reading.lines import clean_line, goes_on, join, paragraphs, without_repeats, words_of, wrap_width

if TYPE_CHECKING:
    from pypdf import PageObject, PdfReader

_SHOWN_LINES: Final = 3
_SHOWN_CHARS: Final = 60


def read_pdf(data: bytes, draft: Draft) -> None:
    """Read the pages into the draft.

    Raises BadFileError for a file that is locked, damaged, or holds pictures of pages only.
    """
    draft.kind = "pdf"
    reader, count = _open(data, draft)
    draft.pages = count
    last = min(count, draft.limits.pages)
    if count > last:
        message = f"Pages {last + 1} to {count} were left out: the limit is {last} pages."
        draft.skip(Skipped("notice.read_pages", {"first": last + 1, "last": count, "limit": last}, message))
    pages, bare, failed = _read_pages(reader, last, draft)
    if not any(any(page) for page in pages):
        raise _nothing_to_read(reader, last, failed, draft)
    if failed:
        draft.skip(Skipped("notice.read_page_failed", {"pages": _ranges(failed)}, f"Damaged, not read: pages {_ranges(failed)}."))
    if bare:
        message = f"Without text (pictures or empty): pages {_ranges(bare)}."
        draft.skip(Skipped("notice.read_page_bare", {"pages": _ranges(bare)}, message))
    kept, repeated, numbers = without_repeats(pages)
    if repeated or numbers:
        draft.skip(_repeats(repeated))
    _write(kept, draft)


def _open(data: bytes, draft: Draft) -> tuple[PdfReader, int]:
    from pypdf import PdfReader

    try:
        reader = PdfReader(io.BytesIO(data))
        # Most locked files may be read by everybody, and are locked against changes only: their password is empty.
        if reader.is_encrypted and not reader.decrypt(""):
            raise locked(draft.name)
        count = len(reader.pages)
        draft.title = clean_line(str(reader.metadata.title or "")) if reader.metadata else ""
        return reader, count
    except StudioError:
        raise
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - a broken file makes pypdf raise anything; what it was is in the child's log
        raise damaged(draft.name, "pdf") from error


def _read_pages(reader: PdfReader, last: int, draft: Draft) -> tuple[list[list[str]], list[int], list[int]]:
    """Return each page's clean lines, the numbers of the pages without any, and of those that are damaged."""
    pages: list[list[str]] = []
    bare: list[int] = []
    failed: list[int] = []
    chars = 0
    try:
        for i in range(last):
            try:
                lines = [clean_line(line) for line in reader.pages[i].extract_text().splitlines()]
            except MemoryError:
                raise
            except Exception:  # noqa: BLE001 - one damaged page is one page less, whatever pypdf said
                lines = []
                failed.append(i + 1)
            else:
                if not any(lines):
                    bare.append(i + 1)
            pages.append(lines)
            draft.progress(i + 1, last)
            chars += sum(map(len, lines))
            if chars > draft.limits.text_bytes:
                draft.skip(text_limit(draft.limits))
                break
    except TimeUpError:
        draft.skip(time_limit(draft.limits))
    return pages, bare, failed


def _write(pages: list[list[str]], draft: Draft) -> None:
    every_line = [line for page in pages for line in page]
    width = wrap_width(every_line)
    words = words_of(every_line)
    pending = ""
    for page in pages:
        found = list(paragraphs(page, width, words))
        if pending and found and not draft.is_full and _goes_on_overleaf(pending, found[0]):
            # The page begins inside the paragraph.
            joined = join(pending, found[0], words)
            start = draft.chars + (2 if draft.chars else 0)
            draft.page_starts.append(start + _overlap(pending, joined))
            found[0] = joined
        else:
            draft.add(pending)
            draft.begin_page()
        draft.add_all(found[:-1])
        pending = found[-1] if found else ""
    draft.add(pending)
    draft.page_starts = [min(start, draft.chars) for start in draft.page_starts]


def _goes_on_overleaf(before: str, following: str) -> bool:
    """Whether a paragraph goes on over the page: it has no end, and what follows is inside a sentence or Chinese prose."""
    if before.endswith((".", "!", "?", ":", "。", "！", "？", "：", "”", "」")) or "\n" in before:
        return False
    return following[:1].islower() or (not following[:1].isascii() and len(before) > 40 and goes_on(before, following, 40))


def _overlap(before: str, joined: str) -> int:
    """Offset in `joined` at which the second part begins."""
    if joined.startswith(before):
        return len(before) + (joined[len(before) : len(before) + 1] == " ")
    return len(before) - 1  # its hyphen is gone


def _nothing_to_read(reader: PdfReader, last: int, failed: list[int], draft: Draft) -> StudioError:
    if failed and len(failed) == last:
        return damaged(draft.name, "pdf")
    if any(_has_picture(reader.pages[i]) for i in range(min(last, 5)) if i + 1 not in failed):
        return BadFileError(
            f"{draft.name} holds pictures of pages and no text. Run text recognition (OCR) over it first, then add it again.",
            key="error.read_scan",
            name=draft.name,
        )
    return without_text(draft.name)


def _has_picture(page: PageObject) -> bool:
    try:
        resources: Any = page["/Resources"]
        objects = resources["/XObject"]
        return any(objects[name].get("/Subtype") == "/Image" for name in objects)
    except (KeyError, TypeError, AttributeError, ValueError):
        return False


def _repeats(repeated: tuple[str, ...]) -> Skipped:
    if not repeated:
        return Skipped("notice.read_page_numbers", {}, "The page numbers were left out.")
    lines = "; ".join(line[:_SHOWN_CHARS] for line in repeated[:_SHOWN_LINES])
    return Skipped(
        "notice.read_repeated", {"lines": lines}, f"Page numbers and lines repeated on the pages were left out: {lines}."
    )


def _ranges(numbers: list[int]) -> str:
    """ "1–3, 7"."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1] = [parts[-1][0], number]
        else:
            parts.append([number])
    shown = ", ".join("–".join(map(str, part)) for part in parts[:12])
    return f"{shown}, …" if len(parts) > 12 else shown
