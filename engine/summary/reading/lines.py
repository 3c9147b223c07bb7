"""Paragraphs out of printed lines: wrapped lines joined, words divided at a line end made whole, headers and page numbers gone.

Knows lines of text and pages of them; knows no format.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

_TERMINAL: Final = tuple('.!?:;…。！？：；”’」』）)"')
_LIST_MARK: Final = re.compile(
    r"\s*(?:[•●▪◦‣·*–—-]\s+|\(?(?:\d{1,3}|[a-zA-Z]|[ivxIVX]{1,4})[.)]\s+|[一二三四五六七八九十]{1,3}、|（[一二三四五六七八九十\d]{1,3}）)"
)
_WIDE: Final = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]")
_DIVIDED: Final = re.compile(r"([^\W\d_]{2,})[-\u2010]$")
_DIVIDED_MAX: Final = 60
_HEADING: Final = re.compile(r"\d{1,2}(?:\.\d{1,3}){0,4}\.?\s+[^\W\d_a-z]")
"""A numbered one."""
_WORD_START: Final = re.compile(r"[^\W\d_]+")
_PAGE_NUMBER: Final = re.compile(
    r"(?:page|p\.|seite|pág\.?)?\s*[-–—\[(|/]*\s*(?:\d{1,5}|[ivxlcdm]{1,7})\s*(?:(?:of|/|von|de|-)\s*\d{1,5})?\s*[-–—\])|/]*"
    r"|第\s*[\d一二三四五六七八九十百]+\s*页(?:\s*[,，/]?\s*共\s*[\d一二三四五六七八九十百]+\s*页)?",
    re.I,
)
_DIGITS: Final = re.compile(r"\d+")
_LIGATURES: Final = {
    0xFB00: "ff",
    0xFB01: "fi",
    0xFB02: "fl",
    0xFB03: "ffi",
    0xFB04: "ffl",
    0xFB05: "st",
    0xFB06: "st",
    0xAD: None,
}
_EDGE_LINES: Final = 2
"""Lines at the top and the bottom of a page among which headers and footers are looked for."""
_REPEATS_SHARE: Final = 0.3
"""Share of the pages from which a line is a header: left and right pages may carry different ones."""
_REPEATS_MIN: Final = 3
_REPEATS_MAX: Final = 6
"""Pages that always are enough: each chapter may have a header of its own."""
_FULL_LINE_SHARE: Final = 0.72
"""Length, of a full line's, from which a line may go on in the next one."""
_WRAP_MIN: Final = 36
_WRAP_MAX: Final = 130
"""Widths that a printed column has, in columns; a Chinese character takes two."""
_MIN_WRAPPED_SHARE: Final = 0.5
"""Share of the long lines that end near the width, from which a text was wrapped at all."""
_LONG_LINE: Final = 60


def clean_line(line: str) -> str:
    """The line with ligatures as letters, without soft hyphens, and with single spaces."""
    return " ".join(line.translate(_LIGATURES).split())


def width_of(line: str) -> int:
    """Columns on a terminal or in print: two for a Chinese character."""
    return len(line) + len(_WIDE.findall(line))


def without_repeats(pages: Sequence[Sequence[str]]) -> tuple[list[list[str]], tuple[str, ...], int]:
    """Take headers, footers and page numbers away from pages of clean lines.

    Returns the pages, the repeated lines as they stood first, and how many page numbers there were.
    """
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    for page in pages:
        for shape, line in {_shape(page[i]): page[i] for edge in _edges(page) for i in edge}.items():
            counts[shape] += 1
            first.setdefault(shape, line)
    needed = max(_REPEATS_MIN, min(_REPEATS_MAX, _REPEATS_SHARE * len(pages)))
    repeated = {shape for shape, count in counts.items() if count >= needed and not _PAGE_NUMBER.fullmatch(first[shape])}
    kept: list[list[str]] = []
    numbers = 0
    for page in pages:
        dropped: set[int] = set()
        for edge in _edges(page):
            # From the edge inwards, up to the first line of the text itself.
            for i in edge:
                is_number = len(pages) > 1 and _PAGE_NUMBER.fullmatch(page[i]) is not None
                if not is_number and _shape(page[i]) not in repeated:
                    break
                numbers += is_number and i not in dropped
                dropped.add(i)
        if dropped.issuperset(i for i, line in enumerate(page) if line):
            # Not a frame around the text, but all there is on the page: only its number goes.
            dropped = {i for i in dropped if len(pages) > 1 and _PAGE_NUMBER.fullmatch(page[i])}
        kept.append([line for i, line in enumerate(page) if i not in dropped])
    return kept, tuple(first[shape] for shape in first if shape in repeated), numbers


