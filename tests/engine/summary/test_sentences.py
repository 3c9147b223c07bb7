"""Sentence ends in English, Chinese and both, on texts whose sentences a reader would not argue about."""

from __future__ import annotations

import random

import pytest

from engine.summary.sentences import MAX_CHARACTERS, is_complete, sentence_spans


def split(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text)]


@pytest.mark.parametrize(
    "sentences",
    [
        ["Dr. J. R. Smith paid $3.50 to Acme Inc. in the U.S. capital at 5 p.m.", "The bill came later."],
        ["It grew by 2.5 per cent, i.e. more than in Jan. 2024, says Fig. 3.", "Nobody knows why."],
        ['"Stop!" he said.', '"Why?" Anna asked.', "She got no answer."],
        ['"It is over."', "She left."],
        ["Yes... maybe.", "Well… no."],
        ["He said no.", "Then he went home (at last).", "“Good,” she thought."],
        ["Visit example.com, version 3.11.2, today.", "It is free!", "Really?!"],
        ["We chose Plan B.", "The rest is history."],
        ["I met them and you met us, but not I.", "Then it rained."],
        ["The driver, Mr P. Lyle, saw no fault.", "See p. 4."],
        ["Two things are wished for.", "(a) The ventilators need a switch.", "(b) The cable rests."],
    ],
)
def test_english(sentences: list[str]) -> None:
    assert split(" ".join(sentences)) == sentences


@pytest.mark.parametrize(
    "sentences",
    [
        ["今天天气很好。", "我们走吧！", "去哪里？"],
        ["他说：“今天下雨了。”", "于是大家回家。"],
        ["“去公园。”妈妈回答。", "他点点头。"],
        ["价格为1,200.50元，温度是3.5度。", "他用Python 3.11写程序。"],
        ["第一季度收入增长了两成；", "第二季度收入却下降了。"],
        ["我……我不知道。", "「走吧。」", "她站了起来。"],
        ["会议于 2024 年 5 月 3 日召开。", "Dr. Smith 出席了会议。", "OK吗?", "好的!"],
    ],
)
def test_chinese(sentences: list[str]) -> None:
    assert split("".join(sentences)) == sentences


def test_lines_that_stand_alone_are_sentences_and_wrapped_ones_are_not() -> None:
    text = (
        "Annual report\n\n1. Costs\n2. Time. We need more.\n- one item\n- another\n\n"
        "This line is long enough to have been wrapped by a\nmail program. Next.\n\n一、背景\n本项目启动较早"
    )
    wrapped = "This line is long enough to have been wrapped by a\nmail program."
    assert split(text) == [
        "Annual report",
        "1. Costs",
        "2. Time.",
        "We need more.",
        "- one item",
        "- another",
        wrapped,
        "Next.",
        "一、背景",
        "本项目启动较早",
    ]


def test_what_ends_like_a_sentence() -> None:
    assert is_complete("It rained.") and is_complete("“Go!”") and is_complete("下雨了。」")
    assert not is_complete("Annual report") and not is_complete("一、背景") and not is_complete("")


def test_spans_are_in_order_and_hold_everything_but_white_space() -> None:
    chance = random.Random(5)
    pieces = [
        "Mr.",
        "U.S.",
        "a",
        "The",
        "3.5",
        "1.",
        "。",
        "！”",
        "……",
        "\n",
        "\n\n",
        " ",
        ". ",
        '." ',
        "？",
        "中文",
        "；",
        "“",
        "…",
        "x" * 40,
    ]
    for _ in range(300):
        text = "".join(chance.choice(pieces) for _ in range(chance.randint(0, 60)))
        spans = sentence_spans(text)
        end_before = 0
        for start, end in spans:
            assert end_before <= start < end <= len(text)
            assert not text[end_before:start].strip()
            assert text[start:end] == text[start:end].strip()
            end_before = end
        assert not text[end_before:].strip()


def test_a_stretch_without_an_end_is_cut_and_nothing_is_lost() -> None:
    text = "word, " * 2000
    spans = sentence_spans(text)
    assert all(end - start <= MAX_CHARACTERS for start, end in spans)
    assert "".join(text[start:end] for start, end in spans).replace(" ", "") == text.replace(" ", "")
    assert len(sentence_spans("x" * 5000)) == 5


def test_nothing_gives_nothing() -> None:
    assert sentence_spans("") == [] and sentence_spans(" \n\t\n ") == []
