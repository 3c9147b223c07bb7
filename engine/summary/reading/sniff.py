"""What a file really is, by its first bytes and, in an archive, by what lies in it; the name decides only between kinds of text.

Knows signatures of formats; reads no document. What is no document gets one sentence that says what it is.
"""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import PurePosixPath
from typing import Final, Literal, TypeAlias

from engine.errors import BadFileError
from engine.summary.reading.draft import damaged, locked

Kind: TypeAlias = Literal["pdf", "docx", "epub", "html", "markdown", "csv", "text"]

ENTRIES_MAX: Final = 20_000
UNPACKED_MAX_BYTES: Final = 300 * 1024 * 1024
RATIO_MAX: Final = 150
"""Times that text may shrink in an archive; prose shrinks to a third, the most regular table to a hundredth."""
RATIO_FROM_BYTES: Final = 10 * 1024 * 1024

_SIGNATURES: Final[tuple[tuple[bytes, str], ...]] = (
    (b"{\\rtf", "a rich text file (.rtf)"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"GIF8", "a picture"),
    (b"BM", "a picture"),
    (b"II*\0", "a picture"),
    (b"MM\0*", "a picture"),
    (b"8BPS", "a picture"),
    (b"%!PS", "a PostScript file"),
    (b"\x1f\x8b", "an archive"),
    (b"7z\xbc\xaf\x27\x1c", "an archive"),
    (b"Rar!", "an archive"),
    (b"BZh", "an archive"),
    (b"\xfd7zXZ", "an archive"),
    (b"MZ", "a program"),
    (b"\x7fELF", "a program"),
    (b"SQLite format 3", "a database"),
    (b"ID3", "a sound or a film"),
    (b"OggS", "a sound or a film"),
    (b"fLaC", "a sound or a film"),
)
_ARCHIVED: Final[tuple[tuple[str, str], ...]] = (
    ("xl/", "a spreadsheet"),
    ("ppt/", "a presentation"),
    ("content.xml", "an OpenDocument file"),
)
_HTML: Final = re.compile(
    rb"\A\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<(!doctype\s+html|html|head|body|article|main|section|div|p|h1|table)\b",
    re.I | re.S,
)
_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_SHORT_SIGNATURE: Final = 3
_BY_SUFFIX: Final[dict[str, Kind]] = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".mdown": "markdown",
    ".csv": "csv",
    ".tsv": "csv",
}


def kind_of(data: bytes, name: str) -> Kind:
    """Return what the file is. Raises BadFileError with a sentence that says what it is instead."""
    head = data[:1024]
    if b"%PDF-" in head:
        return "pdf"
    if data.startswith(b"PK\x03\x04"):
        return _kind_of_archive(data, name)
    if data.startswith(_OLE):
        raise _refuse_compound_file(data, name)
    for signature, what in _SIGNATURES:
        # Three letters also begin words: those are binary only when the rest is.
        if data.startswith(signature) and (len(signature) > _SHORT_SIGNATURE or b"\0" in head):
            raise _not_read(name, what)
    if (data[:4] == b"RIFF" and data[8:12] == b"WEBP") or data[4:12] in (b"ftypavif", b"ftypheic"):
        raise _not_read(name, "a picture")
    if data[4:8] == b"ftyp" or data[:4] == b"RIFF":
        raise _not_read(name, "a sound or a film")
    if _HTML.match(_as_ascii(data[:4096])):
        return "html"
    return _BY_SUFFIX.get(PurePosixPath(name.lower()).suffix, "text")


def open_archive(data: bytes, name: str, kind: Kind) -> zipfile.ZipFile:
    """Open a DOCX's or EPUB's archive, which the caller closes, after looking at the sizes its directory gives.

    zipfile unpacks no entry beyond the size in the directory, so that these sizes bound what is unpacked.
    Raises BadFileError when it is damaged, and for one that unpacks to far more than a document needs.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError) as error:
        raise damaged(name, kind) from error
    if len(entries) > ENTRIES_MAX or sum(entry.file_size for entry in entries) > UNPACKED_MAX_BYTES:
        raise _bomb(name)
    for entry in entries:
        if entry.file_size > RATIO_FROM_BYTES and entry.file_size > RATIO_MAX * max(1, entry.compress_size):
            raise _bomb(name)
    return archive


def _kind_of_archive(data: bytes, name: str) -> Kind:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            is_locked = any(entry.flag_bits & 1 for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError) as error:
        suffix = PurePosixPath(name.lower()).suffix
        raise damaged(name, "epub" if suffix == ".epub" else "docx") from error
    if is_locked:
        raise locked(name)
    if "word/document.xml" in names:
        return "docx"
    if "META-INF/container.xml" in names and "content.xml" not in names:
        return "epub"
    for start, what in _ARCHIVED:
        if any(entry.startswith(start) for entry in names):
            raise _not_read(name, what)
    raise _not_read(name, "an archive")


def _refuse_compound_file(data: bytes, name: str) -> BadFileError:
    """Old Office files, and new ones behind a password, are compound files; their directory's names are UTF-16."""
    if "EncryptedPackage".encode("utf-16-le") in data:
        return locked(name)
    if "WordDocument".encode("utf-16-le") in data:
        return _not_read(name, "an old Word file (.doc)")
    return _not_read(name, "an old Office file")


def _as_ascii(head: bytes) -> bytes:
    """The beginning without byte order mark and without the NULs of UTF-16, as far as tags are concerned."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return head[2:].replace(b"\0", b"")
    return head.removeprefix(b"\xef\xbb\xbf")


def _not_read(name: str, what: str) -> BadFileError:
    return BadFileError(
        f"{name} is {what}, which is not read here. Save it as PDF, Word (.docx) or text and add that.",
        key="error.read_type",
        name=name,
        what=what,
    )


def _bomb(name: str) -> BadFileError:
    return BadFileError(
        f"{name} unpacks to far more than a document holds, so it was not opened. Use another file.",
        key="error.read_bomb",
        name=name,
    )
