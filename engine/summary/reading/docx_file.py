"""Word documents: paragraphs and tables in their order, insertions as part of the text, deletions gone.

Source: ECMA-376 part 1, WordprocessingML, opened by python-docx. Knows no other format; runs in the limited child.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from engine.summary.document import Skipped
from engine.summary.reading.draft import Draft, TimeUpError, damaged, pictures, time_limit, without_text
from engine.summary.reading.lines import clean_line
from engine.summary.reading.sniff import open_archive

if TYPE_CHECKING:
    from docx.document import Document as WordDocument

_W: Final = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_FALLBACK: Final = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_DRAWING: Final = "{http://schemas.openxmlformats.org/drawingml/2006/picture}pic"
_BREAKS: Final = frozenset({f"{_W}br", f"{_W}cr"})
_CELL_BETWEEN: Final = " | "
_NOT_READ: Final = (
    ("footnotes", "footnotes"),
    ("endnotes", "endnotes"),
    ("comments", "comments"),
)


def read_docx(data: bytes, draft: Draft) -> None:
    """Read the body into the draft. Raises BadFileError for a damaged file, a bomb, and one without text."""
    draft.kind = "docx"
    open_archive(data, draft.name, "docx").close()
    document = _open(data, draft)
    draft.title = clean_line(document.core_properties.title or "")
    try:
        for block, is_list in _blocks(document.element.body):
            if not draft.add(block, after="\n" if is_list else "\n\n"):
                break
    except TimeUpError:
        draft.skip(time_limit(draft.limits))
    count = sum(1 for _ in document.element.body.iter(_DRAWING))
    if count:
        draft.skip(pictures(count))
    parts = {str(part.partname) for part in document.part.package.iter_parts()}
    for part, what in _NOT_READ:
        if any(f"/word/{part}.xml" == name for name in parts):
            draft.skip(Skipped("notice.read_notes", {"what": what}, f"The {what} were left out."))
    if not draft.chars:
        raise without_text(draft.name)


def _open(data: bytes, draft: Draft) -> WordDocument:
    import docx

    try:
        return docx.Document(io.BytesIO(data))
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - a broken archive makes lxml, zipfile and python-docx raise anything
        raise damaged(draft.name, "docx") from error


def _blocks(body: Any) -> Iterator[tuple[str, bool]]:
    """Yield each paragraph, and each table as one paragraph of lines; whether it belongs under the list item before it."""
    was_list = False
    for element in body.iterchildren():
        if element.tag == f"{_W}p":
            is_list = element.find(f"{_W}pPr/{_W}numPr") is not None or _style_of(element).startswith("List")
            text = _paragraph(element)
            if text:
                yield (f"• {text}" if is_list else text), is_list and was_list
                was_list = is_list
        elif element.tag == f"{_W}tbl":
            yield "\n".join(_rows(element)), False
            was_list = False
        elif element.tag == f"{_W}sdt":
            for content in element.iterchildren(f"{_W}sdtContent"):
                yield from _blocks(content)


def _style_of(paragraph: Any) -> str:
    style = paragraph.find(f"{_W}pPr/{_W}pStyle")
    return str(style.get(f"{_W}val", "")) if style is not None else ""


def _paragraph(paragraph: Any) -> str:
    """The text of one paragraph, text boxes in it too; what a change took away is in other elements and stays out."""
    pieces: list[str] = []
    for element in _inside(paragraph):
        if element.tag == f"{_W}t":
            pieces.append(element.text or "")
        elif element.tag in _BREAKS:
            pieces.append("\n")
        elif element.tag == f"{_W}tab":
            pieces.append(" ")
        elif element.tag == f"{_W}noBreakHyphen":
            pieces.append("-")
        elif element.tag == f"{_W}p" and element is not paragraph:
            pieces.append("\n")
    lines = (clean_line(line) for line in "".join(pieces).split("\n"))
    return "\n".join(line for line in lines if line)


def _inside(element: Any) -> Iterator[Any]:
    """Every element below, in order, without the second copies that are there for older programs."""
    yield element
    for child in element.iterchildren():
        if child.tag not in (_FALLBACK, f"{_W}pPr", f"{_W}rPr", f"{_W}moveFrom"):
            yield from _inside(child)


def _rows(table: Any) -> Iterator[str]:
    for row in table.iterchildren(f"{_W}tr"):
        cells = [" ".join(_texts_of(cell)) for cell in row.iter(f"{_W}tc")]
        line = _CELL_BETWEEN.join(cell for cell in cells if cell)
        if line:
            yield line


def _texts_of(cell: Any) -> Iterable[str]:
    return (text for paragraph in cell.iterchildren(f"{_W}p") if (text := _paragraph(paragraph).replace("\n", " ")))
