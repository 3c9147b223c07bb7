"""Format, hard: asks the reader something. The base model seldom does, so many picks say nothing about it."""

DEV = False
KIND = "format"


def score(prompt: str, text: str) -> float:
    """Question marks, up to three; between equal ones the shorter text."""
    return min(3, text.count("?")) - 0.002 * len(text.split())
