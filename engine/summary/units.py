"""What else a stated number says: two weeks are a fortnight and 14 days, 3,412 grams are 3.412 kilos, 13:20 is 1:20.

Knows strings and numbers; knows no document.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from engine.summary.numerals import Number

_TIMES: Final = (
    (r"weeks?\b|个?星期|周(?![年岁])", (7.0,)),
    (r"days?\b|天", (1 / 7,)),
    (r"years?\b|年(?![\d一二三四五六七八九十]{1,3}月)", (12.0,)),
    (r"months?\b|个月", (1 / 12,)),
    (r"hours?\b|个?小时|个?钟头", (60.0,)),
    (r"minutes?\b|分钟", (1 / 60,)),
    (r"grams?\b|g\b|克|met(?:er|re)s?\b|m\b|米|lit(?:er|re)s?\b", (1 / 1000,)),
    (r"kilo\w*\b|kg\b|km\b|公里|千米|公斤|千克", (1000.0, 2.0, 1 / 1000)),
    (r"tons?\b|tonnes?\b|吨", (1000.0,)),
    (r"斤|里", (0.5,)),
)
"""A unit behind a number, and by how much the number may be said in others."""
_UNITS: Final = tuple((re.compile(rf"[\s-]?(?:{unit})", re.IGNORECASE), times) for unit, times in _TIMES)
_WORDS: Final = (
    (re.compile(r"\bhal(?:f|ves)\b|一半|半[个年天小]", re.IGNORECASE), (0.5, 50.0)),
    (re.compile(r"\bquarters?\b|四分之一", re.IGNORECASE), (0.25, 25.0)),
    (re.compile(r"\bthirds?\b|三分之一", re.IGNORECASE), (33.0,)),
    (re.compile(r"\bfortnight\b", re.IGNORECASE), (2.0,)),
    (re.compile(r"半年"), (6.0,)),
    (re.compile(r"半(?:个)?(?:小时|钟头)|\bhalf an hour\b", re.IGNORECASE), (30.0,)),
)
"""Words for parts, which state no number themselves but answer for one."""


def restated(number: Number, text: str) -> Iterator[float]:
    """The number in other units, as what stands behind it in `text` says; afternoon hours in the other way of counting."""
    if number.is_clock:
        yield number.value - 12 if number.value >= 13 else number.value + 12
    for unit, times in _UNITS:
        if unit.match(text, number.end):
            yield from (number.value * one for one in times)


def implied(text: str) -> Iterator[float]:
    """What words like "half" and "fortnight" say in numbers."""
    for pattern, values in _WORDS:
        if pattern.search(text):
            yield from values
