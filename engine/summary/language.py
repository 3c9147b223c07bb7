"""The language of a document: by its script, by English function words, and for all others by py3langid's n-grams.

Source of the last: M. Lui and T. Baldwin, "langid.py: An Off-the-shelf Language Identification Tool", ACL 2012. Knows no file.
"""

from __future__ import annotations

import re
from typing import Final

from engine.language import language_of

_SAMPLE_CHARS: Final = 1300
_ENGLISH: Final = frozenset(
    "the of and to in a is that for it was on with as be at by this from are have not were which an or has had their its".split()
)
"""The most frequent words of English; no other language uses several of them often."""
_ENGLISH_SHARE: Final = 0.18
"""Share of a text's words from which it is English: English prose has 0.3 to 0.4 of them, others below 0.1."""
_ASCII_SHORT: Final = 60
"""Letters below which n-grams guess wildly."""
_LATIN_WORD: Final = re.compile(r"[a-z]+(?:'[a-z]+)?", re.ASCII)


def document_language(text: str) -> str:
    """Return the ISO 639-1 code of most of the text, judged by its beginning, middle and end; "" for a text without letters."""
    sample = _sample(text)
    letters = [character for character in sample if character.isalpha()]
    if not letters:
        return ""
    by_script = language_of(sample)
    if by_script is not None:
        return by_script
    if _is_english(sample, len(letters)):
        return "en"
    # Imported here: the model takes a second to unpack, and most documents do not need it.
    from py3langid import rank

    return next((code for code, _ in rank(sample) if len(code) == 2), "")


def _sample(text: str) -> str:
    if len(text) <= 3 * _SAMPLE_CHARS:
        return text
    part = _SAMPLE_CHARS
    middle = (len(text) - part) // 2
    return "\n".join((text[:part], text[middle : middle + part], text[-part:]))


def _is_english(sample: str, letters: int) -> bool:
    words = _LATIN_WORD.findall(sample.casefold())
    frequent = sum(word in _ENGLISH for word in words)
    if words and frequent / len(words) >= _ENGLISH_SHARE:
        return True
    return letters < _ASCII_SHORT and sample.isascii()
