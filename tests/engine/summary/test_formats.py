"""Each format's text: what is kept, what is left out and said, and where pages begin."""

from __future__ import annotations

import io
import zipfile

import pytest

from engine.errors import BadFileError
from engine.summary.document import Document
from engine.summary.reading.draft import Draft, ReadingLimits
from engine.summary.reading.formats import read_file, read_pasted
from tests.engine.summary import papers

LIMITS = ReadingLimits()
PROSE = [
    "The council of the town met on Monday evening in the old hall to",
    "speak about the bridge over the river, which has been closed since",
    "the flood of last winter. Nobody could say what a new one will cost.",
]
CHINESE = [
    "市议会周一晚上在旧礼堂开会，讨论自去年冬天洪水以来一直关闭的那座",
    "跨河大桥。没有人能说清楚新建一座桥要花多少钱，也没有人知道需要多",
    "长时间。",
]


def read(data: bytes, name: str, limits: ReadingLimits = LIMITS) -> Document:
    return read_file(data, Draft(name, limits))


def keys(document: Document) -> list[str]:
    return [one.key for one in document.skipped]


def test_the_lines_of_a_pdf_are_paragraphs_again_and_pages_begin_where_they_begin() -> None:
    days = ("Monday", "Tuesday", "Friday")
    body = [[f"On {day} it was so: " + PROSE[0], PROSE[1], f"{PROSE[2]} {day}s are slow."] for day in days] + [
        ["The end came soon."]
    ]
    pages = [["Annual report", *lines, f"Page {n} of 4"] for n, lines in enumerate(body, 1)]
    document = read(papers.pdf(pages, title="The Bridge"), "report.pdf")
    assert document.title == "The Bridge" and document.kind == "pdf" and document.language == "en"
    assert "in the old hall to speak about the bridge" in document.text
    assert "Annual report" not in document.text and "Page 2" not in document.text
    assert keys(document) == ["notice.read_repeated"] and "Annual report" in document.skipped[0].message
    assert document.pages == 4 == len(document.page_starts)
    assert [document.text[start : start + 7] for start in document.page_starts] == ["On Mond", "On Tues", "On Frid", "The end"]
    assert document.text.count("\n\n") == 3


def test_a_paragraph_goes_on_over_the_page_and_its_offset_is_exact() -> None:
    document = read(papers.pdf([PROSE[:2], PROSE[2:]]), "a.pdf")
    assert document.text == " ".join(PROSE)
    assert document.text[document.page_starts[1] :].startswith("the flood")
    assert document.page_of(document.text.index("bridge")) == 1 and document.page_of(document.text.index("cost")) == 2


def test_chinese_lines_are_joined_without_a_space() -> None:
    document = read(papers.pdf([CHINESE]), "桥.pdf")
    assert document.text == "".join(CHINESE)
    assert (document.language, document.title) == ("zh", "桥")


def test_a_word_divided_at_a_line_end_is_whole_again_and_a_hyphen_of_its_own_stays() -> None:
    lines = [
        "In the twenty-first century the examination of a well-known bridge exam-",
        "ination is a matter for everybody who crosses it, and this is a well-",
        "known fact among the people who live on the other side of the river.",
    ]
    text = read(papers.pdf([lines]), "a.pdf").text
    assert "bridge examination is" in text and "a well-known fact" in text


def test_a_numbered_heading_is_no_part_of_the_sentence_before_it() -> None:
    lines = [*PROSE, "2.1 The costs", *PROSE]
    assert read(papers.pdf([lines]), "a.pdf").text == f"{' '.join(PROSE)}\n\n2.1 The costs\n\n{' '.join(PROSE)}"


def test_pages_without_text_are_named() -> None:
    document = read(papers.pdf([PROSE, [], [], PROSE[:1], []]), "a.pdf")
    assert [one.values["pages"] for one in document.skipped if one.key == "notice.read_page_bare"] == ["2–3, 5"]
    assert list(document.page_starts) == sorted(document.page_starts) and len(document.page_starts) == 5


def test_a_pdf_that_anybody_may_read_is_read() -> None:
    assert read(papers.locked_pdf("", "owner"), "a.pdf").text == "The council met on Monday."


def test_word_files_keep_lists_tables_and_insertions_and_lose_deletions() -> None:
    data = papers.docx(
        ["First of all.", "Second."], items=["one", "two"], rows=[["Year", "Cost"], ["1999", "3 million"]], title="Plan"
    )
    inserted = (
        '<w:p xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:ins w:id="1" w:author="a">'
        '<w:r><w:t>Added.</w:t></w:r></w:ins><w:del w:id="2" w:author="a"><w:r><w:delText>Gone.</w:delText></w:r></w:del></w:p>'
    )
    body = zipfile.ZipFile(io.BytesIO(data)).read("word/document.xml").decode()
    data = papers.with_entry(data, "word/document.xml", body.replace("<w:sectPr", inserted + "<w:sectPr", 1).encode())
    document = read(data, "plan.docx")
    assert document.title == "Plan" and document.pages is None
    assert document.text == "First of all.\n\nSecond.\n\n• one\n• two\n\nYear | Cost\n1999 | 3 million\n\nAdded."


def test_a_web_page_is_its_article() -> None:
    article = "".join(f"<p>{' '.join(PROSE)} This is paragraph number {n}.</p>" for n in range(8))
    menu = "".join(f'<li><a href="/{n}">Menu entry number {n} of the page</a></li>' for n in range(40))
    page = f"""<!doctype html><html><head><title>The bridge</title><script>var hidden = 1</script></head>
    <body><nav><ul>{menu}</ul></nav>
    <main><article><h1>The bridge</h1>{article}<img src="http://127.0.0.1:9/x.png"></article></main><footer>Imprint</footer></body></html>"""
    document = read(page.encode(), "page.html")
    assert document.title == "The bridge" and "paragraph number 7" in document.text
    assert "Menu entry" not in document.text and "hidden" not in document.text
    assert {"notice.read_around", "notice.read_pictures"} <= set(keys(document))


