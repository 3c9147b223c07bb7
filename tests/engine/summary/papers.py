"""Documents made on the spot, good ones and hostile ones: PDF by hand, DOCX by python-docx, EPUB by zipfile."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence

from docx import Document as new_docx
from pypdf import PdfReader, PdfWriter


def pdf(pages: Sequence[Sequence[str]], *, title: str = "") -> bytes:
    """A PDF with these lines on its pages, in Helvetica for Latin letters and with a ToUnicode map for all others."""
    characters = sorted({c for page in pages for line in page for c in line})
    codes = {c: i + 1 for i, c in enumerate(characters)}
    maps = [f"<{code:04x}> <{c.encode('utf-16-be').hex()}>" for c, code in codes.items()]
    chunks = ["\n".join((f"{len(part)} beginbfchar", *part, "endbfchar")) for part in _parts(maps, 100)]
    to_unicode = (
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /M def /CMapType 2 def\n"
        "1 begincodespacerange <0000> <ffff> endcodespacerange\n" + "\n".join(chunks) + "\nendcmap end end"
    )
    objects = [b"", b""]  # the catalogue and the tree of pages, known last
    objects.append(
        b"<< /Type /Font /Subtype /Type0 /BaseFont /F /Encoding /Identity-H /DescendantFonts [4 0 R] /ToUnicode 5 0 R >>"
    )
    objects.append(
        b"<< /Type /Font /Subtype /CIDFontType2 /BaseFont /F /DW 500"
        b" /CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> >>"
    )
    objects.append(stream(to_unicode.encode("ascii")))
    kids = []
    for page in pages:
        shown = "".join(f"<{''.join(f'{codes[c]:04x}' for c in line)}> Tj 0 -14 Td\n" for line in page)
        objects.append(stream(f"BT /F 10 Tf 40 800 Td\n{shown}ET".encode("ascii")))
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents {len(objects)} 0 R"
            " /Resources << /Font << /F 3 0 R >> >> >>".encode()
        )
        kids.append(len(objects))
    objects[0] = b"<< /Type /Catalog /Pages 2 0 R >>"
    objects[1] = f"<< /Type /Pages /Count {len(kids)} /Kids [{' '.join(f'{kid} 0 R' for kid in kids)}] >>".encode()
    objects.append(f"<< /Title ({title}) >>".encode("ascii"))
    return assembled(objects, info=len(objects))


def stream(data: bytes, filters: int = 1) -> bytes:
    """A stream object, deflated this many times."""
    for _ in range(filters):
        data = zlib.compress(data, 9)
    names = " ".join(["/FlateDecode"] * filters)
    return f"<< /Length {len(data)} /Filter [{names}] >>\nstream\n".encode() + data + b"\nendstream"


def assembled(objects: Sequence[bytes], *, info: int | None = None) -> bytes:
    """The file of these objects, numbered from 1, the first of which is the catalogue."""
    out = io.BytesIO()
    out.write(b"%PDF-1.7\n")
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(out.tell())
        out.write(f"{number} 0 obj\n".encode() + body + b"\nendobj\n")
    start = out.tell()
    out.write(f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode())
    out.write("".join(f"{offset:010} 00000 n \n" for offset in offsets).encode())
    extra = f" /Info {info} 0 R" if info else ""
    out.write(f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R{extra} >>\nstartxref\n{start}\n%%EOF\n".encode())
    return out.getvalue()


def locked_pdf(password: str, owner: str | None = None) -> bytes:
    """A PDF behind AES-256; with an empty password and an owner's, one that everybody may read."""
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf([["The council met on Monday."]]))))
    writer.encrypt(password, owner, algorithm="AES-256")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def scanned_pdf() -> bytes:
    """A page that is one picture."""
    picture = zlib.compress(b"\x80" * 100)
    return assembled(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Count 1 /Kids [3 0 R] >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /XObject << /I 5 0 R >> >> >>",
            stream(b"q 500 0 0 800 40 20 cm /I Do Q"),
            f"<< /Type /XObject /Subtype /Image /Width 10 /Height 10 /ColorSpace /DeviceGray /BitsPerComponent 8"
            f" /Filter /FlateDecode /Length {len(picture)} >>\nstream\n".encode()
            + picture
            + b"\nendstream",
        ]
    )


def nested_pdf() -> bytes:
    """A page whose content is 1 GB of blanks, deflated three times to a few kilobytes."""
    once = zlib.compressobj(9)
    block = b" " * (1 << 20)
    data = b"".join(once.compress(block) for _ in range(1024)) + once.flush()
    for _ in range(2):
        data = zlib.compress(data, 9)
    content = (
        f"<< /Length {len(data)} /Filter [/FlateDecode /FlateDecode /FlateDecode] >>\nstream\n".encode() + data + b"\nendstream"
    )
    page = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << >> >>"
    return assembled([b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Count 1 /Kids [3 0 R] >>", page, content])


def looping_pdf() -> bytes:
    """A tree of pages that holds itself."""
    return assembled([b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Count 9 /Kids [2 0 R 2 0 R] >>"])


def docx(paragraphs: Sequence[str], *, rows: Sequence[Sequence[str]] = (), items: Sequence[str] = (), title: str = "") -> bytes:
    """A Word file of paragraphs, a list and a table, in this order."""
    document = new_docx()
    document.core_properties.title = title
    for text in paragraphs:
        document.add_paragraph(text)
    for item in items:
        document.add_paragraph(item, style="List Bullet")
    if rows:
        table = document.add_table(len(rows), len(rows[0]))
        for i, row in enumerate(rows):
            for j, cell in enumerate(row):
                table.cell(i, j).text = cell
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def with_entry(archive: bytes, name: str, data: bytes) -> bytes:
    """The archive with one entry replaced or added."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.namelist():
            if entry != name:
                new.writestr(entry, old.read(entry))
        new.writestr(name, data)
    return out.getvalue()


def epub(chapters: Sequence[str], *, title: str = "A book") -> bytes:
    """A book with these chapters' HTML bodies."""
    out = io.BytesIO()
    items = "".join(
        f'<item id="c{i}" href="text/c%20{i}.xhtml" media-type="application/xhtml+xml"/>' for i in range(len(chapters))
    )
    spine = "".join(f'<itemref idref="c{i}"/>' for i in range(len(chapters)))
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/epub+zip", zipfile.ZIP_STORED)
        archive.writestr(
            "META-INF/container.xml",
            '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
            '<rootfile full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>',
        )
        archive.writestr(
            "OEBPS/book.opf",
            '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata>'
            f"<dc:title>{title}</dc:title></metadata><manifest>{items}</manifest><spine>{spine}</spine></package>",
        )
        for i, body in enumerate(chapters):
            page = f'<?xml version="1.0" encoding="utf-8"?><html xmlns="http://www.w3.org/1999/xhtml"><body>{body}</body></html>'
            archive.writestr(f"OEBPS/text/c {i}.xhtml", page)
    return out.getvalue()


def _parts(rows: Sequence[str], size: int) -> list[list[str]]:
    return [list(rows[i : i + size]) for i in range(0, len(rows), size)]