def wrap_width(lines: Sequence[str]) -> int:
    """Width, in columns, at which these lines were wrapped; 0 when they were not."""
    widths = sorted(width_of(line) for line in lines if line)
    if len(widths) < 3:
        return 0
    width = widths[int(0.9 * (len(widths) - 1))]
    if not _WRAP_MIN <= width <= _WRAP_MAX:
        return 0
    long = [one for one in widths if one > width / 2]
    near = sum(_FULL_LINE_SHARE * width <= one <= 1.15 * width for one in long)
    return width if near >= _MIN_WRAPPED_SHARE * len(long) else 0


def paragraphs(lines: Sequence[str], width: int, words: frozenset[str] = frozenset()) -> Iterator[str]:
    """Yield the paragraphs of clean lines that were wrapped at `width`; an empty line ends one.

    Lines that belong together without being prose (a list, a table, an address) are one paragraph with line ends in it.
    `words` decides whether a hyphen at a line end belongs to the word.
    """
    block: list[str] = []
    for line in [*lines, ""]:
        if line:
            block.append(line)
            continue
        yield from _of_block(block, width, words)
        block = []


def goes_on(line: str, following: str, width: int) -> bool:
    """Whether the sentence of a line goes on in the next one."""
    if _LIST_MARK.match(following):
        return False
    if following[:1].islower() and _divided(line):
        return True
    if line.endswith(_TERMINAL) and _HEADING.match(following) and width_of(following) < _FULL_LINE_SHARE * width:
        return False
    if width and width_of(line) < _FULL_LINE_SHARE * width:
        # A short line ends its paragraph, unless the next word is in the middle of a sentence.
        return following[:1].islower() and not line.endswith(_TERMINAL)
    return width > 0


def join(line: str, following: str, words: frozenset[str]) -> str:
    """One line out of two."""
    divided = _divided(line)
    if divided and following[:1].islower():
        start = _WORD_START.match(following)
        rest = start.group() if start else ""
        whole, hyphened = f"{divided.group(1)}{rest}".lower(), f"{divided.group(1)}-{rest}".lower()
        keeps = hyphened in words and whole not in words
        return (line if keeps else line[:-1]) + following
    if _WIDE.match(line[-1:]) and _WIDE.match(following[:1]):
        return line + following
    return f"{line} {following}"


def words_of(lines: Sequence[str]) -> frozenset[str]:
    """Every word in lower case, those with hyphens too: what `join` looks up."""
    return frozenset(word.lower() for line in lines for word in re.findall(r"[^\W\d_]+(?:-[^\W\d_]+)*", line))


def _of_block(block: list[str], width: int, words: frozenset[str]) -> Iterator[str]:
    joined: list[str] = []
    last = ""
    for line in block:
        if joined and goes_on(last, line, width):
            joined[-1] = join(joined[-1], line, words)
        else:
            joined.append(line)
        last = line
    run: list[str] = []
    for line in joined:
        if _is_prose(line):
            if run:
                yield "\n".join(run)
                run = []
            yield line
        else:
            run.append(line)
    if run:
        yield "\n".join(run)


def _divided(line: str) -> re.Match[str] | None:
    """The first part of a word that was divided at the end of this line."""
    # Most lines do not end so, and searching in a long one is slow.
    return _DIVIDED.search(line, max(0, len(line) - _DIVIDED_MAX)) if line.endswith(("-", "\u2010")) else None


def _is_prose(line: str) -> bool:
    return not _LIST_MARK.match(line) and (width_of(line) >= _LONG_LINE or line.endswith(("。", "！", "？")))


def _shape(line: str) -> str:
    """What is the same on every page: the line with its numbers as one sign."""
    return _DIGITS.sub("#", line).casefold()


def _edges(page: Sequence[str]) -> tuple[list[int], list[int]]:
    """Indices of the lines at the top, downwards, and at the bottom, upwards."""
    filled = [i for i, line in enumerate(page) if line]
    return filled[:_EDGE_LINES], filled[::-1][:_EDGE_LINES]
