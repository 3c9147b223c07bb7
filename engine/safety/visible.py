"""The label that people see: "AI生成" in the lower right corner of a picture.

GB 45438-2025 asks for words that say "AI" and "generated", clear, at least 5 % of the shorter side high. Pillow's own font has
no Chinese, so the characters come from a font of the machine; where it has none, the label says "AI" alone.
Knows pictures and fonts; knows no settings, no database and no page.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Final

from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

LABEL: Final = "AI生成"
LABEL_WITHOUT_FONT: Final = "AI"
HEIGHT_SHARE: Final = 0.05
"""Of the shorter side, for the letters themselves without the plate under them."""
_HEIGHT_MIN_PX = 8

_CHINESE_FONTS: Final = (
    "NotoSansCJK-Regular.ttc",
    "NotoSansSC-Regular.otf",
    "SourceHanSansSC-Regular.otf",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "DroidSansFallbackFull.ttf",
    "DroidSansFallback.ttf",
    "msyh.ttc",
    "simhei.ttf",
    "PingFang.ttc",
    "Hiragino Sans GB.ttc",
    "STHeiti Light.ttc",
)
"""File names, looked for in the places where Linux, Windows and macOS keep fonts."""


def stamp(picture: Picture) -> Picture:
    """Return a copy of an RGB or RGBA picture with the label on it, opaque, in the same mode and size."""
    path = chinese_font()
    text = LABEL if path else LABEL_WITHOUT_FONT
    height = max(_HEIGHT_MIN_PX, math.ceil(min(picture.size) * HEIGHT_SHARE))
    font, box = _font_of_height(path, text, height)
    padding = max(2, height // 3)
    width, tall = math.ceil(box[2] - box[0]), math.ceil(box[3] - box[1])
    plate = Image.new("RGB", (width + 2 * padding, tall + 2 * padding), (24, 24, 24))
    ImageDraw.Draw(plate).text((padding - box[0], padding - box[1]), text, font=font, fill="white")
    stamped = picture.copy()
    # A picture narrower than its label loses the label's end, not its beginning.
    stamped.paste(plate, (max(0, picture.width - plate.width), max(0, picture.height - plate.height)))
    return stamped


@cache
def chinese_font() -> str | None:
    """Return the path of a font that has the label's characters; None when this machine has none of those known here."""
    for name in _CHINESE_FONTS:
        try:
            return str(ImageFont.truetype(name, 16).path)
        except OSError:
            continue
    return None


def _font_of_height(path: str | None, text: str, height: int) -> tuple[ImageFont.FreeTypeFont, tuple[float, float, float, float]]:
    """Return the smallest font in which `text` is at least `height` pixels high, and the text's box in it."""
    size = height
    while True:
        font = ImageFont.truetype(path, size) if path else ImageFont.load_default(size)
        if not isinstance(font, ImageFont.FreeTypeFont):
            raise TypeError("Pillow was built without FreeType")
        box = font.getbbox(text)
        if box[3] - box[1] >= height:
            return font, box
        size += max(1, size // 20)
