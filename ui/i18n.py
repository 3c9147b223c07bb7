"""Words of the pages in each language, from assets/i18n/<language>/<area>.json (flat key -> text with {placeholders}).

Knows files and languages; knows no page and no gradio. Both languages hold the same keys (a test compares them).
A key "x.one" is used instead of "x" when the value n is 1, so that English does not say "1 ratings".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TypeAlias

LANGUAGES = ("en", "zh")
HTML_LANGUAGE = {"en": "en", "zh": "zh-CN"}
ASSETS_DIR = Path(__file__).resolve().parent.parent / "assets"

Translator: TypeAlias = Callable[..., str]


@cache
def messages(language: str) -> Mapping[str, str]:
    """All texts of one language, merged over its areas. Raises KeyError for an unknown language."""
    if language not in LANGUAGES:
        raise KeyError(language)
    merged: dict[str, str] = {}
    for path in sorted((ASSETS_DIR / "i18n" / language).glob("*.json")):
        merged.update(json.loads(path.read_text(encoding="utf-8")))
    return merged


def translator(language: str) -> Translator:
    """The function t(key, **values) for one language. An unknown key comes back as itself: a page never fails over a word."""
    words = messages(language)

    def t(key: str, **values: object) -> str:
        text = words.get(f"{key}.one") if values.get("n") == 1 else None
        text = text or words.get(key, key)
        for name, value in values.items():
            text = text.replace("{" + name + "}", str(value))
        return text

    return t


def from_accept_language(header: str) -> str:
    """The studio's language for a browser's Accept-Language header: the first one both know, else English."""
    for part in header.split(","):
        tag = part.split(";")[0].strip().lower().split("-")[0]
        if tag in LANGUAGES:
            return tag
    return "en"
