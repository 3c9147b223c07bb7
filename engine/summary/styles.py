"""Styles of summaries: assets/summary_styles.yaml, read into what a text model is asked. Knows texts; knows no model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engine.errors import BadFileError

_NAMES: Final[Mapping[str, Mapping[str, str]]] = {
    "en": {"en": "English", "zh": "Chinese"},
    "zh": {"en": "英文", "zh": "中文"},
}
"""Languages by the language that the model is asked in."""


@dataclass(frozen=True, slots=True)
class Wording:
    """A style in one language."""

    note: str
    """What is asked about one part of a long document."""
    whole: str
    """What is asked about a whole document, or about the notes on its parts."""


@dataclass(frozen=True, slots=True)
class SummaryStyle:
    """One style."""

    id: str
    is_list: bool
    """Whether it is a list of sentences, one on each line."""
    sentences: int | None
    """How many sentences it has whatever length was wished; None = as wished."""
    wordings: Mapping[str, Wording]
    """By language code; "en" is always there."""


@dataclass(frozen=True, slots=True)
class SummaryStyles:
    """All styles, and what is added to their wordings."""

    styles: Mapping[str, SummaryStyle]
    focus: Mapping[str, str]
    language: Mapping[str, str]

    def note(self, style: SummaryStyle, language: str, focus: str) -> str:
        """What is asked about one part of a document of that language."""
        asked = _language(style, language)
        return style.wordings[asked].note + self._focus(asked, focus)

    def whole(self, style: SummaryStyle, language: str, *, words: int, sentences: int, focus: str, wanted: str) -> str:
        """What is asked about the whole, of about so many words (Chinese: characters), in the language `wanted`."""
        asked = _language(style, wanted)
        said = style.wordings[asked].whole.replace("{words}", str(words)).replace("{sentences}", str(sentences))
        if wanted != language and wanted in _NAMES[asked]:
            said += self.language[asked].replace("{language}", _NAMES[asked][wanted])
        return said + self._focus(asked, focus)

    def _focus(self, asked: str, focus: str) -> str:
        return self.focus[asked].replace("{focus}", focus.strip()) if focus.strip() else ""


def load_summary_styles(path: Path) -> SummaryStyles:
    """Read the file. Raises BadFileError when it is damaged."""
    import yaml

    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8"))
        styles = {row["id"]: _style(row) for row in read["styles"]}
        return SummaryStyles(styles, dict(read["focus"]), dict(read["language"]))
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        text = f"The list of styles {path.name} cannot be read: {error}."
        raise BadFileError(text, key="error.catalog", name=path.name) from error


def _style(row: Mapping[str, object]) -> SummaryStyle:
    wordings = {code: Wording(**row[code]) for code in ("en", "zh")}  # type: ignore[arg-type]
    sentences = row.get("sentences")
    return SummaryStyle(str(row["id"]), bool(row["list"]), sentences if isinstance(sentences, int) else None, wordings)


def _language(style: SummaryStyle, language: str) -> str:
    return language if language in style.wordings else "en"
