"""Tone and point of view together: speaks to "you", has an exclamation or a question, and is short."""

import re

DEV = True
KIND = "tone"
_YOU = re.compile(r"\b(you|your|yours|you're|you'll|you've)\b", re.IGNORECASE)


def score(prompt: str, text: str) -> float:
    """Marks for each, and a little less for every word."""
    words = max(8, len(text.split()))
    marks = len(re.findall(r"[!?]", text))
    return 2 * (marks > 0) + 2 * marks / words + 3 * len(_YOU.findall(text)) / words - 0.004 * words