def test_a_page_that_says_its_encoding_is_read_in_it() -> None:
    page = f'<html><head><meta charset="gb2312"><title>桥</title></head><body><p>{"".join(CHINESE)}</p></body></html>'
    document = read(page.encode("gbk"), "page.htm")
    assert "".join(CHINESE) in document.text and document.title == "桥"


def test_a_book_is_its_chapters_in_order() -> None:
    data = papers.epub(["<h1>One</h1><p>It began.</p>", "<h1>Two</h1><p>It <em>ended</em>.</p><ul><li>a</li><li>b</li></ul>"])
    document = read(data, "book.epub")
    assert document.text == "One\n\nIt began.\n\nTwo\n\nIt ended.\n\n• a\n• b"
    assert document.title == "A book"


def test_a_protected_book_says_so() -> None:
    locks = '<encryption xmlns:e="x"><e:CipherReference URI="OEBPS/text/c%200.xhtml"/></encryption>'
    data = papers.with_entry(papers.epub(["<p>x</p>"]), "META-INF/encryption.xml", locks.encode())
    with pytest.raises(BadFileError, match="protected"):
        read(data, "book.epub")


def test_markdown_loses_its_signs() -> None:
    source = (
        "---\nx: 1\n---\n# The *bridge*\n\nIt is [closed](http://x).\n\n- a\n- b\n\n"
        "| y | c |\n|---|---|\n| 1 | 2 |\n\n<b>Bold</b> ![p](p.png)\n"
    )
    document = read(source.encode(), "a.md")
    assert document.text == "The bridge\n\nIt is closed.\n\n• a\n• b\n\ny | c\n1 | 2\n\nBold"
    assert (document.title, document.kind, keys(document)) == ("The bridge", "markdown", ["notice.read_pictures"])


def test_rows_of_a_table_say_what_their_values_are() -> None:
    document = read('name;note\nAda;"likes; all"\nBob;\n'.encode("utf-16"), "people.csv")
    assert document.text == "name: Ada; note: likes; all\nname: Bob"
    assert read(b"1,2\n3,4\n", "n.csv").text == "1 | 2\n3 | 4"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "gbk", "gb18030", "big5"])
def test_chinese_text_is_read_in_every_usual_encoding(encoding: str) -> None:
    text = "今天天氣很好，我們去公園散步。" if encoding == "big5" else "今天一起去公园散步，\n天气很好。"
    document = read((text * 20).encode(encoding), "a.txt")
    assert "公園散步" in document.text or "公园散步" in document.text
    assert document.language == "zh" and not document.skipped


@pytest.mark.parametrize(
    ("text", "encoding", "language"),
    [
        ("Der Brückenbau über den Fluß dauert länger, als die Bürger gehofft hätten. " * 5, "cp1252", "de"),
        ("Le maire a déclaré que le pont serait fermé jusqu'à l'été prochain. " * 5, "utf-8", "fr"),
        ("The mayor said that the bridge is closed until the summer. " * 5, "utf-16-le", "en"),
        ("市長は橋が夏まで閉鎖されると言いました。" * 5, "utf-8", "ja"),
    ],
)
def test_other_languages_are_named(text: str, encoding: str, language: str) -> None:
    document = read(text.encode(encoding), "a.txt")
    assert document.language == language and document.text[:20] == text[:20]


def test_what_a_file_is_counts_and_not_what_it_is_called() -> None:
    assert read(papers.pdf([PROSE]), "a.docx").kind == "pdf"
    assert read(papers.docx(["Hello there."]), "a.pdf").kind == "docx"
    assert read(b"Just a few words of text.", "a.pdf").kind == "text"
    assert read(b"<!DOCTYPE html><html><body><p>Some words here.</p></body></html>", "a.txt").kind == "html"
    assert read(b"BM is short for a name, and MZ too.", "a.txt").kind == "text"


def test_hard_line_ends_of_a_text_file_are_joined_and_a_list_and_a_poem_keep_theirs() -> None:
    assert read("\n".join(PROSE).encode(), "a.txt").text == " ".join(PROSE)
    listed = "Bring with you:\n- bread\n- water\n- a map of the town"
    assert read(listed.encode(), "a.txt").text == listed
    poem = "The river goes\nand nobody knows\nwhere it will be\nin a hundred years"
    assert read(poem.encode(), "a.txt").text == poem


def test_each_long_line_is_a_paragraph() -> None:
    text = "\r\n".join([" ".join(PROSE)] * 3)
    assert read_pasted(text, Draft("", LIMITS)).text == "\n\n".join([" ".join(PROSE)] * 3)


def test_text_beyond_the_limit_is_left_out_and_that_is_said() -> None:
    limits = ReadingLimits(text_bytes=1_000)
    document = read(("好" * 50 + "。\n\n").encode() * 20, "a.txt", limits)
    assert 900 < len(document.text.encode()) <= 1_000 and keys(document) == ["notice.read_text_limit"]
    long = read(papers.pdf([PROSE] * 9), "a.pdf", ReadingLimits(pages=4))
    assert long.pages == 9 and len(long.page_starts) == 4
    assert long.skipped[0].message == "Pages 5 to 9 were left out: the limit is 4 pages."


def test_pasted_text_is_called_by_its_first_line() -> None:
    document = read_pasted("A day in town\n\n" + " ".join(PROSE), Draft("", LIMITS))
    assert (document.title, document.name) == ("A day in town", "")
