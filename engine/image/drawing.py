"""What an image model draws well, as its row in assets/models.yaml says (`drawing:`): sizes, steps, guidance, samplers.

    drawing:
      size: [512, 512]                       the default; a side of `max_side` at most
      sizes: [[512, 512], [768, 512]]        to choose from
      steps: {fast: 8, balanced: 20, fine: 40}
      guidance: 4.0                          1 or less: drawn without a second look, and the negative prompt means nothing
      schedulers: [euler, heun]              the default first
      square: true                           square pictures only
      clear: true                            can leave the background transparent
      starts: [picture, mask]                what it can start from

Knows numbers and names; knows no torch, no model and no request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

PRESETS: Final = ("fast", "balanced", "fine")
MULTIPLE: Final = 16
"""Sides of what a pipeline draws are multiples of it: of the autoencoder's eight pixels, two by two."""

_DEFAULTS: Final[Mapping[str, Any]] = {
    "size": (1024, 1024),
    "sizes": ((1024, 1024), (1216, 832), (832, 1216), (1344, 768), (768, 1344)),
    "max_side": 2048,
    "steps": {"fast": 12, "balanced": 25, "fine": 45},
    "guidance": 5.0,
    "schedulers": ("euler",),
    "square": False,
    "clear": False,
    "starts": ("picture", "mask"),
}
"""For a folder of the user's own, whose model nobody described."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """See the module's docstring."""

    width: int
    height: int
    sizes: tuple[tuple[int, int], ...]
    max_side: int
    steps: Mapping[str, int]
    guidance: float
    schedulers: tuple[str, ...]
    is_square: bool
    can_clear: bool
    can_start: bool
    can_mask: bool

    @property
    def has_negative(self) -> bool:
        """Whether what should not be in a picture can be said."""
        return self.guidance > 1

    def fitted(self, width: int | None, height: int | None) -> tuple[int, int]:
        """The size that is drawn for one that was asked for: the default where nothing was, rounded to what can be drawn."""
        if width is None and height is None:
            return self.width, self.height
        asked = (width or height or self.width, height or width or self.height)
        if self.is_square:
            return asked
        wide, high = (max(MULTIPLE, round(side / MULTIPLE) * MULTIPLE) for side in asked)
        return wide, high


def drawing_of(row: Mapping[str, Any]) -> Drawing:
    """The Drawing of a catalogue row's `drawing`. Raises ValueError for an unknown name."""
    unknown = sorted(set(row) - set(_DEFAULTS))
    if unknown:
        raise ValueError(f"unknown fields of a drawing: {unknown}")
    values = {**_DEFAULTS, **row}
    width, height = values["size"]
    return Drawing(
        width=int(width),
        height=int(height),
        sizes=tuple((int(wide), int(high)) for wide, high in values["sizes"]),
        max_side=int(values["max_side"]),
        steps={name: int(values["steps"][name]) for name in PRESETS},
        guidance=float(values["guidance"]),
        schedulers=tuple(values["schedulers"]),
        is_square=bool(values["square"]),
        can_clear=bool(values["clear"]),
        can_start="picture" in values["starts"],
        can_mask="mask" in values["starts"],
    )
