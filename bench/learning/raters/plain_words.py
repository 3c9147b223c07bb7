"""Content, hard: simple words. The model's own words differ little in length, so there is little to choose from."""

import re

DEV = False
KIND = "content"


def score(prompt: str, text: str) -> float:
    """Minus the mean length of a word in letters."""
    words = re.findall(r"[A-Za-z']+", text)
    return -sum(map(len, words)) / max(1, len(words))
