"""Readable features of a text: what a person could count in it, each with a name that can be said in a sentence.

Works for space-separated languages and for Chinese (whose characters count as words). Word lists are short and general: they
say what kind of text it is, not what it is about. Knows no model, no rating and no database.
"""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import log1p, sqrt

_CJK = "\u3400-\u4dbf\u4e00-\u9fff"
_WORD = re.compile(rf"[{_CJK}]|[^\W\d_]+(?:['’][^\W\d_]+)*")
_HAN = re.compile(rf"[{_CJK}]")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"'”’)\]]*\s+|(?<=[。！？])[”’」』）]*|\n+")
_LIST_LINE = re.compile(r"^\s*(?:[-*•–]|\d{1,2}[.)、]|[一二三四五六七八九十]、)\s*\S")
_MARKUP = re.compile(r"\*\*[^*\n]+\*\*|__[^_\n]+__|^#{1,6}\s|`[^`\n]+`|^\s*\|.*\|\s*$|^[^.!?。\n]{2,40}[:：]\s*$", re.MULTILINE)
_EMOJI = re.compile("[\U0001f300-\U0001faff\u2600-\u27bf\u2b50\u2764]")
_QUOTED = re.compile(r"[\"“][^\"“”\n]+[\"”]|「[^」\n]+」|『[^』\n]+』")
_CONTRACTION = re.compile(r"\b\w+['’](?:s|t|re|ve|ll|d|m)\b", re.IGNORECASE)
_NAME = re.compile(r"(?<![.!?:\"“\n]\s)(?<!^)(?<=\s)[A-Z][a-z]+")
_ABSTRACT = re.compile(r"\w{3,}(?:tion|sion|ness|ment|ity|ance|ence|ism|ship)s?$")

_LISTS: dict[str, str] = {
    "you": "you your yours yourself yourselves you're you'll you've you'd 你 您",
    "i": "i me my mine myself i'm i'll i've i'd 我",
    "we": "we us our ours ourselves we're we'll we've we'd let's 咱",
    "hedges": (
        "maybe perhaps might could may possibly probably seems seem somewhat likely usually often generally sometimes "
        "around almost 也许 可能 或许 大概"
    ),
    "warm": (
        "love loved lovely wonderful happy happiness joy joyful great beautiful amazing perfect delicious delightful "
        "kind warm friendly enjoy smile hope fun best favorite favourite exciting proud grateful glad sweet bright "
        "delight cozy cosy 爱 喜 乐 美 好 暖 甜"
    ),
    "dark": (
        "sad cold dark bad never problem wrong difficult hard fear afraid lost alone tired pain worst fail failure "
        "sorry hate struggle worry broken 悲 冷 暗 难 怕 痛 累"
    ),
    "polite": (
        "please thank thanks thankful grateful appreciate sincerely regards dear sorry apologize apologies kindly 请 谢 敬"
    ),
    "urging": (
        "try start begin make take keep let don't use find get go come join visit discover remember choose give look "
        "ask stop learn enjoy consider avoid ensure 试 别 让"
    ),
    "linking": (
        "however therefore moreover furthermore additionally overall consequently thus hence whereas although while "
        "because since firstly secondly finally conclusion 然而 因此 此外 总之 因 但"
    ),
    "sensory": (
        "bright dark warm cold soft loud quiet sweet bitter salty crisp golden red blue green white black silver smell "
        "scent taste sound light shadow wind rain sun moon star stars sea river tree trees leaf leaves stone wood smoke "
        "bread salt skin hand hands eye eyes morning night 光 声 香 味 风 雨 雪 月 星 海 山 花 树 夜"
    ),
    "intense": ("very really so truly extremely incredibly absolutely completely totally highly always ever most 很 非 极 最 太"),
    "past": "was were had did said went came saw felt knew took found thought told 了 过",
}
_STOP = frozenset(
    (
        "a an the and or but of to in on at for with from by as is are was were be been it its this that these those i "
        "you he she we they my your his her our their me him us them not no do does did have has had will would can "
        "could should there here so if then than 的 了 是 在 和 我 你 他 她 它 们 这 那 一 不 有 也 就 都 而 与"
    ).split()
)
_OPENERS = ("sure", "certainly", "of course", "here is", "here's", "here are", "as an ai", "i'm sorry", "好的", "当然", "以下是")


@dataclass(frozen=True, slots=True)
class Feature:
    """One column. Of several features of one family only the clearest is said aloud."""

    name: str
    family: str
    is_said: bool = True
    """False for shapes that help to fit but that no sentence could say (a square)."""


