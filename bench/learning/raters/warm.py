"""Tone: kind and warm words."""

import re

DEV = False
KIND = "tone"
_WARM = re.compile(
    r"\b(lov(?:e|ed|ely|ing)|warm(?:th|ly)?|joy(?:ful)?|happ(?:y|iness)|kind(?:ness)?|gentle|cozy|delight(?:ful)?|hearts?|smiles?|"
    r"together|friend(?:s|ly)?|cherish|beautiful|comfort(?:ing)?|sweet|hope|peace(?:ful)?|care|thank(?:s|ful)?|grat(?:eful|itude))\b",
    re.IGNORECASE,
)


def score(prompt: str, text: str) -> float:
    """Share of such words."""
    return len(_WARM.findall(text)) / max(8, len(text.split()))
