"""One file's bytes to one Document: what it is, the reader for it, and what every document has: a title, a language, its words.

Knows the readers; knows no process and sets no limit on time or memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Final

from engine.errors import BadFileError, TooLongError
from engine.summary.document import Document, count_words
from engine.summary.language import document_language
from engine.summary.reading.docx_file import read_docx
from engine.summary.reading.draft import Draft
from engine.summary.reading.epub_file import read_epub
from engine.summary.reading.html_page import read_html
from engine.summary.reading.pdf_file import read_pdf
from engine.summary.reading.sniff import Kind, kind_of
from engine.summary.reading.text_file import read_csv, read_markdown, read_text, write_text

_READERS: Final[Mapping[Kind, Callable[[bytes, Draft], None]]] = {
    "pdf": read_pdf,
    "docx": read_docx,
    "html": read_html,
    "epub": read_epub,
    "markdown": read_markdown,
    "csv": read_csv,
    "text": read_text,
}
_TITLE_CHARS: Final = 200


def read_file(data: bytes, draft: Draft) -> Document:
    """Read a file of any kind. Raises BadFileError and TooLongError with the sentence for the user."""
    limit = draft.limits.file_bytes
    if len(data) > limit:
        megabytes = limit // (1024 * 1024)
        raise TooLongError(
            f"{draft.name} is larger than {megabytes} MB. Split it, or raise the limit in the settings of the start.",
            key="error.read_bytes",
            name=draft.name,
            megabytes=megabytes,
        )
    if not data.strip():
        raise BadFileError(
            f"{draft.name} is empty. Use another file, or paste the text.", key="error.read_empty", name=draft.name
        )
    _READERS[kind_of(data, draft.name)](data, draft)
    return finish(draft)


def read_pasted(text: str, draft: Draft) -> Document:
    """Make a Document of text that was typed or pasted. Raises BadFileError when there is none."""
    write_text(text, draft)
    return finish(draft)


def finish(draft: Draft) -> Document:
    """What was read as a Document."""
    text = draft.text
    first = next((line.strip("• ") for line in text[:2000].splitlines() if line.strip("• ")), "")
    title = draft.title or PurePosixPath(draft.name).stem or first
    return Document(
        title=title if len(title) <= _TITLE_CHARS else title[: _TITLE_CHARS - 1].rstrip() + "…",
        text=text,
        language=document_language(text),
        words=count_words(text),
        pages=draft.pages,
        page_starts=tuple(draft.page_starts),
        skipped=tuple(draft.skipped),
        name=draft.name,
        kind=draft.kind,
    )
