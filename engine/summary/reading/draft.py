"""What a reader of one format hands on, how much it may read, and the wording of what it left out.

Knows no format. The sentences are also in assets/i18n, by key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, TypeAlias

from engine.errors import BadFileError, TooLongError
from engine.summary.document import Skipped

KINDS: Final[Mapping[str, str]] = {
    "pdf": "PDF",
    "docx": "Word (.docx)",
    "html": "HTML",
    "epub": "EPUB",
    "markdown": "Markdown",
    "csv": "CSV",
    "text": "text",
}
"""Kind → as people call it, in every language."""
GRACE_S: Final = 5.0
"""Beyond the limit, for what was read to be put in order; then the process is ended from outside."""
EXIT_MEMORY: Final = 12
"""Exit code of a child that ran out of memory."""
Progress: TypeAlias = Callable[[int, int], None]
"""(pages or parts that are read, of how many)."""


class TimeUpError(BaseException):
    """The time for this file is over. No Exception, so that no library takes it for a fault in the file."""


@dataclass(frozen=True, slots=True)
class ReadingLimits:
    """How much of one file is read, and what it may take."""

    pages: int = 500
    """Pages of a PDF."""
    text_bytes: int = 5_000_000
    """Text, in UTF-8."""
    time_s: float = 60.0
    """Time for one file."""
    memory_bytes: int = 1_024 * 1024 * 1024
    """Address space of the child, where the system can limit it (Linux)."""
    file_bytes: int = 100 * 1024 * 1024
    """The file itself."""

    def as_json(self) -> dict[str, Any]:
        """As the child's job carries it."""
        return asdict(self)


@dataclass(slots=True)
class Draft:
    """A document while it is read: its text piece by piece, until the limit."""

    name: str
    limits: ReadingLimits
    kind: str = "text"
    title: str = ""
    pages: int | None = None
    page_starts: list[int] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    progress: Progress = lambda done, total: None
    _parts: list[str] = field(default_factory=list)
    _chars: int = 0
    _bytes: int = 0
    _is_full: bool = False

    @property
    def is_full(self) -> bool:
        """Whether the text reached its limit; what is added now is left out."""
        return self._is_full

    @property
    def chars(self) -> int:
        """Characters so far: the offset at which the next piece begins."""
        return self._chars

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._parts)

    def add(self, piece: str, *, after: str = "\n\n") -> bool:
        """Append one paragraph or line, with `after` between it and what stands before it; empty ones are left out.

        Returns False once the limit is reached: the piece is cut there, and `skipped` says so.
        """
        if self._is_full or not piece:
            return not self._is_full
        if self._parts:
            piece = after + piece
        room = self.limits.text_bytes - self._bytes
        if len(piece) * 4 > room:
            encoded = piece.encode("utf-8", "replace")
            if len(encoded) > room:
                piece = encoded[:room].decode("utf-8", "ignore").rstrip()
                self._is_full = True
                self.skip(text_limit(self.limits))
            self._bytes += min(len(encoded), room)
        else:
            self._bytes += len(piece) if piece.isascii() else len(piece.encode("utf-8", "replace"))
        self._parts.append(piece)
        self._chars += len(piece)
        return not self._is_full

    def add_all(self, pieces: Iterable[str]) -> None:
        """Append paragraphs until the limit."""
        for piece in pieces:
            if not self.add(piece):
                return

    def begin_page(self) -> None:
        """The next piece stands on a new page."""
        # Its text begins behind the blank line that `add` sets before it.
        self.page_starts.append(self._chars + 2 if self._parts else 0)

    def skip(self, what: Skipped) -> None:
        """Say, once, that something was not read."""
        if what not in self.skipped:
            self.skipped.append(what)


def text_limit(limits: ReadingLimits) -> Skipped:
    """The text is longer than the limit."""
    megabytes = f"{limits.text_bytes / 1_000_000:g}"
    message = f"Everything after the first {megabytes} MB of text was left out."
    return Skipped("notice.read_text_limit", {"megabytes": megabytes}, message)


def time_limit(limits: ReadingLimits) -> Skipped:
    """The reading took longer than the limit."""
    seconds = f"{limits.time_s:g}"
    return Skipped("notice.read_time", {"seconds": seconds}, f"What could not be read within {seconds} seconds was left out.")


def pictures(count: int) -> Skipped:
    """Pictures hold no text that is read."""
    message = "1 picture was left out." if count == 1 else f"{count} pictures were left out."
    return Skipped("notice.read_pictures", {"n": count}, message)


def damaged(name: str, kind: str) -> BadFileError:
    """The file is not what it says it is, or broken."""
    wanted = KINDS[kind]
    return BadFileError(
        f"{name} is damaged, or no whole {wanted} file. Open it in its own program, save it again and add the copy.",
        key="error.read_damaged",
        name=name,
        kind=wanted,
    )


def locked(name: str) -> BadFileError:
    """The file needs a password."""
    return BadFileError(
        f"{name} is locked with a password. Save a copy without one and add that.", key="error.read_locked", name=name
    )


def without_text(name: str) -> BadFileError:
    """The file is whole and holds no text."""
    return BadFileError(f"There is no text in {name}. Use another file, or paste the text.", key="error.read_no_text", name=name)


def too_slow(name: str, limits: ReadingLimits) -> TooLongError:
    """The error for a file that takes longer than the limit."""
    seconds = f"{limits.time_s:g}"
    return TooLongError(
        f"Reading {name} took longer than {seconds} seconds and was stopped. Use a smaller or simpler copy of it.",
        key="error.read_time",
        name=name,
        seconds=seconds,
    )


def too_big(name: str, limits: ReadingLimits) -> TooLongError:
    """The error for a file that takes more memory than the limit."""
    megabytes = limits.memory_bytes // (1024 * 1024)
    return TooLongError(
        f"Reading {name} needs more than {megabytes} MB of memory and was stopped. Use a smaller or simpler copy of it.",
        key="error.read_memory",
        name=name,
        megabytes=megabytes,
    )


def unreadable(name: str) -> BadFileError:
    """The error for a file that broke its reader."""
    return BadFileError(
        f"{name} cannot be read: it is damaged. Open it in its own program, save it again and add the copy.",
        key="error.read_broken",
        name=name,
    )
