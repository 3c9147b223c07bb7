"""What each image model can do, and every setting of a request resolved against that before anything is written.

Knows catalogue rows, folders' names of styles and what was asked for; loads no model and knows no database and no page.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from engine.errors import BadOptionError
from engine.image.drawing import PRESETS, Drawing, drawing_of
from engine.image.thumbnails import thumbnails
from engine.image.word_styles import WordStyle
from engine.models.catalog import ModelSpec
from engine.models.pipeline_folder import STICKER_FAMILY
from engine.models.store import State
from engine.services.image_records import ImageModelChoice, PresetChoice
from engine.types import MIN_SIDE, ImagineOptions

MAX_FINAL_SIDE: Final = 4096
"""Pixels of a finished picture's longer side, enlarged or not."""


def choice_of(spec: ModelSpec, folder: Path, state: State, fits: bool, words: Mapping[str, WordStyle]) -> ImageModelChoice:
    """What the form can offer for this model."""
    drawing = drawing_of(spec.drawing)
    return ImageModelChoice(
        id=spec.id,
        name=spec.name,
        state=state,
        fits=fits,
        languages=spec.languages,
        styles=own_styles(folder) if spec.family == STICKER_FAMILY else tuple(words),
        pictured_styles=tuple(thumbnails(folder)) if spec.family == STICKER_FAMILY else (),
        schedulers=drawing.schedulers,
        presets=tuple(PresetChoice(name, drawing.steps[name]) for name in PRESETS),
        guidance=drawing.guidance,
        width=drawing.width,
        height=drawing.height,
        sizes=drawing.sizes,
        max_side=drawing.max_side,
        is_square=drawing.is_square,
        can_clear=drawing.can_clear,
        can_start=drawing.can_start,
        can_mask=drawing.can_mask,
        has_negative=drawing.has_negative,
    )


def own_styles(folder: Path) -> tuple[str, ...]:
    """Names of the styles that the starter model was taught; () while it is not there."""
    try:
        return tuple(str(name) for name in json.loads((folder / "styles.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return ()


def resolved(
    options: ImagineOptions, choice: ImageModelChoice, drawing: Drawing, *, starts: bool, masked: bool
) -> dict[str, Any]:
    """Every parameter as the row records it. Raises BadOptionError in one sentence for what this model cannot do."""
    _check(options, choice, starts=starts, masked=masked)
    width, height = drawing.fitted(options.width, options.height)
    steps = options.steps or drawing.steps[options.preset]
    if starts:  # of these only the part that `strength` says is drawn, and it must be one at least
        steps = max(steps, math.ceil(1 / options.strength))
    return {
        "style": options.style,
        "negative": options.negative,
        "width": width,
        "height": height,
        "preset": options.preset if options.steps is None else None,
        "steps": steps,
        "guidance": drawing.guidance if options.guidance is None else options.guidance,
        "scheduler": options.scheduler or choice.schedulers[0],
        "strength": options.strength if starts else None,
        "transparent": options.transparent,
        "upscale": options.upscale,
        "n": options.n,
    }


def _check(options: ImagineOptions, choice: ImageModelChoice, *, starts: bool, masked: bool) -> None:
    _known("style", options.style, choice.styles)
    _known("scheduler", options.scheduler, choice.schedulers)
    if options.rank_by is not None:
        raise BadOptionError('Pictures cannot be sorted by taste yet; leave "rank_by" out.', key="error.image_rank_by")
    if options.adapter not in ("promoted", "base"):
        raise BadOptionError('There are no adapters for pictures yet; leave "adapter" out.', key="error.image_adapter")
    if masked and not choice.can_mask:
        raise BadOptionError(f"{choice.name} cannot make part of a picture anew.", key="error.image_no_mask", name=choice.name)
    if starts and not choice.can_start:
        raise BadOptionError(f"{choice.name} cannot start from a picture.", key="error.image_no_start", name=choice.name)
    if options.transparent and not choice.can_clear:
        raise BadOptionError(f"{choice.name} cannot leave the background clear.", key="error.image_no_clear", name=choice.name)
    width, height = options.width or options.height or choice.width, options.height or options.width or choice.height
    if choice.is_square and width != height:
        text = f"{choice.name} draws square pictures; give width and height the same value."
        raise BadOptionError(text, key="error.image_square", name=choice.name)
    if max(width, height) > choice.max_side:
        text = f"{choice.name} draws {MIN_SIDE} to {choice.max_side} pixels a side; choose a smaller size and enlarge it."
        raise BadOptionError(text, key="error.image_size", name=choice.name, low=MIN_SIDE, high=choice.max_side)
    check_final_side(max(width, height) * options.upscale)


def check_final_side(side: int) -> None:
    """Raises BadOptionError for a finished picture larger than MAX_FINAL_SIDE."""
    if side > MAX_FINAL_SIDE:
        text = f"The picture would have {side:,} pixels a side; the limit is {MAX_FINAL_SIDE:,}. Enlarge it less."
        raise BadOptionError(text, key="error.image_final_side", side=side, limit=MAX_FINAL_SIDE)


def _known(name: str, value: str | None, known: tuple[str, ...]) -> None:
    if value is not None and value not in known:
        listed = ", ".join(known) or "none"
        text = f'There is no {name} "{value[:60]}" for this model; use one of {listed}.'
        raise BadOptionError(text, key=f"error.{name}_unknown", name=value[:60], names=listed)
