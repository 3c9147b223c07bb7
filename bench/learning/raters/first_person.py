"""Point of view: told by an "I" or a "we"."""

import re

DEV = True
KIND = "point of view"
_I = re.compile(r"\b(i|me|my|mine|i'm|i've|i'll|i'd|we|our|us|we're|we'll)\b", re.IGNORECASE)


def score(prompt: str, text: str) -> float:
    """Share of first-person words."""
    return len(_I.findall(text)) / max(8, len(text.split()))
