"""What every click on Create shares: the key by which the same click twice is one job, and the seed. Knows no job and no page."""

from __future__ import annotations

import secrets
from typing import Final

from engine.safety.limits import clean_label

MAX_KEY_CHARS: Final = 200
MAX_RANDOM_SEED: Final = 2**32
"""Drawn seeds stay short enough to be read out and typed again."""


def clean_key(key: str | None) -> str | None:
    """The idempotency key as it is stored; None for an empty one. Raises TooLongError."""
    return None if key is None else clean_label(key, max_chars=MAX_KEY_CHARS, what="The idempotency key") or None


def seed_or_drawn(seed: int | None) -> int:
    """The seed that was asked for, else one drawn now."""
    return seed if seed is not None else secrets.randbelow(MAX_RANDOM_SEED)
