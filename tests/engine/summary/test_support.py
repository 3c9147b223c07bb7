"""Judging summaries: numbers, names and turned statements that a reader would catch too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pytest

from engine.errors import CancelledError
from engine.jobs.job import CancelToken
from engine.models.catalog import STARTER_TEXT_ID
from engine.summary.alignment import FEATURES, SourceIndex
from engine.summary.passages import SHORT_SOURCE, SHORTLIST
from engine.summary.support import Author, JudgedSentence, judge, support_model


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


LETTERS = Source(
    "From: Ana Brook\nTo: Ben Carver\n\nDear Ben,\nthe roof needs new tiles. I asked three firms. The cheapest wants "
    "too much. Nobody could come before May. I would rather borrow a ladder from the fire brigade.\n\n"
    "From: Ben Carver\nTo: Ana Brook\n\nDear Ana,\nmy knee is bad. The doctor forbids stairs and football. I can pay for a "
    "scaffold, if the neighbours share the costs and the builder agrees.",
    title="The roof",
)


def figure(name: str, claim: str, source: Source) -> float:
    return float(SourceIndex([source], None, CancelToken()).align(claim).figures[FEATURES.index(name)])


def test_a_letter_is_its_writers() -> None:
    apart = Source(LETTERS.text.replace("From: ", "").replace("To: ", ""))
    for claim in (
        "Ana would rather borrow a ladder from the fire brigade.",
        "Ben can pay for a scaffold if the neighbours share.",
    ):
        assert figure("name_away", claim, LETTERS) == 0
        assert figure("name_away", claim, apart) > 0.2


def test_a_pronoun_means_who_was_named_in_the_paragraph() -> None:
    told = (
        "The mill stopped in 1931. Old Tilda Brandt kept the key. {}She hid it well. It rained a lot. Nobody came. "
        "At last she sold the wheel for scrap."
    )
    claim = "Tilda sold the wheel for scrap."
    assert figure("name_away", claim, Source(told.format(""))) == 0
    assert figure("name_away", claim, Source(told.format("It was heavy.\n\n"))) > 0.2


def test_what_the_title_names_is_everywhere() -> None:
    claim = "The council of Velden did not accept the offer of a private operator."
    assert figure("name_away", claim, ENGLISH) > 0.2
    assert figure("name_away", claim, replace(ENGLISH, title="Velden and its pool")) == 0


def test_names_in_other_forms_are_no_new_ones() -> None:
    source = Source("Karl left for America on a Saturday in 1912. He was twelve years old and travelled alone to Boston.")
    for claim in (
        "Twelve-year-old Karl travelled alone.",
        "On Saturdays Karl travelled.",
        "An American ship took Karl to Boston.",
    ):
        assert figure("name_missing", claim, source) == 0
    assert figure("name_missing", "An Argentine ship took Karl to Boston.", source) == 1


def test_units_are_no_other_numbers() -> None:
    source = Source("The stone weighed 3,412 grams and was found after two weeks. The train left at 14:05. Half of it was empty.")
    said = ("The stone weighed 3.4 kilos.", "It was found after a fortnight.", "The train left at 2:05.", "50 % of it was empty.")
    for claim in said:
        assert figure("number_missing", claim, source) == 0
    assert figure("number_missing", "The stone weighed 4.3 kilos.", source) == 1


def test_a_copied_sentence_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    align = SourceIndex.align
    monkeypatch.setattr(SourceIndex, "align", lambda index, claim: asked.append(claim) or align(index, claim))
    copied, changed = (f"Pupils will be taken by {way} to the pool in Harnow until then." for way in ("bus", "tram"))
    first, second = judge(f"{copied} {changed}", [ENGLISH])
    assert asked == [changed]
    assert first.supported and [link.score for link in first.sources] == [1.0]
    assert first.sources[0].start == second.sources[0].start and second.sources[0].score < 1


def test_of_a_long_source_little_is_encoded() -> None:
    long = Source(" ".join(f"Crate {number} of the cargo went to the harbour of Velden." for number in range(SHORT_SOURCE + 1)))
    asked: list[str] = []

    def encode(texts: Sequence[str]) -> npt.NDArray[np.float32]:
        asked.extend(texts)
        return np.full((len(texts), 2), 0.5**0.5, np.float32)

    judge("The cargo went to the harbour.", [long], encode=encode)
    assert sum(text.startswith("Crate") for text in asked) <= SHORTLIST


def test_nothing_supports_nothing() -> None:
    assert judge("", [ENGLISH]) == ()
    assert not judge("The pool was closed.", [])[0].supported
    assert not judge("The pool was closed.", [Source("")])[0].supported
    foreign = judge("Quantum chips need liquid helium.", [ENGLISH])[0]
    assert not foreign.supported and not foreign.sources


def test_a_model_that_invents_is_trusted_less_than_a_person_except_for_copies() -> None:
    starter = STARTER_TEXT_ID
    copied, loose = "Cracks in the basin lost 40 cubic metres of water a day.", "The council turned away the private operator."
    summary = f"{copied} {loose}"
    person = judge(summary, [ENGLISH])
    model = judge(summary, [ENGLISH], author=Author(starter, summary))
    edited = judge(summary, [ENGLISH], author=Author(starter, copied))
    other = judge(summary, [ENGLISH], author=Author("another-model", summary))
    assert model[0].supported and model[0].doubt == 0.0
    assert model[1].doubt > person[1].doubt
    assert edited == other == person  # the second sentence is a person's; nothing is known about the other model


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
