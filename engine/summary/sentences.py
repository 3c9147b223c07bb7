"""Where sentences begin and end, in English, Chinese and a mixture of both.

A rule for each reason why a full stop is none: abbreviations, initials, decimals, numbered items, a quotation that its sentence
goes on after. Lines that stand alone (headings, list items) are sentences of their own, lines that were only wrapped are not. The
script of the characters decides, not the language of the document, so that one text may hold both. One pass of regular
expressions: libraries that do this are slow by comparison (pysbd), unkept (blingfire), or know no Chinese.
Knows a string; knows no document and no model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeAlias

Span: TypeAlias = tuple[int, int]
"""(start, end): characters of the text, end excluded."""

MAX_CHARACTERS = 1000
"""A longer stretch without an end is no sentence (a table, a list of names): it is cut where there is a comma or a space."""
MIN_WRAPPED = 50
"""A line shorter than this without a full stop is a heading or an item, not the first part of a wrapped sentence."""
MIN_WRAPPED_HAN = 22
"""The same in Chinese characters."""
MIN_CLAUSE = 10
"""Chinese writers join whole sentences by semicolons; a clause shorter than this is an item of an enumeration."""

_HAN = "\u3400-\u4dbf\u4e00-\u9fff"
_CLOSERS = "\"'”’»)\\]」』）】》〉］｝}"
_END = re.compile(
    rf"(?P<mark>[.!?…]+|[。！？!?｡．]+|；)(?P<close>[{_CLOSERS}]*)(?P<space>[^\S\n]*)"
    r"|(?P<lines>\n\s*)"
)
_LAST_WORD = re.compile(r"[^\s(\[{\"'“‘（「—–/]*$")
_LIST_MARK = re.compile(
    rf"\s*(?:[-*•·●▪◦–—]\s|[(（]?(?:\d{{1,3}}|[a-zA-Z]|[ivx]{{1,4}})[.)、）．]\s?|[一二三四五六七八九十]{{1,3}}[、．.]|#{{1,6}}\s|\||>|[{_HAN}A-Z][^\s，。,.]{{0,12}}[：:]\s?)"
)
_LETTER_ITEM = re.compile(r"\((?:[a-z]|[ivx]{1,4})\)\s+[\"'“‘]?[A-Z]")
"""An item inside a paragraph, "(b) The brake"."""
_NUMBER_ITEM = re.compile(r"(?:^|\n)\s*[(（]?(?:\d{1,3}|[a-zA-Z]|[ivxIVX]{1,4})$")
_NEVER = frozenset(
    "mr mrs ms mx dr prof rev hon st sgt cpl capt cmdr lt col maj gen adm rep sen gov pres supt insp fr sr. mt ft messrs "
    "mme mlle vs v e.g i.e eg ie cf viz approx ca no nos fig figs vol vols pp p para art sec ch ed eds al op cit tel ext".split()
)
"""What hardly ever ends a sentence."""
_SOMETIMES = frozenset(
    "inc ltd co corp llc plc bros dept est univ assn jr sr etc esq ph.d m.d b.a m.a phd a.m p.m am pm u.s u.k u.n e.u u.s.a "
    "d.c ave blvd rd jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thurs fri sat sun hr hrs min "
    "mins sec secs ft in lb lbs oz kg km cm mm b.c a.d c.e b.c.e bc ad".split()
)
"""What ends one only before a word that begins sentences."""
_STARTERS = frozenset(
    "the a an this that these those it its he she they we you i his her their our my there here then but and or so if when "
    "while after before since although though because as at in on by for from with without to of what who why how where "
    "which not no nobody nothing some many most all both each every one two three another other however meanwhile moreover "
    "instead still yet also even only now today yesterday tomorrow later soon once perhaps maybe despite during until under "
    "over between".split()
)
_SPEECH = re.compile(
    r"(?:(?:[A-Z][\w’'.-]*|he|she|they|we|I|the \w+)\s){1,3}"
    r"(?:said|says|asked|asks|replied|answered|wrote|added|called|cried|shouted|whispered|muttered|told|explained|insisted|laughed)\b"
)
_SPEECH_HAN = re.compile(
    rf"[，、的]|[{_HAN}]{{0,8}}?(?:说|道|问|答|喊|叫|写道|表示|称|补充|回答|笑|嘀咕|叹)[，。：:！？道着了完]"
)
_GLUED = re.compile(r"[a-z]{3}$")
_GLUED_NEXT = re.compile(r"[A-Z][a-z]+[\s,]")
_SOFT_CUT = re.compile(r"[;；:：,，、]\s*|\s+")


def sentence_spans(text: str) -> list[Span]:
    """The sentences of a text, in order: they do not overlap, and every character that is not white space is in one of them.

    Linear in the text: 5 MB take about a second. Nothing is changed: `text[start:end]` is the sentence, trimmed.
    """
    spans: list[Span] = []
    start = 0
    for end in _ends(text):
        _append(spans, text, start, end)
        start = end
    _append(spans, text, start, len(text))
    return spans


def is_complete(sentence: str) -> bool:
    """Whether it ends as sentences do; headings, items and signatures do not."""
    return bool(re.search(rf"[.!?…。！？；｡．;][{_CLOSERS}]*$", sentence))


def _ends(text: str) -> Iterator[int]:
    """Places after which a new sentence begins."""
    start = 0
    for match in _END.finditer(text):
        if match.end() <= start:
            continue
        if match.group("lines") is not None:
            is_end = _line_ends(text, start, match)
        elif _is_wide(text, match):
            is_end = _wide_ends(text, start, match)
        else:
            is_end = _stop_ends(text, start, match)
        if is_end:
            start = match.end()
            yield start


def _append(spans: list[Span], text: str, start: int, end: int) -> None:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    while end - start > MAX_CHARACTERS:
        cut = start + MAX_CHARACTERS
        for soft in _SOFT_CUT.finditer(text, start + MAX_CHARACTERS // 2, cut):
            cut = soft.end()
        stop = cut
        while stop > start and text[stop - 1].isspace():
            stop -= 1
        spans.append((start, stop))
        start = cut
        while start < end and text[start].isspace():
            start += 1
    if end > start:
        spans.append((start, end))


def _is_wide(text: str, match: re.Match[str]) -> bool:
    """Whether the mark follows Chinese rules: a mark of that script, or an ASCII one right after a Han character."""
    mark, before = match.group("mark"), text[match.start() - 1 : match.start()]
    return mark[0] in "。！？；｡．" or (mark[0] in ".!?…" and _is_han(before))


def _wide_ends(text: str, start: int, match: re.Match[str]) -> bool:
    mark, close, after = match.group("mark"), match.group("close"), match.end()
    following = text[after : after + 14]
    if not following:
        return True
    if mark == "；":
        return after - start >= MIN_CLAUSE
    if mark[0] == "…":  # a voice that trails off; the sentence may go on
        return bool(close) and not _SPEECH_HAN.match(following)
    if mark == "." and (following[0].isdigit() or following[0].isascii() and following[0].isalpha()):
        return False
    if close and close[0] in ")）\"'”’」』》":
        return not _SPEECH_HAN.match(following)
    return True


def _stop_ends(text: str, start: int, match: re.Match[str]) -> bool:
    """Whether a Western mark ends its sentence: what stands before it and what follows decide."""
    mark, close, space = match.group("mark", "close", "space")
    after = match.end()
    following = text[after : after + 40]
    if not following or following[0] == "\n":
        return bool(following) and not _is_numbering(text, match)
    if not space and not close:
        if _is_han(following[0]):
            return mark[0] != "." or not text[match.start() - 1 : match.start()].isdigit()
        return mark == "." and bool(
            _GLUED.search(text, max(start, match.start() - 3), match.start()) and _GLUED_NEXT.match(following)
        )
    if not space and not _is_han(following[0]):
        return False
    first = following.lstrip("\"'“‘«([*_")[:1]
    if (first.islower() and not _LETTER_ITEM.match(following)) or following[0] in ",;:)—–-&":
        return False
    if close and _SPEECH.match(following):
        return False
    if mark != ".":
        return True
    word = _LAST_WORD.search(text, max(start, match.start() - 30), match.start())
    return not _is_abbreviation(word.group() if word else "", following) and not _is_numbering(text, match)


def _is_abbreviation(word: str, following: str) -> bool:
    """Whether `word`, before a full stop, is short for something and its sentence goes on."""
    lower = word.casefold()
    is_initial = len(word) == 1 and word.isupper() and following[0].isupper()
    if lower in _NEVER and not is_initial:
        # "No." and "Fig." are short before a number only: "He said no."
        return (
            lower not in ("no", "nos", "fig", "figs", "p", "ch", "sec", "art", "ed", "v", "st", "ft")
            or following[0].isdigit()
            or (lower in ("st", "ft", "v") and following[0].isupper())
        )
    next_word = re.match(r"[\"'“‘(]*([A-Za-z’']+)", following)
    begins = next_word is not None and next_word.group(1).casefold() in _STARTERS
    if len(word) == 1 and word.isalpha():
        return is_initial and word != "I" and not begins
    if lower in _SOMETIMES or re.fullmatch(r"(?:[A-Za-z]\.)+[A-Za-z]", word):
        if lower in ("in", "am", "min", "sat", "sun", "mar", "fri", "mon", "dec", "ad", "est", "rd", "hr", "oz", "co") and not (
            word[0].isupper() or following[0].isdigit()
        ):
            return False
        return not begins and (following[0].isupper() or following[0].isdigit())
    return False


def _is_numbering(text: str, match: re.Match[str]) -> bool:
    """Whether the full stop belongs to the number of a list item, "3. Costs"."""
    return match.group("mark") == "." and bool(_NUMBER_ITEM.search(text, max(0, match.start() - 12), match.start()))


def _line_ends(text: str, start: int, match: re.Match[str]) -> bool:
    """Whether a line break ends a sentence: always at an empty line, not where a paragraph was only wrapped."""
    if match.group("lines").count("\n") > 1:
        return True
    line_start = text.rfind("\n", start, match.start()) + 1 or start
    line, following = text[max(line_start, match.start() - 200) : match.start()].rstrip(), text[match.end() : match.end() + 40]
    if not line or not following:
        return False
    if _LIST_MARK.match(following) or is_complete(line):
        return True
    least = MIN_WRAPPED_HAN if _is_han(line[-1]) or line[-1] in "，、" else MIN_WRAPPED
    return len(line) < least


def _is_han(character: str) -> bool:
    return "\u3400" <= character <= "\u4dbf" or "\u4e00" <= character <= "\u9fff"
