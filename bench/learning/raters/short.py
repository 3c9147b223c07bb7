"""Length: the fewer words, the better."""

DEV = True
KIND = "length"


def score(prompt: str, text: str) -> float:
    """Minus the number of words."""
    return -float(len(text.split()))
