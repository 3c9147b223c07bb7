"""The terms of a text that carry its meaning: stems of content words, and pairs of neighbouring characters in Chinese.

Chinese is not cut into words: pairs of characters find the same things without a dictionary, and names and new words too.
Knows strings; knows no document and no model.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import log
from typing import Final

import numpy as np
import numpy.typing as npt

HAN: Final = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_RUN: Final = re.compile(rf"[{HAN}]+|[^\W_{HAN}]+(?:[.,:/'’-][^\W_{HAN}]+)*")
_HAN_RUN: Final = re.compile(rf"[{HAN}]")
_POSSESSIVE: Final = re.compile(r"['’]s?$")

_STEMMERS: Final = {
    "da": "danish", "de": "german", "en": "english", "es": "spanish", "fi": "finnish", "fr": "french", "hu": "hungarian",
    "it": "italian", "nb": "norwegian", "nl": "dutch", "no": "norwegian", "pt": "portuguese", "ro": "romanian", "ru": "russian",
    "sv": "swedish", "tr": "turkish",
}  # fmt: skip
"""Languages whose endings are cut off, by ISO 639-1 code."""
STOP_WORDS: Final = frozenset(
    "a about above after again against all also although always am an and another any anybody anyone anything are aren't "
    "around as at away back be because been before behind being below between both but by can can't cannot could couldn't "
    "did didn't do does doesn't doing don't done down during each either else even ever every everybody everyone everything "
    "few for from further get gets getting go goes going gone got had hadn't has hasn't have haven't having he he'd he'll "
    "he's her here here's hers herself him himself his how however i i'd i'll i'm i've if in instead into is isn't it it's "
    "its itself just last let let's like made make makes making many may me might more most much must my myself neither "
    "never next no nobody none nor not nothing now of off often on once one only onto or other others our ours ourselves "
    "out over own perhaps put quite rather really said same say says see seem seems shall she she's should shouldn't since "
    "so some somebody someone something soon still such take takes than that that's the their theirs them themselves then "
    "there there's these they they're they've thing things this those though through to too took toward towards under until "
    "up upon us very was wasn't we we'd we'll we're we've well went were weren't what what's when where whether which while "
    "who who's whole whom whose why will with within without won't would wouldn't yes yet you you'd you'll you're you've "
    "your yours yourself".split()
)
_STOP_HAN: Final = frozenset(
    "的了着是在和与及或而也都就又还很更最这那之其此吗呢吧啊们个把被让给从到对于以为因所但却并且如果则等地得"
)
"""Characters that mostly hold a sentence together; a pair of two of them is no term."""


def terms(text: str, language: str = "en") -> list[str]:
    """The terms in order, with repetitions: stems of content words and numbers; of Han runs each pair of characters."""
    found: list[str] = []
    for match in _RUN.finditer(text):
        run = match.group()
        if _HAN_RUN.match(run):
            found += _pairs(run)
        else:
            word = _POSSESSIVE.sub("", run.casefold())
            if word not in STOP_WORDS and (len(word) > 1 or word.isdigit()):
                found.append(stem(word, language))
    return found


def is_function_word(word: str, language: str) -> bool:
    """Whether it only holds a sentence together: known for English words and Chinese characters."""
    return word in _STOP_HAN if language == "zh" else language == "en" and word in STOP_WORDS


def _pairs(run: str) -> list[str]:
    if len(run) == 1:
        return [] if run in _STOP_HAN else [run]
    pairs = (run[place : place + 2] for place in range(len(run) - 1))
    return [pair for pair in pairs if not (pair[0] in _STOP_HAN or pair[1] in _STOP_HAN)]


@lru_cache(maxsize=65536)
def stem(word: str, language: str = "en") -> str:
    """The word without its endings ("repairs", "repairing" → "repair"), as Snowball cuts them; unchanged in other languages."""
    name = _STEMMERS.get(language)
    if name is None or not word.isalpha():
        return word
    from snowballstemmer import stemmer

    return str(stemmer(name).stemWord(word))  # a new one each time: it keeps the word it works on, and threads share this


def inverse_frequencies(units: Iterable[Sequence[str]]) -> dict[str, float]:
    """How much each term says: log((1 + n) / (1 + units that hold it)) + 1, over n units."""
    counts: Counter[str] = Counter()
    total = 0
    for unit in units:
        counts.update(set(unit))
        total += 1
    return {term: log((1 + total) / (1 + count)) + 1 for term, count in counts.items()}


def weighted(units: Sequence[Sequence[str]], weights: dict[str, float]) -> npt.NDArray[np.float32]:
    """TF-IDF vectors of length 1: float32 [units, terms that occur in them]; the cosine of two is their dot product.

    The vocabulary is that of the units alone, so a few hundred sentences are a small matrix however long the document is.
    """
    places: dict[str, int] = {}
    for unit in units:
        for term in unit:
            places.setdefault(term, len(places))
    matrix = np.zeros((len(units), max(1, len(places))), np.float32)
    for row, unit in enumerate(units):
        for term, count in Counter(unit).items():
            matrix[row, places[term]] = (1 + log(count)) * weights.get(term, 1.0)
    lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    return np.asarray(matrix / np.maximum(lengths, 1e-9), np.float32)
