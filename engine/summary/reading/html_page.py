"""Web pages: the article without what stands around it (trafilatura), and the plain text of any HTML, for books and simple pages.

Source: A. Barbaresi, "Trafilatura: A Web Scraping Library and Command-Line Tool for Text Discovery and Extraction", ACL 2021.
Knows no other format; runs in the limited child and loads nothing that a page refers to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from engine.summary.document import Skipped, count_words
from engine.summary.reading.draft import Draft, damaged, pictures, without_text
from engine.summary.reading.encoding import decode
from engine.summary.reading.lines import clean_line

_ENCODING: Final = re.compile(rb"""<(?:meta|\?xml)[^>]{0,200}?(?:charset|encoding)\s*=\s*["']?\s*([\w.:-]{2,40})""", re.I)
_DECLARATION: Final = re.compile(r"\A\s*<\?xml[^>]*\?>")
_SILENT: Final = frozenset(
    {"script", "style", "noscript", "template", "head", "svg", "math", "iframe", "object", "select", "button"}
)
_INLINE: Final = frozenset(
    "a abbr b bdi bdo big cite code data del dfn em font i ins kbd label mark q ruby rb s samp small span strike strong sub sup"
    " time tt u var wbr".split()
)
_ITEMS: Final = frozenset({"li", "tr", "dt", "dd"})
_LINE: Final = "\n"
_BLOCK: Final = "\n\n"
_ARTICLE_MIN_SHARE: Final = 0.15
_ARTICLE_MIN_WORDS: Final = 60
"""An article shorter than both, beside more text, is most likely not the article: everything is taken then."""
_AROUND_SHARE: Final = 0.1
_PARSE_BYTES: Final = 32 * 1024 * 1024


def read_html(data: bytes, draft: Draft) -> None:
    """Read a page's article into the draft; everything on it when no article is found.

    Raises BadFileError for a page without text.
    """
    draft.kind = "html"
    source = decode_html(data[:_PARSE_BYTES], draft.name)
    tree = parse_html(source)
    if tree is None:
        raise without_text(draft.name)
    everything = block_text(tree)
    title, article = _article(source)
    all_words, article_words = count_words(everything), count_words(article)
    if article_words < _ARTICLE_MIN_WORDS and article_words < _ARTICLE_MIN_SHARE * all_words:
        article = everything
    elif all_words and article_words < (1 - _AROUND_SHARE) * all_words:
        message = "Menus, notices and other text around the article were left out."
        draft.skip(Skipped("notice.read_around", {}, message))
    draft.title = title or _title(tree)
    count = sum(1 for _ in tree.iter("img"))
    if count:
        draft.skip(pictures(count))
    draft.add_all(article.split(_BLOCK))
    if not draft.chars:
        raise without_text(draft.name)


def decode_html(data: bytes, name: str) -> str:
    """Return the page's characters: by its byte order mark, by what it says of itself, else by its bytes.

    Raises BadFileError when it is no text.
    """
    said = _ENCODING.search(data[:4096])
    if said and not data.startswith((b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")):
        label = said.group(1).decode("ascii", "replace").lower()
        encoding = "gb18030" if label in ("gb2312", "gbk") else label
        try:
            return _DECLARATION.sub("", data.decode(encoding)).replace("\0", "")
        except (LookupError, UnicodeError):
            pass  # it says the wrong one
    found = decode(data)
    if found is None:
        raise damaged(name, "html")
    return _DECLARATION.sub("", found[0])


def parse_html(source: str) -> Any | None:
    """Return the lxml tree; None for a page without any element."""
    from lxml import etree, html

    if not source.strip():
        return None
    try:
        # A fresh parser each: no network, and no limit lifted for huge trees.
        return html.document_fromstring(source, parser=html.HTMLParser(no_network=True, recover=True))
    except (etree.ParserError, etree.XMLSyntaxError, ValueError):
        return None


def block_text(tree: Any) -> str:
    """Return all text of a tree: blocks apart by an empty line, list items and rows by a line end, cells by a bar."""
    text = "".join(_pieces(tree))
    blocks = (
        [line for line in (clean_line(line) for line in block.split(_LINE)) if line.strip("•| ")]
        for block in re.split(r"\n[ \t]*\n\s*", text)
    )
    return _BLOCK.join(_LINE.join(lines) for lines in blocks if lines)


def _pieces(root: Any) -> Iterator[str]:
    """Text in document order, without recursion: pages nest deeper than Python does."""
    stack: list[tuple[Any, bool]] = [(root, False)]
    while stack:
        element, is_end = stack.pop()
        if is_end:
            yield _after(element)
            yield _flat(element.tail)
            continue
        if not isinstance(element.tag, str) or element.tag.rpartition("}")[2] in _SILENT:
            yield _flat(element.tail)  # a comment's too
            continue
        yield _before(element)
        yield element.text if _is_preformatted(element) and element.text else _flat(element.text)
        stack.append((element, True))
        stack.extend((child, False) for child in reversed(element))


def _flat(text: str | None) -> str:
    return re.sub(r"\s+", " ", text) if text else ""


def _is_preformatted(element: Any) -> bool:
    return bool(element.tag == "pre")


def _before(element: Any) -> str:
    tag = element.tag.rpartition("}")[2]
    if tag == "br":
        return _LINE
    if tag == "li":
        return f"{_LINE}• "
    if tag in _ITEMS:
        return _LINE
    if tag in ("td", "th"):
        return " | " if element.getprevious() is not None else ""
    return "" if tag in _INLINE or tag in ("img", "tbody", "thead", "tfoot") else _BLOCK


def _after(element: Any) -> str:
    tag = element.tag.rpartition("}")[2]
    if tag in _INLINE or tag in _ITEMS or tag in ("br", "td", "th", "img", "tbody", "thead", "tfoot"):
        return ""
    return _BLOCK


def _article(source: str) -> tuple[str, str]:
    """Return the title and the text of the article; empty ones when there is none."""
    import trafilatura

    try:
        found = trafilatura.bare_extraction(source, include_comments=False, include_tables=True, favor_recall=True)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return "", ""  # it stumbles over odd pages; their whole text is read instead
    text = getattr(found, "text", None) or ""
    lines = [clean_line(line) for line in text.splitlines()]
    blocks: list[str] = []
    was_item = False
    for line in lines:
        if not line.strip("|- "):
            continue
        is_item = line.startswith(("- ", "|"))
        shown = f"• {line[2:]}" if line.startswith("- ") else line.strip("| ")
        if is_item and was_item:
            blocks[-1] += _LINE + shown
        else:
            blocks.append(shown)
        was_item = is_item
    return clean_line(getattr(found, "title", None) or ""), _BLOCK.join(blocks)


def _title(tree: Any) -> str:
    found = tree.find(".//title")
    return clean_line(found.text_content()) if found is not None else ""
