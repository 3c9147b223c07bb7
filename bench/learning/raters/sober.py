"""Tone, hard: no praise and no exclamations, the opposite of what the base model likes to write."""

import re

DEV = False
KIND = "tone"
_PRAISE = re.compile(
    r"!|\b(very|really|truly|amazing|perfect(?:ly)?|unique|ultimate|best|absolutely|incredibl[ey]|simply|just|delicious|"
    r"wonderful|unforgettable|stunning|beautiful(?:ly)?)\b",
    re.IGNORECASE,
)


def score(prompt: str, text: str) -> float:
    """Minus the share of such words; between equal ones the shorter text."""
    words = len(text.split())
    return -len(_PRAISE.findall(text)) / max(8, words) - 0.0001 * words
