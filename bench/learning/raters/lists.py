"""Format: wants bullet points or numbered lines."""

import re

DEV = False
KIND = "format"
_ITEM = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+\S", re.MULTILINE)


def score(prompt: str, text: str) -> float:
    """List items, up to six; between equal ones the shorter text."""
    return min(6, len(_ITEM.findall(text))) - 0.001 * len(text.split())
