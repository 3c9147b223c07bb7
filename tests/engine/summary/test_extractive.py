"""Picking sentences: lengths, offsets, order, questions, repetition, and documents far beyond one graph."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from engine.errors import BadOptionError, CancelledError, NotEnoughDataError
from engine.jobs.job import CancelToken
from engine.summary.document import count_words
from engine.summary.extractive import FINALISTS, Length, Picked, extract
from engine.summary.sentences import sentence_spans

TOPICS = {
    "bridge": "engineers closed the old bridge because the river washed sand from under its third pillar near the mill",
    "costs": "repairs will cost four million crowns, and the county pays half of that bill from its road budget",
    "school": "pupils from the north bank take a ferry to school and reach their desks forty minutes later than before",
    "trade": "bakeries and tile makers lose customers while lorries drive a detour of thirty miles around the valley",
    "plans": "a wider crossing downstream opens in three years unless archaeologists find more graves beneath the southern ramp",
}


@dataclass(frozen=True, slots=True)
class Source:
    text: str
    language: str = "en"
    title: str = ""


def essay(sentences: int, seed: int = 0) -> str:
    """Sentences of random words of one topic each, the topics in turn."""
    chance = random.Random(seed)
    names = list(TOPICS)
    said = []
    for number in range(sentences):
        words = TOPICS[names[number * len(names) // sentences]].split()
        chosen = chance.sample(words, chance.randint(8, len(words)))
        said.append(" ".join(chosen).capitalize() + ".")
    return " ".join(said)


def said(sources: list[Source], picks: tuple[Picked, ...]) -> list[str]:
    return [sources[one.document].text[one.start : one.end] for one in picks]


def by_letters(texts: object) -> npt.NDArray[np.float32]:
    """Stands for an encoder: how often each letter occurs."""
    assert isinstance(texts, list | tuple)
    counts = np.array([[text.lower().count(chr(97 + place)) + 0.01 for place in range(26)] for text in texts], np.float32)
    return np.asarray(counts / np.linalg.norm(counts, axis=1, keepdims=True), np.float32)


@pytest.mark.parametrize("encode", [None, by_letters])
@pytest.mark.parametrize("words", [40, 90, 200])
def test_length_offsets_and_order(words: int, encode: None) -> None:
    sources = [Source(essay(60)), Source(essay(40, seed=1))]
    picks = extract(sources, Length(words=words), encode=encode)
    assert 0.9 * words <= sum(count_words(text) for text in said(sources, picks)) <= 1.1 * words
    assert [(one.document, one.start) for one in picks] == sorted((one.document, one.start) for one in picks)
    for one in picks:
        assert (one.start, one.end) in sentence_spans(sources[one.document].text)


def test_other_lengths() -> None:
    source = Source(essay(60))
    assert len(extract([source], Length(sentences=7))) == 7
    shared = sum(count_words(text) for text in said([source], extract([source], Length(percent=20))))
    assert 0.18 <= shared / count_words(source.text) <= 0.22
    assert len(extract([source], Length(percent=100))) == 60
    assert len(extract([source], Length(words=1))) == 1
    for wrong in ({}, {"words": 0}, {"words": 5, "sentences": 1}, {"percent": 101.0}):
        with pytest.raises(BadOptionError):
            Length(**wrong)


def test_chinese_lengths_are_characters() -> None:
    text = "".join(
        f"第{number}座桥的桥墩被河水冲空，工程师建议尽快加固并限制重车通行。陶瓷厂绕路运货要多花运费，县里给补贴。"
        for number in "一二三四五六"
    )
    source = Source(text, "zh")
    picked = "".join(said([source], extract([source], Length(words=100))))
    assert 90 <= count_words(picked) <= 110


def test_all_topics_are_covered_and_nothing_is_said_twice() -> None:
    repeated = "The mayor thanked the volunteers who carried sandbags through the whole cold night."
    source = Source(f"{essay(30)} {repeated} {repeated} {repeated} {repeated}")
    texts = said([source], extract([source], Length(sentences=8)))
    assert sum(text == repeated for text in texts) <= 1
    places = {one.start * 5 // len(source.text) for one in extract([source], Length(sentences=8))}
    assert len(places) >= 4


def test_a_question_decides() -> None:
    source = Source(essay(60))
    texts = said([source], extract([source], Length(sentences=3), focus="What will the repairs cost the county?"))
    assert all({"cost", "county", "repairs"} & set(text.lower().strip(".").split()) for text in texts)


def test_a_question_may_be_about_what_stands_below_a_heading() -> None:
    below = "A bracket held by one bolt had knocked a sensor out of line under the upper carriage."
    source = Source(f"{essay(20)}\n\nCause of the stoppage\n\n{below}\n\nCosts\n\n{essay(20, seed=1)}")
    assert below in said([source], extract([source], Length(sentences=2), focus="What was the cause of the stoppage?"))
    assert below not in said([source], extract([source], Length(sentences=2)))


def test_thousands_of_sentences_are_read_in_blocks() -> None:
    source = Source(essay(FINALISTS * 4))
    asked: list[int] = []

    def encode(texts: list[str]) -> npt.NDArray[np.float32]:
        asked.append(len(texts))
        return by_letters(texts)

    picks = extract([source], Length(words=200), focus="What will the repairs cost?", encode=encode)
    assert 180 <= sum(count_words(text) for text in said([source], picks)) <= 220
    assert sum(asked) <= FINALISTS + 1
    assert max(asked) <= 64


def test_a_long_summary_is_made_part_by_part() -> None:
    source = Source(essay(3000))
    picks = extract([source], Length(percent=30))
    shared = sum(count_words(text) for text in said([source], picks)) / count_words(source.text)
    assert 0.27 <= shared <= 0.33
    assert len(set(picks)) == len(picks)


def test_headings_and_questions_give_way() -> None:
    heading = "Bridge and river, mill and sand, costs and county"
    question = "Did the river wash sand from under the bridge near the mill?"
    source = Source(f"{heading}\n\n{question} {essay(30)}")
    texts = said([source], extract([source], Length(sentences=6)))
    assert all(text.endswith(".") for text in texts)


def test_nothing_to_pick_and_cancel() -> None:
    with pytest.raises(NotEnoughDataError):
        extract([Source(" \n ")], Length(words=10))
    with pytest.raises(NotEnoughDataError):
        extract([], Length(words=10))
    token = CancelToken()
    token.cancel()
    with pytest.raises(CancelledError):
        extract([Source(essay(20))], Length(words=30), cancel=token)
