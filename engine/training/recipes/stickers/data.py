"""The pictures and captions that the starter image model learns from: stickers-64 (its own README has licences and sources).

Which pictures are trained on is decided here: no share-alike art, no country flags, no concept of the "val" split, and of each
concept that exists in six or more styles one style is kept back, so that what the model makes of an unseen combination can
be compared with the real picture. Knows files and numbers; knows no model.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

COMBINATION_STYLES: Final = 6
"""A concept in at least so many styles lends one of them to the test of unseen combinations."""
COLOURS: Final[Mapping[str, tuple[int, int, int]]] = {
    "red": (214, 44, 50),
    "orange": (245, 140, 32),
    "yellow": (253, 205, 60),
    "green": (70, 165, 70),
    "teal": (40, 165, 165),
    "blue": (45, 115, 220),
    "light blue": (135, 200, 245),
    "purple": (130, 75, 190),
    "pink": (245, 130, 175),
    "brown": (125, 78, 52),
    "beige": (238, 205, 165),
    "gray": (145, 150, 155),
    "black": (30, 30, 32),
    "white": (246, 246, 246),
}
"""sRGB of the colour words, as the data set's own labels use them."""
CHROMATIC: Final = ("red", "orange", "yellow", "green", "teal", "blue", "light blue", "purple", "pink")


@dataclass(frozen=True, slots=True)
class Sticker:
    """One picture: its row in the file of pixels, what it shows, and in which style."""

    row: int
    concept: str
    style: str
    group: str
    names: Mapping[str, str]
    """By language ("en", "zh"); a language without a name is missing."""
    keywords: Mapping[str, tuple[str, ...]]
    tone: Mapping[str, str]
    colours: tuple[str, ...]
    """Up to three colour words, by area."""
    split: str

    @property
    def can_flip(self) -> bool:
        """Whether its mirror image shows the same: letters, arrows and clocks do not."""
        return self.group != "symbols" and "clock" not in self.names["en"]


class Stickers:
    """The data set, read once (about 430 MB)."""

    def __init__(self, folder: Path) -> None:
        """`folder` has stickers-64.npz and stickers-64.json. Raises OSError and KeyError for another folder."""
        found = json.loads((folder / "stickers-64.json").read_text(encoding="utf-8"))
        self._meta = found["meta"]
        self.pixels: Pixels = np.load(folder / "stickers-64.npz")["images"]
        """uint8 [pictures, 64, 64, 4], straight alpha."""
        self.items = tuple(self._sticker(row, item, found["concepts"][item["c"]]) for row, item in enumerate(found["items"]))
        shared = {style for style, about in self._meta["styles"].items() if about["share_alike"]}
        usable = [item for item in self.items if item.style not in shared and item.group != "flags"]
        self.styles: tuple[str, ...] = tuple(sorted({item.style for item in usable}))
        """Names of the styles that may be trained on."""
        known = [item for item in usable if item.split == "train"]
        kept_back = _combinations(known)
        self.train = tuple(item for item in known if (item.concept, item.style) not in kept_back)
        self.combinations = tuple(item for item in known if (item.concept, item.style) in kept_back)
        """Known concepts in a style in which they were never trained."""
        self.unseen = tuple(item for item in usable if item.split != "train")
        """Concepts that were never trained, in any style."""

    def style_words(self, style: str, language: str) -> str:
        """What people call the style."""
        return str(self._meta["styles"][style][language])

    def colour_word(self, colour: str, language: str) -> str:
        """The colour in that language."""
        return colour if language == "en" else str(self._meta["colors_zh"][colour])

    def characters(self) -> str:
        """Every Chinese character of the names and keywords, once."""
        texts = (text for item in self.items for text in (item.names.get("zh", ""), *item.keywords["zh"]))
        words = (*self._meta["colors_zh"].values(), *self._meta["tones_zh"], *(a["zh"] for a in self._meta["styles"].values()))
        return "".join(sorted({*"".join((*texts, *words, "，、的一个只张风格贴纸表情图标"))} - {" "}))

    def _sticker(self, row: int, item: Mapping[str, Any], concept: Mapping[str, Any]) -> Sticker:
        tone = int(item.get("tone", 0))
        return Sticker(
            row=row,
            concept=item["c"],
            style=item["style"],
            group=concept["group"],
            names={language: concept[language] for language in ("en", "zh") if concept[language]},
            keywords={language: tuple(concept[f"{language}_kw"]) for language in ("en", "zh")},
            tone={"en": self._meta["tones"][tone], "zh": self._meta["tones_zh"][tone]},
            colours=tuple(item["colors"]),
            split=concept["split"],
        )


