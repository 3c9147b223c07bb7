"""Length: the more said, the better."""

DEV = False
KIND = "length"


def score(prompt: str, text: str) -> float:
    """Number of words."""
    return float(len(text.split()))
