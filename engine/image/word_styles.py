"""Styles for models that take them as words: assets/image_styles.yaml, read into templates. Knows texts; knows no model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.errors import BadFileError

_PLACE = "{prompt}"


@dataclass(frozen=True, slots=True)
class WordStyle:
    """One style."""

    id: str
    prompt: str
    """With {prompt} where the user's words go."""
    negative: str = ""

    def apply(self, prompt: str, negative: str) -> tuple[str, str]:
        """Prompt and negative prompt in this style. Braces of the user's own are left alone."""
        words = self.prompt.replace(_PLACE, prompt) if prompt.strip() else self.prompt.replace(_PLACE, "").strip(" ,")
        return words, ", ".join(part for part in (negative.strip(), self.negative) if part)


def load_styles(path: Path) -> Mapping[str, WordStyle]:
    """Read the file: id → style, in its order. Raises BadFileError when it is damaged."""
    import yaml

    try:
        styles = [WordStyle(**row) for row in yaml.safe_load(path.read_text(encoding="utf-8"))["styles"]]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        text = f"The list of styles {path.name} cannot be read: {error}."
        raise BadFileError(text, key="error.catalog", name=path.name) from error
    if any(_PLACE not in style.prompt for style in styles) or len({style.id for style in styles}) != len(styles):
        raise BadFileError(
            f"The list of styles {path.name} has a style twice or without {_PLACE}.", key="error.catalog", name=path.name
        )
    return {style.id: style for style in styles}
