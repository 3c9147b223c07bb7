"""The numbers that a text states, in figures and in words, English and Chinese, as values that can be compared.

"3,200", "three thousand two hundred", "三千二百" and "3.2千" are one number, 13:20 and 十三点二十 another. Small counts in
words ("one", "first") are often no statement at all and are told apart. Knows strings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Final

_UNITS: Final = {
    word: value
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
        "eighteen nineteen".split()
    )
}
_TENS: Final = {
    word: 10 * value for value, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), start=2)
}
_SCALES: Final = {"hundred": 100.0, "thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12}
_ALONE: Final = {"dozen": 12.0, "twice": 2.0, "double": 2.0, "doubled": 2.0, "triple": 3.0, "tripled": 3.0, "fortnight": 14.0}
_ORDINALS: Final = {
    word: float(value)
    for value, word in enumerate(
        "third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth".split(), start=3
    )
}
_HAN_DIGITS: Final[dict[str, int]] = {character: value for value, character in enumerate("零一二三四五六七八九")} | {
    "〇": 0,
    "两": 2,
}
_HAN_SCALES: Final[dict[str, int]] = {"十": 10, "百": 100, "千": 1000}
_HAN_GROUPS: Final[dict[str, int]] = {"万": 10_000, "亿": 100_000_000}
_FIGURE: Final = re.compile(
    r"(?<![A-Za-z0-9_.])(?:(?P<clock>\d{1,2}:\d{2})|(?P<figure>\d{1,3}(?:[,，]\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?))"
    r"(?P<scale>\s?(?:hundred|thousand|million|billion|trillion|bn|m|k)\b|[十百千]?[万亿]|[千百])?",
    re.IGNORECASE,
)
_WORDS: Final = re.compile(r"[A-Za-z]+(?:-[A-Za-z]+)*")
_HAN_NUMBER: Final = re.compile(
    r"(?P<percent>百分之)?(?P<number>[零〇一二两三四五六七八九十百千万亿]+(?:点[零〇一二三四五六七八九]+)?)"
    r"(?P<after>成(?P<more>[一二三四五六七八九半])?)?"
)
_HAN_CLOCK: Final = re.compile(
    r"(?P<hour>\d{1,2}|[零一二两三四五六七八九十]{1,3})[点时]"
    r"(?:(?P<minute>[一二三四五]?十[一二三四五六七八九]?|[零〇][一二三四五六七八九]|[0-5]\d)分?(?!钟)|(?P<part>半|一刻|三刻))"
)
_PARTS: Final = {"半": 30.0, "一刻": 15.0, "三刻": 45.0}
_HAN_NOT: Final = re.compile(r"[零一十百千万两]")
_HAN_COUNTED: Final = re.compile(r"[月日号年点时楼层期]")
_ABOUT: Final = re.compile(
    r"(?:about|around|nearly|almost|some|roughly|approximately|over|under|(?:more|less|fewer) than|at least|up to|just)\s*$"
    r"|(?:约|大约|近|将近|差不多|超过|不到|至少|最多|逾)$",
    re.IGNORECASE,
)
_ABOUT_AFTER: Final = re.compile(r"\s*(?:or so|odd\b|左右|上下|多|余|出头|以上|以下|来)")
_SCALE_WORDS: Final = {"bn": 1e9, "m": 1e6, "k": 1e3} | _SCALES


@dataclass(frozen=True, slots=True)
class Number:
    """One number that is stated: `text[start:end]`."""

    value: float
    start: int
    end: int
    is_exact: bool = True
    """False beside "about", "over", 约, 左右."""
    is_small_word: bool = False
    """A word for a number up to ten: it may count what the other text lists."""
    step: float = 0.0
    """What its last digit counts, where that is a part or a scale: 0.1 in "3.4", 10,000 in 26万; 0 for a plain whole number."""
    is_clock: bool = False


def numbers(text: str) -> list[Number]:
    """All of them in order; years, days and hours are numbers too. Ranges of two are two."""
    clocks = list(_clocks(text))
    others = (
        one
        for one in (*_figures(text), *_english(text), *_chinese(text))
        if not any(clock.start <= one.start < clock.end for clock in clocks)
    )
    return sorted((*clocks, *others), key=lambda one: one.start)


def occurs(number: Number, values: set[float]) -> bool:
    """Whether one of the values is that number, or rounded to its last digit is; beside "about" one within a tenth will do."""
    if any(abs(value - number.value) < max(1e-6 * max(1.0, abs(value)), 0.5 * number.step) for value in values):
        return True
    return not number.is_exact and any(abs(value - number.value) <= 0.1 * abs(number.value) for value in values)


def _clocks(text: str) -> Iterator[Number]:
    """Chinese times of day: 两点十分 is 2.1, as 2:10 is."""
    for match in _HAN_CLOCK.finditer(text):
        hour, minute = (_whole(match.group(name)) for name in ("hour", "minute"))
        minute = _PARTS.get(match.group("part"), 0.0) if minute is None else minute
        if hour is not None and hour <= 24:
            yield Number(hour + minute / 100, *match.span(), is_clock=True)


def _whole(said: str | None) -> float | None:
    return None if said is None else float(said) if said.isdigit() and said.isascii() else chinese_value(said)


def _figures(text: str) -> Iterator[Number]:
    for match in _FIGURE.finditer(text):
        if match.group("clock"):
            hours, minutes = match.group("clock").split(":")
            yield replace(_number(text, float(hours) + float(minutes) / 100, *match.span()), is_clock=True)
            continue
        figure = re.sub("[,，]", "", match.group("figure"))
        scale = (match.group("scale") or "").strip().casefold()
        times = _SCALE_WORDS.get(scale, 0.0) or prod(_HAN_SCALES.get(one) or _HAN_GROUPS[one] for one in scale)
        step = times / 10 ** len(figure.partition(".")[2])
        yield replace(_number(text, float(figure) * times, *match.span()), step=0.0 if step == 1 else step)


def _english(text: str) -> Iterator[Number]:
    run: list[re.Match[str]] = []
    for match in _WORDS.finditer(text):
        word = match.group().casefold()
        joins = bool(run) and re.fullmatch(r"[\s-]+", text[run[-1].end() : match.start()]) is not None
        if _is_number_word(word):
            if run and not joins:
                yield from _said(text, run)
                run = []
            run.append(match)
        elif not (word == "and" and joins and run[-1].group().casefold() in _SCALES):
            if run:
                yield from _said(text, run)
            run = []
        else:
            run.append(match)
    if run:
        yield from _said(text, run)


def _is_number_word(word: str) -> bool:
    parts = word.split("-")
    return all(part in _UNITS or part in _TENS or part in _SCALES or part in _ALONE or part in _ORDINALS for part in parts)


def _said(text: str, run: list[re.Match[str]]) -> Iterator[Number]:
    words = [part for match in run for part in match.group().casefold().split("-") if part != "and"]
    start, end = run[0].start(), run[-1].end()
    if not words or words[0] in _SCALES and re.search(r"\d\s?$", text[:start][-12:]):
        return  # "3 million" is read with its figure
    total = current = 0.0
    for word in words:
        if word in _SCALES:
            current = max(current, 1.0) * _SCALES[word]
            if _SCALES[word] >= 1000:
                total, current = total + current, 0.0
        else:
            value = _UNITS.get(word, _TENS.get(word, _ALONE.get(word, _ORDINALS.get(word, 0.0))))
            if current and value >= 10 and current < 100 and current % 100:  # "nineteen thirty": two numbers side by side
                total, current = (total + current) * 100, 0.0
            current += value
    value = total + current
    if words in (["one"], ["zero"]):
        return
    yield _number(text, value, start, end, is_word=True)


def _chinese(text: str) -> Iterator[Number]:
    for match in _HAN_NUMBER.finditer(text):
        said = match.group("number")
        following = text[match.end() : match.end() + 1]
        if text[match.start() - 1 : match.start()].isdigit():
            continue  # 3万: read with its figure
        if len(said) == 1 and _HAN_NOT.match(said) and not match.group("percent") and not _HAN_COUNTED.match(following):
            if said != "两" and said != "十":
                continue
        value = chinese_value(said)
        if value is None:
            continue
        if match.group("after"):
            more = match.group("more") or ""
            value = 10 * value + (5 if more == "半" else _HAN_DIGITS.get(more, 0))
        yield _number(text, value, match.start(), match.end(), is_word=len(said) == 1 and not match.group("percent"))


def chinese_value(said: str) -> float | None:
    """The value of Chinese numerals: 三千二百 = 3200, 三十四万五 = 345000, 二〇二一 = 2021; None for what is no number (三四)."""
    whole, _, fraction = said.partition("点")
    decimals: float = sum(_HAN_DIGITS[character] / 10 ** (place + 1) for place, character in enumerate(fraction))
    if all(character in _HAN_DIGITS for character in whole):
        digits = [_HAN_DIGITS[character] for character in whole]
        if len(digits) in (2, 3) and 0 not in digits and not fraction:
            return None  # 三四个, 两三天
        return float("".join(map(str, digits)) or 0) + decimals
    total = section = digit = 0.0
    last_scale = 1.0
    for character in whole:
        if character in _HAN_DIGITS:
            digit = float(_HAN_DIGITS[character])
            if character in "零〇":
                last_scale = 1.0
        elif character in _HAN_SCALES:
            last_scale = float(_HAN_SCALES[character])
            section += (digit or 1.0) * last_scale
            digit = 0.0
        else:
            last_scale = float(_HAN_GROUPS[character])
            total = (
                (total + section + digit) * last_scale
                if total == 0 or last_scale > 10_000
                else total + (section + digit) * last_scale
            )
            section = digit = 0.0
    if digit and last_scale >= 100:  # 三十四万五: five of the next smaller scale
        digit *= last_scale / 10
    return total + section + digit + decimals


def _number(text: str, value: float, start: int, end: int, *, is_word: bool = False) -> Number:
    is_about = bool(_ABOUT.search(text[max(0, start - 14) : start]) or _ABOUT_AFTER.match(text, end))
    return Number(value, start, end, not is_about, is_word and value <= 10)
