"""Hidden rules of the simulated rater: each scores a text by something a person could like. The studio never sees them.

Those marked `dev` were looked at while the taste model was made; the others are what is reported. Written apart from
engine/evaluation/features.py and on purpose not in its terms.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean, pstdev

Score = Callable[[str], float]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rater's taste: the higher the score, the better."""

    kind: str
    is_dev: bool
    score: Score


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+(?:'[a-z]+)?", text.lower().replace("’", "'"))


def _sentences(text: str) -> list[list[str]]:
    return [words for part in re.split(r"[.!?\n]+", text) if (words := _words(part))]


def _any(text: str, *wanted: str) -> int:
    return sum(word in wanted for word in _words(text))


def _hits(text: str, pattern: str) -> int:
    return len(re.findall(pattern, text, re.IGNORECASE | re.MULTILINE))


def _personal(text: str) -> float:
    """The rule of the first experiment: short, speaks to the reader, lively punctuation."""
    return (len(_words(text)) < 35) + (_any(text, "you", "your") > 0) + ("!" in text or "?" in text)


_NATURE = (
    "tree|forest|wood|river|ocean|sea|beach|water|wave|mountain|hill|trail|flower|garden|plant|grass|bird|sky|sun|sunlight|sunset|"
    "moon|star|wind|breeze|rain|snow|storm|cloud|leaf|leaves|bee|honey|animal|fox|cat|fish|field|lake|earth|nature|season|autumn|summer"
)
_HOME = (
    "food|cook|kitchen|bread|bake|bakery|coffee|tea|home|house|room|table|chair|door|window|bed|lamp|meal|fresh|taste|sweet|spice|"
    "recipe|rice|egg|soup|fruit|jam|oil|cup|plate|cosy|cozy|warm"
)
_PEOPLE = (
    "friend|family|mother|father|parent|child|children|kid|people|person|man|men|woman|women|team|neighbo(?:u)?r|colleague|teacher|"
    "student|everyone|guest|customer|community|someone|together"
)


def _about(stems: str) -> Score:
    return lambda text: _hits(text, rf"\b(?:{stems})(?:s|es|ed|ing|y)?\b")


def _chatty(text: str) -> float:
    """Talks as to a friend: asks, contracts, exclaims, says hello."""
    return (
        2 * text.count("?")
        + text.count("!")
        + _hits(text, r"\w'(?:s|t|re|ve|ll|d|m)\b")
        + 2 * _hits(text, r"\A\W*(?:hey|hi|hello|dear)")
    )


def _clipped(text: str) -> float:
    """Hard: every sentence short, none like the one before."""
    lengths = [len(words) for words in _sentences(text)] or [99]
    return -max(lengths) + 3.0 * len(set(lengths)) / len(lengths)


def _formal(text: str) -> float:
    casual = _hits(text, r"\w'(?:s|t|re|ve|ll|d|m)\b") + 2 * text.count("!") + _any(text, "hey", "cool", "awesome", "fun", "guys")
    return fmean([len(word) for word in _words(text)] or [0]) - casual


def _storyteller(text: str) -> float:
    return _any(text, "i", "my", "me", "was", "were", "had", "once", "one", "when", "day", "said") / (5 + len(_words(text)))


def _rhythm(text: str) -> float:
    lengths = [len(words) for words in _sentences(text)]
    return pstdev(lengths) if len(lengths) > 1 else 0.0


def _alliteration(text: str) -> float:
    initials = [word[0] for word in _words(text) if len(word) > 3]
    return sum(a == b for a, b in zip(initials, initials[1:], strict=False)) / (4 + len(initials))


def _fresh_words(text: str) -> float:
    words = [word for word in _words(text) if len(word) > 3]
    return len(set(words)) / len(words) if words else 0.0


RULES: Mapping[str, Rule] = {
    "short": Rule("length", True, lambda text: -len(_words(text))),
    "personal": Rule("mixed", True, _personal),
    "structured": Rule("format", True, lambda text: text.count("\n") + 2 * _hits(text, r"^\s*(?:[-*•]|\d+[.)])\s|\*\*.+?\*\*")),
    "long_flow": Rule("rhythm", True, lambda text: fmean([len(words) for words in _sentences(text)] or [0])),
    "first_person": Rule("point of view", True, lambda text: _any(text, "i", "my", "me", "i'm", "i've", "we", "our")),
    "kind_words": Rule(
        "tone", True, lambda text: _hits(text, r"\b(?:love|joy|happ|wonder|warm|smile|thank|kind|enjoy|beaut)\w*")
    ),
    "people": Rule("content", True, _about(_PEOPLE)),
    "short_words": Rule("vocabulary", True, lambda text: -fmean([len(word) for word in _words(text)] or [0])),
    "rambling": Rule("length", False, lambda text: len(text)),
    "about_25_words": Rule("length, hard", False, lambda text: -abs(len(_words(text)) - 25)),
    "plain_block": Rule("format", False, lambda text: -text.count("\n") - _hits(text, r"[*#:\"“]")),
    "chatty": Rule("tone", False, _chatty),
    "to_the_reader": Rule("point of view", False, lambda text: _any(text, "you", "your", "yourself") / (5 + len(_words(text)))),
    "storyteller": Rule("point of view, hard", False, _storyteller),
    "formal": Rule("tone", False, _formal),
    "excited": Rule("tone", False, lambda text: text.count("!") + _any(text, "amazing", "exciting", "wow", "best", "perfect")),
    "nature": Rule("content, hard", False, _about(_NATURE)),
    "food_and_home": Rule("content, hard", False, _about(_HOME)),
    "numbers": Rule("content", False, lambda text: _hits(text, r"\b\d+\b|\b(?:one|two|three|four|five|six|ten|hundred)\b")),
    "rhythm": Rule("rhythm", False, _rhythm),
    "clipped": Rule("rhythm, hard", False, _clipped),
    "alliteration": Rule("sound, hard", False, _alliteration),
    "fresh_words": Rule("vocabulary, hard", False, _fresh_words),
}
