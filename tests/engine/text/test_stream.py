"""Whole characters only; stop texts never shown."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from engine.text.stream import Detokenizer, StopText
from tests.tiny import make_tokenizer

TEXTS = [
    "plain words",
    "猫咪喜欢鱼。你好，世界",
    "family 👩‍👩‍👧‍👦 and flag 🇨🇳 and thumbs 👍🏽!",
    "e\u0301 naïve Œuvre — “quotes”",
    "\u202eright to left\u202c and \u200d joiners",
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path: Path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    make_tokenizer(path)
    return Tokenizer.from_file(str(path))


@pytest.mark.parametrize("text", TEXTS)
def test_characters_come_whole_and_all_come(tokenizer: Tokenizer, text: str) -> None:
    detokenizer = Detokenizer(tokenizer.decode)
    pieces = [detokenizer.push(token) for token in tokenizer.encode(text).ids]
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)
    shown = ""
    for piece in pieces:
        shown += piece
        assert text.startswith(shown)


@pytest.mark.parametrize("text", TEXTS[1:3])
def test_a_character_cut_off_by_the_limit_is_not_shown_in_part(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text).ids
    for end in range(len(ids)):
        detokenizer = Detokenizer(tokenizer.decode)
        shown = "".join(detokenizer.push(token) for token in ids[:end])
        assert text.startswith(shown) and "\ufffd" not in shown


def test_bytes_that_are_no_character_do_not_hold_back_what_follows(tokenizer: Tokenizer) -> None:
    broken = tokenizer.encode("é").ids[:1]
    detokenizer = Detokenizer(tokenizer.decode)
    shown = "".join(detokenizer.push(token) for token in broken * 20 + tokenizer.encode("after").ids)
    assert shown.endswith("after")


def test_goes_on_in_the_middle_of_a_text(tokenizer: Tokenizer) -> None:
    before = tokenizer.encode("猫咪").ids
    detokenizer = Detokenizer(tokenizer.decode, before)
    assert "".join(detokenizer.push(token) for token in tokenizer.encode("喜欢").ids) == "喜欢"


def test_stop_text_that_spans_pieces_is_never_shown() -> None:
    stop = StopText(["\nUser:", "END"])
    shown = ""
    for piece in ["Hello", " wor", "ld", "\n", "Us", "er", ": not this"]:
        text, found = stop.push(piece)
        shown += text
        if found:
            break
    assert found and shown == "Hello world"


def test_what_only_looks_like_a_stop_text_is_shown() -> None:
    stop = StopText(["\nUser:"])
    pieces = [stop.push(piece) for piece in ["a\nUs", "eful", "\nUse"]]
    assert not any(found for _, found in pieces)
    assert "".join(text for text, _ in pieces) + stop.rest() == "a\nUseful\nUse"


def test_any_cut_gives_the_text_before_the_first_stop() -> None:
    source = random.Random(3)
    for _ in range(300):
        text = "".join(source.choice("abAB\n") for _ in range(30))
        stops = ["".join(source.choice("abAB\n") for _ in range(source.randint(1, 3))) for _ in range(2)]
        stop, shown, found, rest = StopText(stops), "", False, text
        while rest and not found:
            cut = source.randint(1, 5)
            piece, found = stop.push(rest[:cut])
            shown, rest = shown + piece, rest[cut:]
        if not found:
            shown += stop.rest()
        places = [place for one in stops if (place := text.find(one)) >= 0]
        if not places:
            assert not found and shown == text
        else:
            assert found and not any(one in shown for one in stops) and text.startswith(shown)
