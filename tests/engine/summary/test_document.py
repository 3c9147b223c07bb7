"""What is known of a document: its words, its pages, and that it survives the way to a file and back."""

from __future__ import annotations

import json

import pytest

from engine.summary.document import Document, Skipped, count_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0),
        ("Nothing's left, is it?", 4),
        ("It cost 3 million – in 1999.", 6),
        ("今天天气很好。", 6),
        ("我们用 Python 写的。", 6),
        ("naïve café", 2),
        ("— … —", 0),
    ],
)
def test_words_are_counted_and_chinese_characters_are_words(text: str, words: int) -> None:
    assert count_words(text) == words


def test_every_character_is_on_a_page() -> None:
    document = Document("t", "aaa\n\nbb\n\nccc", "en", 3, pages=4, page_starts=(0, 5, 5, 9))
    assert [document.page_of(offset) for offset in (0, 4, 5, 8, 9, 12)] == [1, 1, 3, 3, 4, 4]
    assert Document("t", "abc", "en", 1).page_of(1) is None


def test_it_comes_back_as_it_was() -> None:
    skipped = (Skipped("notice.read_pages", {"last": 3}, "Pages after 3 were not read."),)
    document = Document("题", "正文 text", "zh", 3, 9, (0, 2), skipped, "题.pdf", "pdf")
    assert Document.from_json(json.loads(json.dumps(document.as_json()))) == document
