"""The last stage: everything that drawing needs in one folder, in half precision, as engine/image/sticker.py reads it.

A later training can go on from such a folder: it says how many samples it has seen.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch

from engine.image import examples
from engine.image.examples import Examples
from engine.image.sticker import STYLES
from engine.training.recipes.stickers.work import Work

NAME: Final = "model"
TRAINED: Final = "training.json"


def publish(
    parts: Mapping[str, Any], shown: Examples, styles: Sequence[str], samples: int, work: Work, guided_samples: int = 0
) -> Path:
    """Write `parts` (folder name → diffusers model), the examples, the names of the styles and how many samples the denoiser has
    seen, and how many more while guidance was distilled, to WORK/model; an earlier one is replaced.
    """

    trained = {"samples": samples} | ({"guided_samples": guided_samples} if guided_samples else {})

    def write(folder: Path) -> None:
        for name, part in parts.items():
            copy.deepcopy(part).to("cpu", torch.float16).save_pretrained(folder / name)
            config = folder / name / "config.json"
            facts = json.loads(config.read_text(encoding="utf-8"))
            facts.pop("_name_or_path", None)  # a folder of the machine that trained it
            config.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        shown.save(folder / examples.FILE)
        (folder / STYLES).write_text(json.dumps(list(styles), indent=1) + "\n", encoding="utf-8")
        (folder / TRAINED).write_text(json.dumps(trained) + "\n", encoding="utf-8")

    return work.whole(NAME, write)


def _copy(source: Path, place: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, place)
    else:
        shutil.copyfile(source, place)


def take_up(folder: Path, work: Work) -> None:
    """Put the parts of a published model where a new training looks for finished stages; what is there already stays."""
    for path in folder.iterdir():
        if not work.path(path.name).exists():
            work.whole(path.name, partial(_copy, path))


def published_samples(folder: Path) -> int:
    """How many samples the denoiser of a published model has seen. Raises OSError, ValueError, KeyError for another folder."""
    return int(json.loads((folder / TRAINED).read_text(encoding="utf-8"))["samples"])
