"""The last stage: everything that drawing needs in one folder, in half precision, as engine/image/sticker.py reads it."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch

from engine.image.sticker import STYLES
from engine.training.recipes.stickers.work import Work

NAME: Final = "model"


def publish(parts: dict[str, Any], styles: Sequence[str], work: Work) -> Path:
    """Write `parts` (folder name → diffusers model) and the names of the styles to WORK/model; an earlier one is replaced."""

    def write(folder: Path) -> None:
        for name, part in parts.items():
            copy.deepcopy(part).to("cpu", torch.float16).save_pretrained(folder / name)
        (folder / STYLES).write_text(json.dumps(list(styles), indent=1) + "\n", encoding="utf-8")

    return work.whole(NAME, write)
