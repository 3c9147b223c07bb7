"""Numbers in figures and words, in both languages."""

from __future__ import annotations

import pytest

from engine.summary.numerals import Number, chinese_value, numbers, occurs
from engine.summary.units import implied, restated


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("3,200 or three thousand two hundred", [3200, 3200]),
        ("2.4 million, 1.7m, thirty million", [2.4e6, 1.7e6, 3e7]),
        ("three hundred and fifty, twenty-one, two-fifty", [350, 21, 250]),
        ("in nineteen thirty-eight and in 1938", [1938, 1938]),
        ("seven weeks, the third quarter, one day", [7, 3]),
        ("at 19:05, 45 per cent", [19.05, 45]),
        ("三千二百元，1.2万元，3.2千米", [3200, 12000, 3200]),
        ("三十四万五，二十九万八，一亿两千万", [345000, 298000, 120000000]),
        ("二〇二一年，百分之五，四成", [2021, 5, 40]),
        ("一个人，两三天，一起", []),
        ("十一月十日，一点五吨", [11, 10, 1.5]),
        ("两点十分，十三点半，7点05分，三点二米", [2.1, 13.3, 7.05, 3.2]),
        ("三成四，五成半，换零件", [34, 55]),
        ("no number here; 这里没有", []),
    ],
)
def test_values(text: str, values: list[float]) -> None:
    assert [one.value for one in numbers(text)] == pytest.approx(values)


def test_places_and_kinds() -> None:
    text = "About 40 people, seven of them 三百五十 metres away."
    found = numbers(text)
    assert [text[one.start : one.end] for one in found] == ["40", "seven", "三百五十"]
    assert [one.is_exact for one in found] == [False, True, True]
    assert [one.is_small_word for one in found] == [False, True, False]


def test_about_is_near() -> None:
    assert occurs(Number(40, 0, 2, is_exact=False), {42.0}) and not occurs(Number(40, 0, 2), {42.0})
    assert not occurs(Number(40, 0, 2, is_exact=False), {50.0}) and occurs(Number(0.1, 0, 3), {0.1})
    assert not occurs(Number(40, 0, 2), set())


def test_a_run_of_digits_is_no_number() -> None:
    assert chinese_value("三四") is None and chinese_value("一百零五") == 105 and chinese_value("三点一四") == pytest.approx(3.14)


def test_rounded_to_the_last_digit() -> None:
    (kilos,), (people,), (plain,) = numbers("3.4 kg"), numbers("26万人"), numbers("3,400 grams")
    assert occurs(kilos, {3.412}) and not occurs(kilos, {3.47})
    assert occurs(people, {263_000.0}) and not occurs(people, {268_000.0})
    assert not occurs(plain, {3_412.0})


@pytest.mark.parametrize(
    ("text", "others"),
    [
        ("It took two weeks.", {14.0}),
        ("After 14 days, 90 minutes", {2.0, 1.5}),
        ("3,412 grams", {3.412}),
        ("二十四个月，两小时", {2.0, 120.0}),
        ("at 14:05", {2.05}),
        ("40 people", set[float]()),
    ],
)
def test_the_same_in_other_units(text: str, others: set[float]) -> None:
    assert {round(value, 6) for one in numbers(text) for value in restated(one, text)} == others


def test_words_for_parts() -> None:
    assert {0.5, 50.0} <= set(implied("half of them")) and 2.0 in set(implied("a fortnight")) and 30.0 in set(implied("半小时"))
    assert not list(implied("behalf, the other"))
