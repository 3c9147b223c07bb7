"""Which of the languages with a script of their own a text is in: Chinese, Japanese, Korean. Knows characters only."""

from __future__ import annotations

import unicodedata

MIN_SCRIPT_SHARE = 0.2
"""Share of the letters from which a prompt counts as written in that script: a quoted name alone does not."""


def language_of(text: str) -> str | None:
    """ "zh", "ja" or "ko" when enough of the letters are of that script, None for everything else.

    Kana make a text Japanese even among Han characters.
    """
    counts = {"han": 0, "kana": 0, "hangul": 0}
    letters = 0
    for character in text[:4000]:  # the beginning tells
        if not character.isalpha():
            continue
        letters += 1
        if character.isascii():
            continue
        name = unicodedata.name(character, "")
        if name.startswith("CJK"):
            counts["han"] += 1
        elif name.startswith(("HIRAGANA", "KATAKANA")):
            counts["kana"] += 1
        elif name.startswith("HANGUL"):
            counts["hangul"] += 1
    enough = max(1.0, MIN_SCRIPT_SHARE * letters)
    if counts["hangul"] >= enough:
        return "ko"
    if counts["han"] + counts["kana"] < enough:
        return None
    return "ja" if counts["kana"] >= max(1.0, 0.1 * counts["han"]) else "zh"
