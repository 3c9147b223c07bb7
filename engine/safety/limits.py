"""The one gate every text that comes in passes: length, NUL, lone surrogates, names of files.

Right-to-left marks, zero-width joiners, combining characters and emoji are kept as they came: they are part of how
people write, and the page isolates them when it shows them. Knows no database, no model and no page.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from engine.errors import BadOptionError, TooLongError

PROMPT_MAX_CHARS = 200_000
"""A prompt or an edited answer; far above any model's context, far below what hurts a database row."""
IMAGE_PROMPT_MAX_CHARS = 4_000
"""A prompt for a picture, or what should not be in it: no model reads more than a few hundred words."""
SYSTEM_MAX_CHARS = 20_000
COMMENT_MAX_CHARS = 4_000
TITLE_MAX_CHARS = 200
TAG_MAX_CHARS = 60
REASON_MAX_CHARS = 60
QUERY_MAX_CHARS = 1_000
ID_MAX_CHARS = 200
MAX_TAGS = 32
MAX_REASONS = 16
MAX_IDS = 10_000
"""How many Creations one click may change."""

_LABEL_SPACE = str.maketrans({"\r": " ", "\n": " ", "\t": " "})


def clean_text(text: object, *, max_chars: int, what: str) -> str:
    """Return `text` as it may be stored and shown: no NUL, no lone surrogate, Unix line ends, at most `max_chars` characters.

    `what` names the text in the sentence ("The prompt"). NULs are dropped, lone surrogates become U+FFFD, a pair of
    surrogates becomes the character it stands for. Raises BadOptionError when it is no text, and TooLongError, which names
    the limit and the length, before anything is copied.
    """
    if not isinstance(text, str):
        raise BadOptionError(f"{what} must be text.", key="error.not_text", what=what)
    if len(text) > max_chars:
        raise TooLongError(
            f"{what} is {len(text):,} characters long; the limit is {max_chars:,}. Nothing was changed; shorten it.",
            key="error.too_long",
            what=what,
            length=len(text),
            limit=max_chars,
        )
    if "\0" in text:
        text = text.replace("\0", "")
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text if text.isascii() else _without_surrogates(text)


def clean_label(text: object, *, max_chars: int, what: str) -> str:
    """Return `text` as one line without control characters and outer spaces: a title, a name, a tag.

    Raises what clean_text raises.
    """
    line = clean_text(text, max_chars=max_chars, what=what).translate(_LABEL_SPACE)
    return "".join(c for c in line if unicodedata.category(c) != "Cc").strip()


def clean_labels(texts: object, *, max_chars: int, max_count: int, what: str) -> tuple[str, ...]:
    """Return the labels once each, in order, empty ones left out. Raises BadOptionError for too many or for no list of texts."""
    if isinstance(texts, str) or not isinstance(texts, Iterable):
        raise BadOptionError(f"{what} must be a list of texts.", key="error.not_list", what=what)
    cleaned = dict.fromkeys(clean_label(text, max_chars=max_chars, what=what) for text in texts)
    cleaned.pop("", None)
    if len(cleaned) > max_count:
        raise BadOptionError(f"{what}: at most {max_count}.", key="error.too_many", what=what, limit=max_count)
    return tuple(cleaned)


def clean_ids(ids: object, *, what: str = "The ids") -> tuple[str, ...]:
    """Return ids once each, in order: a list of up to MAX_IDS texts. Raises BadOptionError."""
    if isinstance(ids, str):
        ids = (ids,)
    if not isinstance(ids, Iterable):
        raise BadOptionError(f"{what} must be a list of texts.", key="error.not_list", what=what)
    listed = tuple(ids)
    if not all(isinstance(item, str) for item in listed):
        raise BadOptionError(f"{what} must be a list of texts.", key="error.not_list", what=what)
    unique = tuple(dict.fromkeys(clean_text(item, max_chars=ID_MAX_CHARS, what=what) for item in listed))
    if len(unique) > MAX_IDS:
        raise BadOptionError(f"{what}: at most {MAX_IDS:,}.", key="error.too_many", what=what, limit=MAX_IDS)
    return unique


def _without_surrogates(text: str) -> str:
    try:
        text.encode("utf-8")
        return text
    except UnicodeEncodeError:
        # JSON sends characters beyond the BMP as pairs; utf-16 joins the pairs, what stays alone is replaced.
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
