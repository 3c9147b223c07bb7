"""What the gate lets through, what it changes and what it refuses."""

from __future__ import annotations

import json
import unicodedata

import pytest

from engine.errors import BadOptionError, TooLongError
from engine.safety.limits import MAX_IDS, PROMPT_MAX_CHARS, clean_ids, clean_label, clean_labels, clean_text
from engine.safety.provenance import TRAINED_ALGORITHMIC_MEDIA, sidecar


def clean(text: object) -> str:
    return clean_text(text, max_chars=PROMPT_MAX_CHARS, what="The prompt")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain",
        "line\nline\ttab",
        "写一首关于猫咪的诗",
        "\u202eright to left override\u202c",
        "zero\u200bwidth",
        "👩‍👩‍👧‍👦 family joined by ZWJ",
        unicodedata.normalize("NFD", "é ü ö"),
        "𠀀 outside the BMP",
        "<script>alert(1)</script> ![](http://example.com/?q=1)",
    ],
)
def test_text_people_write_is_kept_as_it_is(text: str) -> None:
    assert clean(text) == text


def test_nul_is_dropped_and_lone_surrogates_are_replaced() -> None:
    assert clean("a\0b") == "ab"
    assert clean("a\ud800b\udc00") == "a\ufffdb\ufffd"
    clean("a\ud800b\0").encode("utf-8")


def test_a_pair_of_surrogates_becomes_its_character() -> None:
    assert clean("\ud83d\ude00") == "😀"


def test_line_ends_become_unix() -> None:
    assert clean("a\r\nb\rc") == "a\nb\nc"


def test_ten_megabytes_are_refused_with_limit_and_length() -> None:
    with pytest.raises(TooLongError) as raised:
        clean("x" * 10_000_000)
    assert "10,000,000" in str(raised.value) and "200,000" in str(raised.value)
    assert raised.value.values["limit"] == PROMPT_MAX_CHARS
    assert clean("x" * PROMPT_MAX_CHARS) == "x" * PROMPT_MAX_CHARS


@pytest.mark.parametrize("text", [None, 5, b"bytes", ["list"]])
def test_what_is_no_text_is_refused(text: object) -> None:
    with pytest.raises(BadOptionError):
        clean(text)


def test_labels_are_one_clean_line_each_once() -> None:
    assert clean_label("  a\nb\x1b[31m\0 ", max_chars=60, what="A tag") == "a b[31m"
    assert clean_labels(["b", " a ", "", "b"], max_chars=60, max_count=5, what="Tags") == ("b", "a")
    with pytest.raises(BadOptionError):
        clean_labels("text", max_chars=60, max_count=5, what="Tags")
    with pytest.raises(BadOptionError):
        clean_labels([str(n) for n in range(6)], max_chars=60, max_count=5, what="Tags")


def test_ids_are_texts_once_each_and_not_endless() -> None:
    assert clean_ids("one") == ("one",)
    assert clean_ids(["b", "a", "b"]) == ("b", "a")
    for bad in (5, [["x"]], [None], [str(n) for n in range(MAX_IDS + 1)]):
        with pytest.raises(BadOptionError):
            clean_ids(bad)


def test_the_sidecar_says_that_a_machine_wrote_it_and_is_the_same_for_the_same_rows() -> None:
    def make() -> bytes:
        return sidecar(content="text sft", rows=2, sha256="ab" * 32, models={"b", "a"}, created_by="Tastemaker", has_edits=False)

    record = json.loads(make())
    assert make() == make()
    assert record["AIGC"]["Label"] == "1" and record["AIGC"]["ContentProducer"] == "Tastemaker"
    assert record["DigitalSourceType"] == TRAINED_ALGORITHMIC_MEDIA
    assert record["models"] == ["a", "b"]
