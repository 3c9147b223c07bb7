"""Looks at the folder of an image model before anything is loaded from it: what it holds, and whether it is safe and whole.

Two forms: a diffusers pipeline (model_index.json and one folder for each part), and the studio's own sticker model. Reads JSON
and safetensors headers only; nothing is unpickled and no code of the folder is run. Knows no torch, no store and no catalogue.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from engine.errors import BadFileError
from engine.models.folder import count_parameters, read_json, refuse_code

INDEX: Final = "model_index.json"
STICKER_FAMILY: Final = "sticker"
STICKER_PARTS: Final = ("transformer", "vae", "chinese", "upscaler")
STICKER_FILES: Final = (
    *(f"{part}/{name}" for part in STICKER_PARTS for name in ("config.json", "diffusion_pytorch_model.safetensors")),
    "styles.json",
    "examples.safetensors",
)
"""What the starter image model consists of; with one of them missing it is not there."""
LIBRARIES: Final = frozenset({"diffusers", "transformers", "stable_diffusion"})
"""Where the classes of a pipeline's parts may come from; the last is diffusers' own module of that name."""
WEIGHTS: Final = re.compile(r"(?:diffusion_pytorch_model|model)(\.fp16)?(?:-\d{5}-of-\d{5})?\.safetensors")
"""Weights of a part; the group is there for those in half precision beside the full ones."""


@dataclass(frozen=True, slots=True)
class PipelineFacts:
    """A folder that passed the checks."""

    folder: Path
    kind: str
    """Class of the pipeline, as diffusers calls it; "" for the sticker model."""
    parts: Mapping[str, int]
    """Parameters of each part that has weights."""
    variant: str | None
    """Which of the weights to read where there are two kinds."""
    absent: tuple[str, ...] = ()
    """Parts that the folder says it has not: a third text encoder, a checker of pictures."""

    @property
    def parameters(self) -> int:
        """Of all parts."""
        return sum(self.parts.values())


def inspect_pipeline(folder: Path) -> PipelineFacts:
    """Check a diffusers pipeline's folder. Raises BadFileError in one sentence for what is missing, damaged, or wants code."""
    if not folder.is_dir():
        raise BadFileError(f"{folder} is no folder on this machine.", key="error.folder_missing", name=str(folder))
    index = read_json(folder / INDEX) if (folder / INDEX).is_file() else {}
    refuse_code(index, INDEX)
    if any(folder.rglob("*.py")):
        raise _wants_code(folder, "*.py")
    parts: dict[str, int] = {}
    is_half = False
    for name, classes in parts_of(index).items():
        if classes[0] not in LIBRARIES:
            raise _wants_code(folder, name)
        files = _checked_weights(folder, name)
        if files:
            parts[name] = sum(count_parameters(path) for path in files)
            is_half = is_half or any(".fp16" in path.name for path in files)
    if not parts:
        text = f"{folder.name} holds no image model: {INDEX} and safetensors are needed."
        raise BadFileError(text, key="error.pipeline_empty", name=folder.name)
    absent = tuple(name for name, value in index.items() if not name.startswith("_") and value == [None, None])
    return PipelineFacts(folder, str(index.get("_class_name", "")), parts, "fp16" if is_half else None, absent)


def inspect_sticker(folder: Path) -> PipelineFacts:
    """The same for the studio's own model. Raises BadFileError when a file is missing or damaged."""
    missing = next((name for name in STICKER_FILES if not (folder / name).is_file()), None)
    if missing is not None:
        raise BadFileError(f"{folder.name} has no {missing}.", key="error.folder_lacks", name=folder.name, file=missing)
    parts = {name: count_parameters(folder / name / "diffusion_pytorch_model.safetensors") for name in STICKER_PARTS}
    return PipelineFacts(folder, "", parts, None)


@dataclass(frozen=True, slots=True)
class Habits:
    """How a pipeline draws by itself, as its folder says."""

    scheduler: str
    """Class of its scheduler."""
    prediction_type: str | None
    side: int
    """Pixels of the pictures it was made for; 0 = not said."""


def habits_of(folder: Path) -> Habits:
    """Read a checked pipeline's configs. Raises BadFileError when one is missing or damaged."""
    scheduler = read_json(folder / "scheduler" / "scheduler_config.json")
    side = 0
    for part in ("unet", "transformer"):
        if (folder / part / "config.json").is_file():
            size = read_json(folder / part / "config.json").get("sample_size")
            blocks = read_json(folder / "vae" / "config.json").get("block_out_channels") if size else None
            side = size * 2 ** (len(blocks) - 1) if isinstance(size, int) and isinstance(blocks, list) else 0
    said = scheduler.get("prediction_type")
    return Habits(str(scheduler.get("_class_name", "")), said if isinstance(said, str) else None, side)


def is_whole(folder: Path, family: str) -> bool:
    """Whether the files are there that make a folder an image model; their contents are looked at when it is loaded."""
    if family == STICKER_FAMILY:
        return all((folder / name).is_file() for name in STICKER_FILES)
    return (folder / INDEX).is_file()


def parts_of(index: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """(library, class) of each part that a model_index.json names; those that are null are left out."""
    found = {}
    for name, value in index.items():
        if not name.startswith("_") and isinstance(value, list) and len(value) == 2 and all(isinstance(v, str) for v in value):
            found[name] = (value[0], value[1])
    return found


def weight_files(names: list[str]) -> list[str]:
    """Of the files of one part those to read: in half precision when there are such, never both kinds."""
    matches = [(name, match) for name in sorted(names) if (match := WEIGHTS.fullmatch(name)) is not None]
    half = [name for name, match in matches if match[1]]
    return half or [name for name, _ in matches]


def _checked_weights(folder: Path, part: str) -> list[Path]:
    """The weights of one part, () for one that has none; its configs ask for no code. Raises BadFileError."""
    for config in sorted((folder / part).glob("*.json")):
        if config.name not in ("vocab.json", "tokenizer.json") and _is_object(config):
            refuse_code(read_json(config), f"{part}/{config.name}")
    files = weight_files([path.name for path in (folder / part).glob("*.safetensors")])
    if not files and any((folder / part).glob("*.bin")):
        text = f"{folder.name} holds only pickled weights, which can run code when opened; use the model's safetensors form."
        raise BadFileError(text, key="error.folder_pickle", name=folder.name)
    return [folder / part / name for name in files]


def _is_object(path: Path) -> bool:
    """Schedulers' and models' configs are objects; some tokenizers keep lists in JSON files."""
    with path.open("rb") as file:
        return file.read(64).lstrip().startswith(b"{")


def _wants_code(folder: Path, what: str) -> BadFileError:
    return BadFileError(
        f'{folder.name} asks to run code that comes with the model ("{what}"), which the studio never does. Use another model.',
        key="error.model_code",
        name=folder.name,
        field=what,
    )
