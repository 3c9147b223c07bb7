"""Plain text, Markdown and CSV: their words without their markup.

Knows no other format.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from engine.errors import BadFileError
from engine.summary.document import Skipped
from engine.summary.reading.draft import Draft, pictures, text_limit, without_text
from engine.summary.reading.encoding import decode
from engine.summary.reading.html_page import block_text, parse_html
from engine.summary.reading.lines import clean_line, paragraphs, words_of, wrap_width

_FRONT_MATTER: Final = re.compile(r"\A---\n.*?\n(?:---|\.\.\.)\n", re.S)
_SAMPLE_CHARS: Final = 64 * 1024
_SAMPLE_ROWS: Final = 50
_DELIMITERS: Final = ",;\t|"
_NUMBER: Final = re.compile(r"[\s$€£¥%+-]*[\d.,:/-]+[\s$€£¥%]*")


def read_text(data: bytes, draft: Draft) -> None:
    """Read a text file into the draft. Raises BadFileError for bytes that are no text, and for an empty one."""
    write_text(_decode(data, draft), draft)


def read_markdown(data: bytes, draft: Draft) -> None:
    """Read Markdown into the draft, without its signs. Raises what read_text raises."""
    draft.kind = "markdown"
    write_markdown(_decode(data, draft), draft)


def read_csv(data: bytes, draft: Draft) -> None:
    """Read a table into the draft, a line for each row with the column's name before each value. Raises what read_text raises."""
    text = _decode(data, draft)
    rows = _rows(text)
    if rows is None:
        write_text(text, draft)
        return
    draft.kind = "csv"
    header = next(rows, [])
    has_header = _is_header(header)
    if not has_header:
        draft.add(" | ".join(cell for cell in header if cell))
    for row in rows:
        if has_header:
            cells = [f"{name}: {cell}" if name else cell for name, cell in zip(_named(header, row), row, strict=True) if cell]
            line = "; ".join(cells)
        else:
            line = " | ".join(cell for cell in row if cell)
        if not draft.add(line, after="\n"):
            break
    if not draft.chars:
        raise without_text(draft.name)


def write_text(text: str, draft: Draft) -> None:
    """Add plain text: hard line ends inside paragraphs are joined. Raises BadFileError when there is none."""
    # What is far beyond the limit is not even looked at.
    most = draft.limits.text_bytes
    lines = [clean_line(line) for line in text[:most].splitlines()]
    draft.add_all(paragraphs(lines, wrap_width(lines), words_of(lines)))
    if len(text) > most:
        draft.skip(text_limit(draft.limits))
    if not draft.chars:
        raise without_text(draft.name)


def write_markdown(text: str, draft: Draft) -> None:
    """Add Markdown as plain text. Raises BadFileError when there is none."""
    from markdown_it import MarkdownIt

    source = _FRONT_MATTER.sub("", text[: 2 * draft.limits.text_bytes].replace("\r\n", "\n"))
    # Its HTML has the same blocks, and raw HTML in it loses its tags on the same way.
    tree = parse_html(MarkdownIt("commonmark").enable("table").render(source))
    if tree is None:
        raise without_text(draft.name)
    heading = next((one for level in ("h1", "h2") for one in tree.iter(level)), None)
    draft.title = clean_line(heading.text_content()) if heading is not None else ""
    count = sum(1 for _ in tree.iter("img"))
    if count:
        draft.skip(pictures(count))
    draft.add_all(block_text(tree).split("\n\n"))
    if len(text) > 2 * draft.limits.text_bytes:
        draft.skip(text_limit(draft.limits))
    if not draft.chars:
        raise without_text(draft.name)


def _decode(data: bytes, draft: Draft) -> str:
    found = decode(data)
    if found is None:
        raise BadFileError(
            f"{draft.name} is no document: it holds no text that can be read. Use a PDF, Word, HTML, EPUB or text file.",
            key="error.read_binary",
            name=draft.name,
        )
    text, lost = found
    if lost:
        message = "1 character could not be read." if lost == 1 else f"{lost} characters could not be read."
        draft.skip(Skipped("notice.read_characters", {"n": lost}, message))
    return text


def _rows(text: str) -> Iterator[list[str]] | None:
    """Return the rows with clean cells; None when the text is no table."""
    delimiter = _delimiter(text)
    if delimiter is None:
        return None

    def rows() -> Iterator[list[str]]:
        reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter)
        while True:
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error:
                continue  # one row whose quotes never close
            if any(row):
                yield [clean_line(cell) for cell in row]

    return rows()


def _delimiter(text: str) -> str | None:
    """Return the sign that divides most of the first rows into the same number of cells, at least two; None for no table."""
    sample = text[:_SAMPLE_CHARS].splitlines(keepends=True)[:_SAMPLE_ROWS]
    best, most = None, 0.0
    for delimiter in _DELIMITERS:
        try:
            counts = Counter(len(row) for row in csv.reader(sample, delimiter=delimiter) if any(row))
        except csv.Error:
            continue
        if not counts:
            continue
        cells, rows = counts.most_common(1)[0]
        agreement = rows / counts.total() * min(cells, 3)  # more columns are surer ones, up to a point
        if cells > 1 and 2 * rows > counts.total() and agreement > most:
            best, most = delimiter, agreement
    return best


def _is_header(row: Sequence[str]) -> bool:
    """Names are there, differ, and are no numbers."""
    filled = [cell for cell in row if cell]
    return len(filled) > 1 and len(set(filled)) == len(filled) and not any(_NUMBER.fullmatch(cell) for cell in filled)


def _named(header: Sequence[str], row: Sequence[str]) -> list[str]:
    return [header[i] if i < len(header) else "" for i in range(len(row))]
