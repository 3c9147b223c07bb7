"""The files of a model's faster form, in a folder beside the model.

    <prepared>/<key>/packed.safetensors   weights in 4 or 8 bits, in the order in which this form reads them
    <prepared>/<key>/step.so              the form in C, compiled for this CPU; without a compiler: torch's own 4-bit form
    <prepared>/<key>/facts.json           of which weights, how fast each form was; written last

Knows files; starts nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from safetensors import safe_open

from engine.device import cpu_features, cpu_name, torch_version
from engine.text.llama.config import LINEARS, LlamaConfig
from engine.text.llama.forms import FLOAT32, PACKED, VERSION, Form
from engine.text.llama.native import weights as native_weights
from engine.text.llama.native.form import NativeForm
from engine.text.llama.native.library import SOURCE, Library

if TYPE_CHECKING:
    import torch

    from engine.text.llama.blocks import Layer
    from engine.text.llama.packed import Packed8
    from engine.text.llama.torch_form import TorchForm
    from engine.text.llama.weights import LlamaWeights

FACTS: Final = "facts.json"
WEIGHTS: Final = "packed.safetensors"
LIBRARY: Final = "step.so"
CLEARLY: Final = 0.7
"""A form that was measured slower than this share of float32 is left out: kernels that a CPU lacks are ten times slower, while a
busy machine makes smaller differences uncertain.
"""


@cache
def key_of_machine() -> str:
    """What packed and compiled files depend on beside the weights: the code, and all that this very CPU can do."""
    code = hashlib.sha256(cpu_features().encode() + SOURCE.read_bytes()).hexdigest()[:8]
    parts = (VERSION, "torch", torch_version(), cpu_name(), code)
    return re.sub(r"[^\w.+]+", "-", "-".join(parts))


def fingerprint(folder: Path) -> list[list[Any]]:
    """Names, sizes and times of the weights' files."""
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in sorted(folder.glob("*.safetensors"))]


def read_facts(folder: Path, prepared: Path) -> dict[str, Any] | None:
    """facts.json of this machine's prepared folder, or None when there is none for these weights."""
    try:
        facts = json.loads((prepared / key_of_machine() / FACTS).read_text(encoding="utf-8"))
        return facts if isinstance(facts, dict) and facts.get("weights") == fingerprint(folder) else None
    except (OSError, ValueError):
        return None


def sha256_of_library(place: Path) -> str | None:
    """Of the library in a prepared folder; None where there is none."""
    path = place / LIBRARY
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def form_in(facts: dict[str, Any] | None) -> str | None:
    """The form that was prepared and will be used; None: float32, because nothing is there or it is faster here."""
    if facts is None:
        return None
    speeds = facts["tokens_per_s"]
    return next((name for name in speeds if name != FLOAT32 and speeds[name] > CLEARLY * speeds[FLOAT32]), None)


def packed_bytes(folder: Path, prepared: Path) -> tuple[int, bool]:
    """Memory of the prepared form's weights, and whether it does without the float32 ones; (0, False) where it is not used."""
    name = form_in(read_facts(folder, prepared))
    if name is None:
        return 0, False
    return (prepared / key_of_machine() / WEIGHTS).stat().st_size, name != PACKED


def read_form(facts: dict[str, Any], prepared: Path, config: LlamaConfig, plain: Callable[[], TorchForm]) -> Form | None:
    """The form that was prepared for this machine; None when it is slower than float32. `plain` is that.

    Raises SafetensorError, OSError, KeyError, ValueError or RuntimeError for damaged files.
    """
    name = form_in(facts)
    if name is None:
        return None
    place = prepared / key_of_machine()
    if name == PACKED:
        from engine.text.llama.torch_form import TorchForm

        weights = plain().weights
        return TorchForm(weights, config, PACKED, read_packed(place / WEIGHTS, weights), is_row_by_row=facts["is_row_by_row"])
    if sha256_of_library(place) != facts["library"]:
        raise ValueError(f"{LIBRARY} is damaged")  # the system's loader would not notice
    return NativeForm(Library(place / LIBRARY), native_weights.load(place / WEIGHTS, config), config)


def read_packed(path: Path, weights: LlamaWeights) -> tuple[tuple[Layer, ...], Packed8]:
    """Layers and head for torch's kernels; norms are those of `weights`."""
    from engine.text.llama.packed import Packed4, Packed8

    file: Any = safe_open(path, framework="pt")

    def read(name: str) -> tuple[torch.Tensor, torch.Tensor]:
        # Copied: the kernels read whole vectors and crash where a tensor begins in the middle of one, as it may in a mapped file.
        return file.get_tensor(f"{name}.weight").clone(), file.get_tensor(f"{name}.scales").clone()

    layers: list[Layer] = []
    for number, layer in enumerate(weights.layers):
        packed: dict[str, Any] = {name: Packed4(*read(f"{number}.{name}")) for name in LINEARS}
        layers.append(replace(layer, **packed))
    return tuple(layers), Packed8(*read("head"))