def captions(data: Stickers, item: Sticker, language: str, colour: str | None = None) -> tuple[str, ...]:
    """Ways to ask for this picture, none twice. With `colour` each says that colour: the picture was turned to it."""
    if language not in item.names:
        return ()
    comma, of = (", ", " ") if language == "en" else ("，", "的")
    name = comma.join(part for part in (item.names[language], item.tone[language]) if part)
    style = data.style_words(item.style, language) + (" style" if language == "en" else "风格")
    colours = [colour] if colour else [one for one in item.colours if one not in ("white", "black")][:1] or item.colours[:1]
    coloured = [data.colour_word(one, language) + of + name for one in colours]
    if colour:
        return (coloured[0], coloured[0] + comma + style)
    words = [word for word in item.keywords[language] if word.lower() not in item.names[language].lower()]
    found = [name, name + comma + style, *coloured, *(one + comma + style for one in coloured)]
    found += [f"a {name}", f"{name} sticker", f"{name} icon"] if language == "en" else [f"一个{name}", f"{name}贴纸"]
    if words:
        found += [name + comma + comma.join(words[:2]), comma.join(words[:3]), words[0]]
    return tuple(dict.fromkeys(found))


def turned(pixels: Pixels, degrees: float) -> Pixels:
    """The picture [64, 64, 4] with all hues turned by so much; what has no colour stays as it is."""
    unit = pixels[..., :3].astype(np.float32) / 255
    value = unit.max(-1)
    chroma = value - unit.min(-1)
    red, green, blue = (unit[..., channel] for channel in range(3))
    divisor = np.where(chroma == 0, 1, chroma)
    sector = np.where(
        value == red,
        (green - blue) / divisor % 6,
        np.where(value == green, (blue - red) / divisor + 2, (red - green) / divisor + 4),
    )
    sector = sector + degrees / 60
    k = (sector[..., None] + np.array([5, 3, 1])) % 6
    rgb = value[..., None] - chroma[..., None] * np.clip(np.minimum(k, 4 - k), 0, 1)
    made = pixels.copy()
    made[..., :3] = np.where(chroma[..., None] > 0.08, (rgb * 255).round().clip(0, 255).astype(np.uint8), pixels[..., :3])
    return made


def main_colours(pixels: Pixels) -> tuple[str, ...]:
    """Up to three colour words of [h, w, 4], the largest area first; each covers at least 18 % of what is not clear."""
    visible = pixels[pixels[..., 3] > 127][:, :3]
    if not len(visible):
        return ()
    nearest = ((_lab(visible)[:, None] - _lab(np.array(list(COLOURS.values())))) ** 2).sum(-1).argmin(1)
    share = np.bincount(nearest, minlength=len(COLOURS)) / len(visible)
    return tuple(list(COLOURS)[place] for place in share.argsort()[::-1][:3] if share[place] >= 0.18)


def _lab(rgb: Pixels | NDArray[np.int64]) -> NDArray[np.float64]:
    """CIE L*a*b* (D65) of sRGB 0 … 255, [n, 3] → [n, 3]."""
    unit = rgb.astype(np.float64) / 255
    linear = np.where(unit > 0.04045, ((unit + 0.055) / 1.055) ** 2.4, unit / 12.92)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = linear @ to_xyz.T / [0.9505, 1.0, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], -1)


def _combinations(items: Sequence[Sticker]) -> set[tuple[str, str]]:
    """One style of each concept that exists in enough of them, drawn by hash: the same every time."""
    styles: dict[str, set[str]] = defaultdict(set)
    for item in items:
        styles[item.concept].add(item.style)
    return {
        (concept, min(found, key=lambda style: hashlib.sha256(f"{concept} {style}".encode()).hexdigest()))
        for concept, found in styles.items()
        if len(found) >= COMBINATION_STYLES
    }
