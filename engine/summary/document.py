"""A document as everything after the reading sees it: one plain text, what it is, and what of it was not read.

Offsets into `Document.text` are the contract of every link from a summary to its source. Knows no file format and no model.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

_ONE_EACH: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
"""Scripts that set no space between words: Thai, Lao, Burmese, Khmer, kana, Han."""
_WORD: Final = re.compile(rf"[{_ONE_EACH}]|[^\W{_ONE_EACH}]+(?:['’][^\W{_ONE_EACH}]+)*")


@dataclass(frozen=True, slots=True)
class Skipped:
    """One thing that was not read and why: one sentence, in English and by key and values in assets/i18n."""

    key: str
    values: Mapping[str, Any]
    message: str

    def as_json(self) -> dict[str, Any]:
        """As job data and a child's events keep it."""
        return {"key": self.key, "values": dict(self.values), "message": self.message}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Skipped:
        """The other way."""
        return Skipped(str(value["key"]), dict(value["values"]), str(value["message"]))


@dataclass(frozen=True, slots=True)
class Document:
    """One document that was read."""

    title: str
    """What it calls itself, else its file's name, else its first line."""
    text: str
    """Paragraphs with one blank line between them; lines of a list or a table with one line end between them."""
    language: str
    """ISO 639-1 code; "" when there is too little text to tell."""
    words: int
    """As `count_words` counts: characters in Chinese and other scripts without spaces."""
    pages: int | None = None
    """Pages of the file, those that were not read too; None for formats without pages."""
    page_starts: tuple[int, ...] = ()
    """Offset of each page that was read, page 1 first; not falling. Empty without pages."""
    skipped: tuple[Skipped, ...] = ()
    name: str = ""
    """The file's name; "" for text that was pasted."""
    kind: str = "text"
    """What it really is: "pdf", "docx", "html", "epub", "markdown", "csv" or "text"."""

    def page_of(self, offset: int) -> int | None:
        """Return the page, from 1, that holds the character at `offset`; None without pages."""
        return max(1, bisect_right(self.page_starts, offset)) if self.page_starts else None

    def as_json(self) -> dict[str, Any]:
        """Everything, the text too."""
        return {**asdict(self), "page_starts": list(self.page_starts), "skipped": [one.as_json() for one in self.skipped]}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Document:
        """The other way."""
        return Document(
            title=str(value["title"]),
            text=str(value["text"]),
            language=str(value["language"]),
            words=int(value["words"]),
            pages=None if value["pages"] is None else int(value["pages"]),
            page_starts=tuple(int(start) for start in value["page_starts"]),
            skipped=tuple(Skipped.from_json(one) for one in value["skipped"]),
            name=str(value["name"]),
            kind=str(value["kind"]),
        )


def count_words(text: str) -> int:
    """Number of words; each character is one in scripts without spaces (Chinese, Japanese, Thai). Punctuation is none."""
    return sum(1 for _ in _WORD.finditer(text))
