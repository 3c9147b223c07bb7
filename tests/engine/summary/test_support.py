"""Judging summaries: numbers, names and turned statements that a reader would catch too."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from engine.errors import CancelledError
from engine.jobs.job import CancelToken
from engine.summary.alignment import FEATURES
from engine.summary.support import JudgedSentence, judge, support_model


@dataclass(frozen=True, slots=True)
class Source:
    text: str
    language: str = "en"
    title: str = ""


ENGLISH = Source(
    "The town of Velden closed its swimming pool in March. Cracks in the basin lost 40 cubic metres of water a day. "
    "The engineer Tilda Brandt told the council that a repair would cost 310,000 crowns and take seven months. "
    "Mayor Oskar Lindt said that schools come first. Pupils will be taken by bus to the pool in Harnow until then. "
    "The swimming club, led by Greta Solberg, collected 2,150 signatures. "
    "The council did not accept the offer of a private operator, because it wanted to double the price of tickets."
)
CHINESE = Source(
    "云津县决定下月起禁止五吨以上的货车驶上青石大桥。工程师宋柏年在说明会上解释，桥墩被河水淘空，最深处有一米七。"
    "园区商会会长丁沛算过一笔账，每车运费要涨两百二十元。县财政准备拿出六百万元补贴企业。加固工程十一月开始，预计花费一千九百万元。",
    "zh",
)


def one(summary: str, source: Source = ENGLISH) -> JudgedSentence:
    (found,) = judge(summary, [source])
    return found


@pytest.mark.parametrize(
    "summary",
    [
        "Velden closed its swimming pool in March.",
        "A repair would cost 310,000 crowns and take seven months.",
        "Greta Solberg's swimming club collected 2,150 signatures.",
        "The council did not accept a private operator's offer.",
    ],
)
def test_what_the_document_says_has_support(summary: str) -> None:
    found = one(summary)
    assert found.supported and not found.flags
    assert ENGLISH.text[found.sources[0].start : found.sources[0].end].split()[0] in ENGLISH.text
    assert found.sources[0].score == max(link.score for link in found.sources)


@pytest.mark.parametrize(
    ("summary", "flag"),
    [
        ("A repair would cost 130,000 crowns and take seven months.", "number"),
        ("A repair would cost three hundred and fifty thousand crowns.", "number"),
        ("The engineer Tilda Vanderberg told the council what a repair would cost.", "name"),
        ("The swimming club, led by Oskar Lindt, collected 2,150 signatures.", None),
    ],
)
def test_other_numbers_and_names_have_none(summary: str, flag: str | None) -> None:
    found = one(summary)
    assert not found.supported
    assert flag is None or flag in found.flags


def test_a_turned_statement_is_flagged() -> None:
    assert "negation" in one("The council did accept the offer of a private operator.").flags
    assert "negation" not in one("The council did not accept the offer of a private operator.").flags


def test_chinese() -> None:
    assert one("加固工程十一月开始，预计花费一千九百万元。", CHINESE).doubt == 0
    assert one("加固工程预计要花1900万元，十一月开始。", CHINESE).supported
    assert "number" in one("加固工程预计要花1200万元，十一月开始。", CHINESE).flags
    assert not one("加固工程预计要花1200万元，十一月开始。", CHINESE).supported
    assert not one("工程师丁沛在说明会上解释，桥墩被河水淘空。", CHINESE).supported
    assert one("工程师宋柏年在说明会上解释，桥墩被河水淘空了。", CHINESE).supported


def test_links_point_into_the_right_document() -> None:
    sources = [CHINESE, ENGLISH]
    found = judge("The swimming club collected 2,150 signatures.", [ENGLISH, Source("Nothing of the kind happened here.")])
    assert {link.document for link in found[0].sources} == {0}
    place = ENGLISH.text.index("The swimming club")
    assert found[0].sources[0].start == place
    for link in judge("青石大桥的加固工程十一月开始。", sources)[0].sources:
        assert 0 <= link.start < link.end <= len(sources[link.document].text)


def test_every_sentence_is_judged_where_it_stands() -> None:
    summary = "- Velden closed its swimming pool in March.\n- The repair will take ninety-three months."
    found = judge(summary, [ENGLISH])
    assert [summary[sentence.start : sentence.end] for sentence in found] == [sentence.text for sentence in found]
    assert [sentence.supported for sentence in found] == [True, False]


def test_nothing_supports_nothing() -> None:
    assert judge("", [ENGLISH]) == ()
    assert not judge("The pool was closed.", [])[0].supported
    assert not judge("The pool was closed.", [Source("")])[0].supported
    foreign = judge("Quantum chips need liquid helium.", [ENGLISH])[0]
    assert not foreign.supported and not foreign.sources


def test_cancel() -> None:
    token = CancelToken()
    token.cancel()
    with pytest.raises(CancelledError):
        judge("The pool was closed.", [ENGLISH], cancel=token)


@pytest.mark.parametrize("name", ["en", "terms", "zh"])
def test_weights_can_only_speak_their_way(name: str) -> None:
    weights = support_model(name).weights
    assert set(weights) <= set(FEATURES)
    for key, value in weights.items():
        assert (value < 0) == (key in ("meaning", "shared_best", "soft_around"))
    nothing, everything = np.zeros(len(FEATURES)), np.array([float(key.startswith(("number", "name"))) for key in FEATURES])
    assert support_model(name).doubt(everything) > max(0.9, support_model(name).doubt(nothing))
