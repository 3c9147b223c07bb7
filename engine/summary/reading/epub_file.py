"""Books in EPUB: the chapters in reading order.

Source: W3C, EPUB 3.3 (container, package document, spine). Knows no other format; runs in the limited child, unpacks nothing to
the disk and reads only what the package lists.
"""

from __future__ import annotations

import posixpath
import zipfile
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import unquote

from engine.errors import BadFileError
from engine.summary.document import Skipped
from engine.summary.reading.draft import Draft, TimeUpError, damaged, pictures, time_limit, without_text
from engine.summary.reading.html_page import block_text, decode_html, parse_html
from engine.summary.reading.lines import clean_line
from engine.summary.reading.sniff import open_archive

_ENTRY_MAX_BYTES: Final = 32 * 1024 * 1024
_CHAPTERS_MAX: Final = 5_000
_CONTAINER: Final = "META-INF/container.xml"
_ENCRYPTION: Final = "META-INF/encryption.xml"
_READ_ERRORS: Final = (zipfile.BadZipFile, KeyError, OSError, EOFError, ValueError, NotImplementedError, RuntimeError)
_PAGES: Final = frozenset({"application/xhtml+xml", "text/html", "application/x-dtbook+xml"})


def read_epub(data: bytes, draft: Draft) -> None:
    """Read the chapters into the draft.

    Raises BadFileError for a damaged file, a bomb, one that only a shop's reader may open, and one without text.
    """
    draft.kind = "epub"
    with open_archive(data, draft.name, "epub") as archive:
        chapters = _chapters(archive, draft)
        if any(name in _encrypted(archive) for name in chapters):
            raise BadFileError(
                f"{draft.name} is protected: only the reader it was bought for opens it. Use a copy without protection.",
                key="error.read_protected",
                name=draft.name,
            )
        failed = 0
        try:
            for i, name in enumerate(chapters):
                failed += not _read_chapter(archive, name, draft)
                draft.progress(i + 1, len(chapters))
                if draft.is_full:
                    break
        except TimeUpError:
            draft.skip(time_limit(draft.limits))
        count = sum(name.lower().endswith((".jpg", ".jpeg", ".png", ".gif", ".svg", ".webp")) for name in archive.namelist())
    if failed == len(chapters):
        raise damaged(draft.name, "epub")
    if failed:
        message = "1 damaged chapter was not read." if failed == 1 else f"{failed} damaged chapters were not read."
        draft.skip(Skipped("notice.read_chapters", {"n": failed}, message))
    if count:
        draft.skip(pictures(count))
    if not draft.chars:
        raise without_text(draft.name)


def _chapters(archive: zipfile.ZipFile, draft: Draft) -> list[str]:
    """Return the archive's names of the chapters, in reading order; also sets the title."""
    container = _xml(archive, _CONTAINER, draft)
    package_name = next((e.get("full-path") for e in _every(container, "rootfile") if e.get("full-path")), None)
    if not package_name:
        raise damaged(draft.name, "epub")
    package = _xml(archive, package_name, draft)
    draft.title = next((clean_line("".join(e.itertext())) for e in _every(package, "title")), "")
    folder = posixpath.dirname(package_name)
    pages: dict[str, str] = {}
    for item in _every(package, "item"):
        href, item_id, properties = item.get("href"), item.get("id"), (item.get("properties") or "").split()
        if href and item_id and item.get("media-type") in _PAGES and "nav" not in properties:
            pages[item_id] = posixpath.normpath(posixpath.join(folder, unquote(href.partition("#")[0])))
    spine = [ref.get("idref") for ref in _every(package, "itemref") if ref.get("linear") != "no"]
    names = [pages[idref] for idref in spine if idref in pages]
    if not names:
        raise damaged(draft.name, "epub")
    return list(dict.fromkeys(names))[:_CHAPTERS_MAX]


def _read_chapter(archive: zipfile.ZipFile, name: str, draft: Draft) -> bool:
    """Add one chapter; False when it is damaged or missing."""
    try:
        if archive.getinfo(name).file_size > _ENTRY_MAX_BYTES:
            return False
        tree = parse_html(decode_html(archive.read(name), draft.name))
    except (*_READ_ERRORS, BadFileError):
        return False
    if tree is not None:
        body = tree.find(".//body")
        draft.add_all(block_text(tree if body is None else body).split("\n\n"))
    return True


def _encrypted(archive: zipfile.ZipFile) -> frozenset[str]:
    """Names of what is encrypted; fonts often are, which harms nobody."""
    from lxml import etree

    try:
        tree = etree.fromstring(archive.read(_ENCRYPTION), _parser())
    except (*_READ_ERRORS, etree.XMLSyntaxError):
        return frozenset()
    return frozenset(unquote(e.get("URI") or "") for e in _every(tree, "CipherReference"))


def _xml(archive: zipfile.ZipFile, name: str, draft: Draft) -> Any:
    from lxml import etree

    try:
        if archive.getinfo(name).file_size > _ENTRY_MAX_BYTES:
            raise damaged(draft.name, "epub")
        return etree.fromstring(archive.read(name), _parser())
    except (*_READ_ERRORS, etree.XMLSyntaxError) as error:
        raise damaged(draft.name, "epub") from error


def _parser() -> Any:
    """An XML parser that fetches nothing and expands no entity."""
    from lxml import etree

    return etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)


def _every(tree: Any, local_name: str) -> Iterator[Any]:
    return (element for element in tree.iter("{*}" + local_name) if isinstance(element.tag, str))