FEATURES: tuple[Feature, ...] = (
    Feature("words", "length"),
    Feature("sentences", "length"),
    Feature("lines", "layout"),
    Feature("words_squared", "length", is_said=False),
    Feature("sentence_words", "sentence_length"),
    Feature("sentence_words_squared", "sentence_length", is_said=False),
    Feature("longest_sentence", "sentence_length"),
    Feature("uneven", "rhythm"),
    Feature("word_letters", "vocabulary"),
    Feature("abstract", "vocabulary"),
    Feature("variety", "repetition"),
    Feature("lists", "layout"),
    Feature("markup", "layout"),
    Feature("digits", "digits"),
    Feature("emoji", "emoji"),
    Feature("quotes", "quotes"),
    Feature("opens_quoted", "quotes"),
    Feature("asides", "asides"),
    Feature("commas", "sentence_length"),
    Feature("questions", "questions"),
    Feature("opens_asking", "questions"),
    Feature("exclamations", "exclamations"),
    Feature("you", "you"),
    Feature("i", "i"),
    Feature("we", "we"),
    Feature("names", "names"),
    Feature("contractions", "formality"),
    Feature("hedges", "hedges"),
    Feature("warm", "warmth"),
    Feature("dark", "warmth"),
    Feature("polite", "polite"),
    Feature("urging", "urging"),
    Feature("linking", "formality"),
    Feature("sensory", "sensory"),
    Feature("intense", "intense"),
    Feature("past", "past"),
    Feature("alliteration", "sound"),
    Feature("rhyme", "sound"),
    Feature("echo", "echo"),
    Feature("opener", "opener"),
    Feature("finished", "finished"),
)
NAMES: tuple[str, ...] = tuple(feature.name for feature in FEATURES)


@cache
def _words_of(name: str) -> frozenset[str]:
    return frozenset(_LISTS[name].split())


def features(text: str, prompt: str = "") -> dict[str, float]:
    """Every feature of `text` by its name, in the order of FEATURES; `prompt` is what it answers.

    Counts are log(1 + count) or square roots, so that the first of something says more than the tenth; shares are 0 … 1.
    """
    text = text.strip()
    words = [word.lower().replace("’", "'") for word in _WORD.findall(text)]
    sentences = [part for part in _SENTENCE_END.split(text) if part and _WORD.search(part)]
    lengths = [len(_WORD.findall(sentence)) for sentence in sentences] or [0]
    count = max(1, len(words))
    known = Counter(words)
    values = {
        "words": log1p(len(words)),
        "sentences": log1p(len(sentences)),
        "sentence_words": log1p(statistics.fmean(lengths)),
        "longest_sentence": log1p(max(lengths)),
        "uneven": statistics.pstdev(lengths) / (1 + statistics.fmean(lengths)),
        **{name: log1p(sum(known[word] for word in _words_of(name))) for name in _LISTS},
        **_layout(text),
        **_punctuation(text, sentences),
        **_vocabulary(words, count),
        **_sound(sentences, words),
        "names": log1p(len(_NAME.findall(text))),
        "echo": _echo(words, prompt),
        "opener": float(text.lower().startswith(_OPENERS)),
    }
    values["words_squared"] = values["words"] ** 2
    values["sentence_words_squared"] = values["sentence_words"] ** 2
    return {name: values[name] for name in NAMES}


def _layout(text: str) -> dict[str, float]:
    lines = [line for line in text.split("\n") if line.strip()]
    return {
        "lines": log1p(max(0, len(lines) - 1)),
        "lists": log1p(sum(bool(_LIST_LINE.match(line)) for line in lines)),
        "markup": log1p(len(_MARKUP.findall(text))),
        "emoji": log1p(len(_EMOJI.findall(text))),
        "digits": log1p(len(re.findall(r"\d+", text))),
    }


def _punctuation(text: str, sentences: Sequence[str]) -> dict[str, float]:
    first = sentences[0].rstrip("\"'”’)」』） ") if sentences else ""
    return {
        "questions": log1p(len(re.findall("[?？]", text))),
        "opens_asking": float(first.endswith(("?", "？"))),
        "exclamations": log1p(len(re.findall("[!！]", text))),
        "quotes": log1p(len(_QUOTED.findall(text))),
        "opens_quoted": float(text.startswith(('"', "“", "「", "『"))),
        "asides": log1p(len(re.findall(r"[(（]|\s[-–—]{1,2}\s|—|[;；]", text))),
        "commas": log1p(len(re.findall("[,，、]", text))),
        "contractions": log1p(len(_CONTRACTION.findall(text))),
        "finished": float(text.endswith((".", "!", "?", "。", "！", "？", '"', "”", ")", "」", "*"))),
    }


def _vocabulary(words: Sequence[str], count: int) -> dict[str, float]:
    spelled = [word for word in words if not _HAN.match(word)]
    return {
        "word_letters": statistics.fmean(len(word) for word in spelled) if spelled else 0.0,
        "abstract": sqrt(sum(bool(_ABSTRACT.match(word)) for word in spelled) / count),
        # Of two texts the longer one repeats more by itself: compared with the square root of its length.
        "variety": len(set(words)) / sqrt(count) - 0.5 * sqrt(count) if words else 0.0,
    }


def _sound(sentences: Sequence[str], words: Sequence[str]) -> dict[str, float]:
    heavy = [word for word in words if word not in _STOP and not _HAN.match(word)]
    pairs = max(1, len(heavy) - 1)
    same = sum(first[0] == second[0] and first != second for first, second in zip(heavy, heavy[1:], strict=False))
    ends = [_WORD.findall(sentence)[-1].lower() for sentence in sentences]
    tails = Counter(word[-2:] for word in dict.fromkeys(ends) if len(word) > 2)
    return {
        "alliteration": sqrt(same / pairs),
        "rhyme": sum(number - 1 for number in tails.values()) / max(1, len(ends)),
    }


def _echo(words: Sequence[str], prompt: str) -> float:
    asked = {word.lower() for word in _WORD.findall(prompt)} - _STOP
    return len(asked & set(words)) / len(asked) if asked else 0.0
