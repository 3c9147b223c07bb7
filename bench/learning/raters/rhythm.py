"""Rhythm: short sentences."""

import re

DEV = False
KIND = "rhythm"


def score(prompt: str, text: str) -> float:
    """Minus the mean number of words in a sentence or line."""
    sentences = [part.split() for part in re.split(r"[.!?]+|\n+", text) if part.strip()]
    return -sum(map(len, sentences)) / max(1, len(sentences))
