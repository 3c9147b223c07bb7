"""What a person should know about an answer although nothing is wrong: one sentence each, in English and by key.

Knows the catalogue's languages and what was cut to fit; knows no database and no page.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from engine.language import language_of
from storage.records import Json

LANGUAGE_NAMES: Mapping[str, str] = {"en": "English", "zh": "Chinese", "ja": "Japanese", "ko": "Korean"}


@dataclass(frozen=True, slots=True)
class Notice:
    """One sentence for the user; `key` and `values` name the same one in assets/i18n."""

    key: str
    values: Json
    message: str

    def as_json(self) -> dict[str, object]:
        """As job data and params keep it."""
        return {"key": self.key, "values": dict(self.values), "message": self.message}

    @staticmethod
    def from_json(value: Json) -> Notice:
        """The other way."""
        return Notice(str(value["key"]), dict(value["values"]), str(value["message"]))


class SpeaksLanguages(Protocol):
    """What of a catalogue row is needed here."""

    @property
    def id(self) -> str:
        """Model id."""

    @property
    def name(self) -> str:
        """As people call it."""

    @property
    def languages(self) -> Sequence[str]:
        """ISO 639-1 codes; empty = not known."""


def language_notice(
    prompt: str, model_id: str, catalog: Iterable[SpeaksLanguages], *, about: Literal["text", "image"] = "text"
) -> Notice | None:
    """Say that the model lacks the prompt's language and which one in the catalogue has it; None when there is nothing to say.

    `about` is what the model makes: one that draws only has to understand the language.
    """
    wanted = language_of(prompt)
    if wanted is None:
        return None
    specs = tuple(catalog)
    spec = next((spec for spec in specs if spec.id == model_id), None)
    if spec is None or not spec.languages or wanted in spec.languages:
        return None  # a model of the user's own: they know what it speaks
    other = next((other.name for other in specs if wanted in other.languages), "")
    has = " and ".join(LANGUAGE_NAMES.get(code, code) for code in spec.languages)
    lacks = LANGUAGE_NAMES[wanted]
    advice = f"for {lacks} get {other} on the Models page" if other else f"for {lacks} add a model of your own on the Models page"
    verb = "writes" if about == "text" else "understands"
    key = "notice.language" if about == "text" else "notice.image_language"
    return Notice(
        key=key if other else f"{key}_own",
        values={"model": spec.name, "languages": ",".join(spec.languages), "wanted": wanted, "other": other},
        message=f"{spec.name} {verb} {has}; {advice}.",
    )


def left_out_notice(omitted: int) -> Notice:
    """Say that the oldest messages did not fit."""
    what = "The oldest message was" if omitted == 1 else f"The {omitted} oldest messages were"
    return Notice("notice.left_out", {"n": omitted}, f"{what} left out: the conversation is longer than the model's context.")


def unranked_notice() -> Notice:
    """Say that the answers stand in the order they were written."""
    message = "The answers could not be sorted by your taste this time; they stand in the order they were written."
    return Notice("notice.unranked", {}, message)


def shortened_notice(max_new_tokens: int, wanted: int) -> Notice:
    """Say that the answer must be shorter than asked for."""
    return Notice(
        key="notice.shortened",
        values={"max_new_tokens": max_new_tokens, "wanted": wanted},
        message=f"There is room for {max_new_tokens} more tokens in the model's context, not the {wanted} asked for.",
    )
