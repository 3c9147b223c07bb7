"""Which language a prompt is written in, by its characters, and who speaks it."""

from __future__ import annotations

import pytest

from engine.language import language_of
from engine.services.notices import Notice, language_notice, left_out_notice
from engine.services.prompt import keep_last, messages_for, title_of
from engine.text.model import Message
from tests.engine.services.fakes import CATALOG, FakeSpec


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Write a poem.", None),
        ("", None),
        ("1234 !?", None),
        ("写一首关于猫的诗", "zh"),
        ("帮我写一个 Python 函数", "zh"),
        ("What does 猫 mean in English, and how do I say it?", None),
        ("猫についての詩を書いて", "ja"),
        ("고양이에 대한 시를 써 줘", "ko"),
        ("Ecris un poème sur l'été à Orléans", None),
        ("𠮷野家は美味しい", "ja"),
        ("👩‍👩‍👧 🎉", None),
    ],
)
def test_language_of(text: str, language: str | None) -> None:
    assert language_of(text) == language


def test_nothing_is_said_of_a_model_that_has_the_language_or_that_nobody_knows() -> None:
    assert language_notice("写诗", "han", CATALOG) is None
    assert language_notice("写诗", "my-own-server", CATALOG) is None
    assert language_notice("Write.", "fake-model", CATALOG) is None


def test_without_any_model_for_it_the_advice_is_to_add_one() -> None:
    notice = language_notice("写诗", "fake-model", [FakeSpec("fake-model", "Fake", ("en",))])
    assert notice is not None
    assert notice.key == "notice.language_own"
    assert "Chinese" in notice.message


def test_a_notice_goes_through_json() -> None:
    notice = left_out_notice(2)
    assert Notice.from_json(notice.as_json()) == notice


def test_a_title_is_cut_at_a_word() -> None:
    assert title_of("  short\n title ") == "short title"
    long = title_of("word " * 30)
    assert len(long) <= 60 and long.endswith("word…")
    assert len(title_of("字" * 100)) == 60


def test_the_messages_kept_are_the_system_prompt_and_the_last_ones() -> None:
    messages = (Message("system", "s"), *(Message("user" if n % 2 == 0 else "assistant", str(n)) for n in range(5)))
    assert [message.content for message in keep_last(messages, 4)] == ["s", "2", "3", "4"]
    assert keep_last(messages, 6) == messages
    assert [message.content for message in keep_last(messages[1:], 1)] == ["4"]
    assert [message.content for message in keep_last(messages, 2)] == ["s", "4"]


def test_no_system_prompt_no_system_message() -> None:
    assert messages_for(" \n", (), "p") == (Message("user", "p"),)
