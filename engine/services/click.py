"""What every click on Create shares: the key by which the same click twice is one job, the seed, and what it began.

Knows names and numbers; knows no model, no database and no page.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, fields
from typing import Any, Final, Self

from engine.errors import BadOptionError
from engine.safety.limits import PROMPT_MAX_CHARS, clean_label, clean_text
from engine.services.notices import Notice
from storage.records import CreationRecord, Json

MAX_KEY_CHARS: Final = 200
MAX_RANDOM_SEED: Final = 2**32
"""Drawn seeds stay short enough to be read out and typed again."""


@dataclass(frozen=True, slots=True)
class Started:
    """What a click began; each task adds its fields, `notices` among them."""

    job_id: str

    def as_json(self) -> dict[str, Any]:
        """What the job's row keeps, so that the same click twice gets the same answer."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self) if field.name != "job_id"}

    @classmethod
    def from_json(cls, job_id: str, request: Json) -> Self:
        """The other way."""
        values = {field.name: request[field.name] for field in fields(cls) if field.name != "job_id"}
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        return cls(job_id, **{**values, "notices": tuple(Notice.from_json(value) for value in request["notices"])})


def clean_key(key: str | None) -> str | None:
    """The idempotency key as it is stored; None for an empty one. Raises TooLongError."""
    return None if key is None else clean_label(key, max_chars=MAX_KEY_CHARS, what="The idempotency key") or None


def seed_or_drawn(seed: int | None) -> int:
    """The seed that was asked for, else one drawn now."""
    return seed if seed is not None else secrets.randbelow(MAX_RANDOM_SEED)


def clean_edit(text: str) -> str:
    """The text of an edited version. Raises BadOptionError for an empty one, TooLongError."""
    cleaned = clean_text(text, max_chars=PROMPT_MAX_CHARS, what="The edited text")
    if not cleaned.strip():
        raise BadOptionError("The edited text is empty; nothing was changed.", key="error.edit_empty")
    return cleaned


def check_edit(text: str, original: CreationRecord) -> None:
    """Raise BadOptionError for an edit that changes nothing."""
    if text == original.output:
        raise BadOptionError("The edited text is the same as before; nothing was changed.", key="error.edit_same")


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [one.as_json() if isinstance(one, Notice) else one for one in value]
    return value
