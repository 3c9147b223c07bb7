"""The characters of a text file: byte order marks, UTF-8, UTF-16 without a mark, GB 18030, and what charset-normalizer finds.

Knows encodings; knows no format.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SAMPLE_BYTES: Final = 64 * 1024
_DAMAGED_SHARE: Final = 0.01
"""Share of bad bytes up to which a file is still UTF-8, with some characters lost."""
_BINARY_SHARE: Final = 0.02
"""Share of control characters from which a file is no text."""
_CONTROL: Final = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f\ufffe\uffff]")
_USUAL_SHARE: Final = 0.9
"""Share of the Chinese characters that are among the 3755 everyday ones, from which bytes are GB 18030 and no other encoding."""
_REPLACED: Final = "\ufffd"


def decode(data: bytes) -> tuple[str, int] | None:
    """Return the text and how many characters could not be read, each U+FFFD in it; None when the bytes are no text.

    Control characters are dropped, except line ends and tabs.
    """
    found = _decoded(data)
    if found is None:
        return None
    before = len(found)
    text = _CONTROL.sub("", found)
    if before and (before - len(text)) / before > _BINARY_SHARE:
        return None
    return text, text.count(_REPLACED)


def _decoded(data: bytes) -> str | None:
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, "replace")
    wide = _as_utf16(data)
    if wide is not None:
        return wide
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        pass  # the next ones are tried
    damaged = data.decode("utf-8", "replace")
    if damaged.count(_REPLACED) <= _DAMAGED_SHARE * len(damaged) and not damaged.isascii() and _has_utf8(damaged):
        return damaged
    chinese = _as_gb18030(data)
    if chinese is not None:
        return chinese
    return _as_found(data)


def _has_utf8(text: str) -> bool:
    """Whether most of what is not ASCII was whole UTF-8."""
    others = sum(not character.isascii() for character in text[:_SAMPLE_BYTES])
    return others > 2 * text[:_SAMPLE_BYTES].count(_REPLACED)


def _as_utf16(data: bytes) -> str | None:
    """UTF-16 without a mark, of either byte order: the one in which nearly every character is one that people write."""
    if len(data) % 2 or b"\0" not in data[:_SAMPLE_BYTES]:
        return None
    best: tuple[float, str] = (_USUAL_SHARE, "")
    for encoding in ("utf-16-le", "utf-16-be"):
        sample = data[:_SAMPLE_BYTES].decode(encoding, "replace")
        share = sum(_is_written(character) for character in sample) / len(sample)
        if share > best[0]:
            best = share, encoding
    return data.decode(best[1], "replace") if best[1] else None


def _is_written(character: str) -> bool:
    if character < "\u0600":
        return character.isprintable() or character in "\n\r\t"
    return "\u3040" <= character <= "\u30ff" or "\uac00" <= character <= "\ud7a3" or _is_everyday(character)


def _as_gb18030(data: bytes) -> str | None:
    try:
        text = data.decode("gb18030")
    except UnicodeDecodeError:
        if data[-1:] < b"\x80":
            return None
        try:
            text = data[:-1].decode("gb18030")  # cut in the middle of its last character
        except UnicodeDecodeError:
            return None
    wide = [character for character in text[:_SAMPLE_BYTES] if not character.isascii()]
    if not wide:
        return None
    usual = sum(_is_everyday(character) for character in wide)
    return text if usual >= _USUAL_SHARE * len(wide) else None


def _is_everyday(character: str) -> bool:
    """Whether GB 2312 has it among its symbols and punctuation (rows 1 to 9) or its level 1 characters (rows 16 to 55)."""
    try:
        code = character.encode("gb2312")
    except UnicodeEncodeError:
        return False
    return 0xA1 <= code[0] <= 0xA3 or 0xB0 <= code[0] <= 0xD7


def _as_found(data: bytes) -> str | None:
    from charset_normalizer import from_bytes

    best = from_bytes(data[:_SAMPLE_BYTES]).best()
    if best is None or best.encoding.startswith(("utf_16", "utf_32")):
        return None  # those were looked for above, with more care
    return data.decode(best.encoding, "replace")
