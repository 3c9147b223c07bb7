"""How a dropped picture was made, as settings that can be used here: ours, or another tool's `parameters` text.

Knows labels, catalogue choices and names that other tools use; knows no file, no database and no page.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from engine.image.drawing import MULTIPLE
from engine.safety.limits import IMAGE_PROMPT_MAX_CHARS
from engine.safety.parameters import Labels
from engine.services.image_records import FoundSettings, ImageModelChoice
from engine.services.notices import Notice
from engine.types import MAX_GUIDANCE, MAX_STEPS, MIN_SIDE

_SCHEDULERS: Final[Sequence[tuple[str, str]]] = (
    (r"euler a(ncestral)?", "euler a"),
    (r"euler|flow ?match ?euler.*", "euler"),
    (r"heun.*", "heun"),
    (r"dpm\+\+.*karras.*", "dpm++ karras"),
    (r"dpm\+\+.*|dpm.*solver.*", "dpm++"),
    (r"uni ?pc.*", "unipc"),
    (r"ddim.*", "ddim"),
    (r"lcm.*", "lcm"),
)
"""What samplers are called elsewhere; the first that fits the whole name counts."""


def settings_from(labels: Labels, choices: Sequence[ImageModelChoice], default_id: str, creation_id: str | None) -> FoundSettings:
    """The settings, for the model that the file names when it is here, else for the default one; notices say what is missing."""
    by_id = {choice.id: choice for choice in choices}
    choice = by_id.get(labels.model or "") or by_id.get(default_id)
    options: dict[str, Any] = {}
    notices: list[Notice] = []

    def take(name: str, value: Any, fits: bool) -> None:
        if value is None:
            return
        if fits:
            options[name] = value
        else:
            shown = str(value)[:60]
            notices.append(Notice("notice.image_setting", {"name": name, "value": shown}, f"{name} {shown} cannot be used here."))

    if labels.model is not None:
        take("model", labels.model, labels.model in by_id)
    if choice is not None:
        take("style", labels.style, labels.style in choice.styles)
        take("scheduler", _scheduler(labels.scheduler, choice), _scheduler(labels.scheduler, choice) in choice.schedulers)
        _take_size(labels, choice, take)
    take("steps", labels.steps, 1 <= (labels.steps or 0) <= MAX_STEPS)
    take("guidance", labels.guidance, 0 <= (labels.guidance or 0) <= MAX_GUIDANCE)
    take("seed", labels.seed, (labels.seed or 0) < 2**53)
    if labels.negative:
        options["negative"] = labels.negative[:IMAGE_PROMPT_MAX_CHARS]
    return FoundSettings(labels.prompt[:IMAGE_PROMPT_MAX_CHARS], options, labels.tool, creation_id, tuple(notices))


def _take_size(labels: Labels, choice: ImageModelChoice, take: Callable[[str, Any, bool], None]) -> None:
    width, height = labels.width, labels.height
    if width is None or height is None:
        return
    fits = MIN_SIDE <= min(width, height) and max(width, height) <= choice.max_side
    fits = fits and (width == height if choice.is_square else width % MULTIPLE == 0 and height % MULTIPLE == 0)
    if fits:
        take("width", width, True)
        take("height", height, True)
    else:
        take("size", f"{width} × {height}", False)


def _scheduler(name: str | None, choice: ImageModelChoice) -> str | None:
    """Our name for a sampler, if it has one; else the name as it came."""
    if name is None or name in choice.schedulers:
        return name
    lowered = re.sub(r"[\s_]+", " ", name.strip().lower())
    return next((ours for pattern, ours in _SCHEDULERS if re.fullmatch(pattern, lowered)), name)
