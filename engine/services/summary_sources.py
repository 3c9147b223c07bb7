"""What goes into a summary: pasted text, files and documents that were read before, as sources for the reader.

Knows limits and bytes; knows no file format, no row and no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from engine.errors import BadFileError, TooLongError
from engine.safety.limits import clean_text
from engine.services.summary_documents import KeptDocument
from engine.summary.language import document_language
from engine.summary.reading.draft import ReadingLimits
from engine.summary.reading.read import Source, display_name

MAX_FILES: Final = 20
"""Files of one summary."""
TITLE_CHARS: Final = 80


def sources_of(text: str | None, files: Sequence[Path], limits: ReadingLimits) -> tuple[Source, ...]:
    """The text and the files, unread. Raises TooLongError, and BadFileError when there is nothing or a file is gone."""
    if len(files) > MAX_FILES:
        raise TooLongError(f"At most {MAX_FILES} files go into one summary.", key="error.summary_files", n=MAX_FILES)
    sources = []
    if text is not None and text.strip():
        sources.append(Source.pasted(clean_text(text, max_chars=limits.text_bytes, what="The text")))
    for path in files:
        sources.append(Source(display_name(path.name), _bytes_of(path, limits.file_bytes)))
    if not sources:
        raise BadFileError("There is nothing to summarise. Paste a text or add a file.", key="error.read_nothing")
    return tuple(sources)


def source_again(kept: KeptDocument) -> Source:
    """A document that was read before, beside new ones: its text is read like pasted text, in its turn."""
    return Source(kept.document.name or kept.document.title, kept.document.text.encode(), is_pasted=True)


def title_of_sources(sources: Sequence[Source]) -> str:
    """Until the documents are read: the files' names, or how the text begins."""
    names = [one.name or " ".join(one.data[: 4 * TITLE_CHARS].decode("utf-8", "ignore").split())[:TITLE_CHARS] for one in sources]
    return "; ".join(names)


def language_of(sources: Sequence[Source]) -> str:
    """Of the pasted text; "" without one, or when there is too little of it to tell."""
    pasted = next((one.data.decode("utf-8", "replace") for one in sources if one.is_pasted), "")
    return document_language(pasted) if pasted else ""


def _bytes_of(path: Path, limit: int) -> bytes:
    """The file, or a little more of it than may be read: the reader says so."""
    try:
        with path.open("rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        raise BadFileError("An uploaded file is gone. Add it again.", key="error.upload_gone") from error
