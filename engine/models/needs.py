"""What a model will take of memory, before it is loaded: from the headers of its weights and its config.

Weights of 16 bit become float32 on a CPU, twice their size on the disk. Knows folders and bytes; loads nothing.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from engine.device import Device
from engine.image.placement import Placement, place
from engine.models.catalog import ModelSpec
from engine.models.folder import context_length, read_json, read_weights
from engine.models.ledger import Place
from engine.models.pipeline_folder import STICKER_FAMILY, PipelineFacts, inspect_pipeline, inspect_sticker
from engine.text.footprint import CONVERSATION_TOKENS, Footprint, footprint
from engine.text.llama.prepared import packed_bytes

FLOAT32_BYTES: Final = 4
LAYER_BYTES: Final = {8: 1.01, 4: 0.5625}
"""Bytes of a weight with so many bits, its share of the scales included: one for a row, or for 64 weights."""
CACHE_LIMIT_BYTES: Final[Mapping[str, int]] = {"cpu": 192 * 2**20, "cuda": 4 * 2**30, "mps": 2**30}
"""Most memory for caches of finished rows, so that a next turn starts at once. They may have less."""
TOKENIZER_BYTES: Final = 25
"""For each byte of tokenizer.json: its tokens, pairs and tables."""
ENCODER_WORK_BYTES: Final = 60_000_000
"""Of the longest texts that an encoder takes."""
STICKER_WORK_BYTES: Final = 150_000_000
"""Of a picture of 512 pixels; larger ones are enlarged in tiles where memory is short."""
NATIVE_KEPT_BYTES: Final = 2
"""For each number that a form in C keeps of a conversation."""


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes that a model takes."""

    held_bytes: int
    """Weights, in every form in which they are held."""
    work_bytes: int = 0
    """The least that it must have beside them to do its work."""
    cache_bytes: int = 0
    """For what it may keep to be faster the next time: the one part that can be less."""
    place: Place = "device"
    placement: Placement | None = None
    """Of an image pipeline: where its parts go."""
    weight_bits: int | None = None
    """Of a language model's linear layers, where memory is too short for the device's own numbers; None = those."""

    @property
    def least_bytes(self) -> int:
        """Without which it is not loaded."""
        return self.held_bytes + self.work_bytes

    @property
    def most_bytes(self) -> int:
        """What it takes at its most, while nobody asks for a longer conversation or a larger picture."""
        return self.least_bytes + self.cache_bytes

    def within(self, have_bytes: int) -> Need:
        """The same with caches that fit into `have_bytes`."""
        return replace(self, cache_bytes=max(0, min(self.cache_bytes, have_bytes - self.least_bytes)))


def need_of(spec: ModelSpec, folder: Path, device: Device, prepared: Path, have_bytes: int) -> Need:
    """What the model in `folder` takes on the device; how an image pipeline is placed follows from `have_bytes`.

    Raises BadFileError for a damaged folder.
    """
    width = FLOAT32_BYTES if device.dtype == "float32" else 2
    if spec.task == "embedding":
        # It computes on the CPU whatever the device is.
        weights = read_weights(folder).parameters * FLOAT32_BYTES
        return Need(weights, ENCODER_WORK_BYTES + _tokenizer_bytes(folder), place="main")
    if spec.task == "text":
        return text_need(folder, device, prepared, spec.context_length, have_bytes)
    if spec.family == STICKER_FAMILY:
        facts = inspect_sticker(folder)
        examples = (folder / "examples.safetensors").stat().st_size
        return Need(facts.parameters * FLOAT32_BYTES + examples, STICKER_WORK_BYTES)
    return pipeline_need(inspect_pipeline(folder), width, device, have_bytes)


def text_need(folder: Path, device: Device, prepared: Path, context: int = 0, have_bytes: int | None = None) -> Need:
    """Of a causal language model: weights, the packed ones beside them where there are, one conversation, and caches.

    On CUDA its linear layers have 8 or 4 bits where more do not fit into `have_bytes` and bitsandbytes is installed.
    """
    width = FLOAT32_BYTES if device.dtype == "float32" else 2
    config = read_json(folder / "config.json")
    facts = read_weights(folder)
    weights = facts.parameters * width
    packed, is_alone = _packed(folder, device, prepared)
    tokens = min(context or context_length(config) or CONVERSATION_TOKENS, CONVERSATION_TOKENS)
    work = _footprint(config, device, is_native=is_alone).work_bytes(tokens) + _tokenizer_bytes(folder)
    need = Need(packed if is_alone else weights + packed, work, CACHE_LIMIT_BYTES[device.kind])
    if have_bytes is None or not can_round(device.kind):
        return need
    for bits, layer_bytes in LAYER_BYTES.items():
        if need.least_bytes > have_bytes:
            held = (facts.parameters - facts.layer_parameters) * width + int(facts.layer_parameters * layer_bytes)
            need = replace(need, held_bytes=held, weight_bits=bits)
    return need


def can_round(device_kind: str) -> bool:
    """Whether language models can be loaded with fewer bits there.

    bitsandbytes is for NVIDIA GPUs and the user's choice: diffusers and PEFT import it wherever it is, which takes seconds.
    """
    return device_kind == "cuda" and importlib.util.find_spec("bitsandbytes") is not None


def text_footprint(folder: Path, config: Mapping[str, Any], device: Device, prepared: Path | None) -> Footprint:
    """Of a causal language model's conversations, in the form in which it will be loaded."""
    return _footprint(config, device, is_native=_packed(folder, device, prepared)[1])


def _footprint(config: Mapping[str, Any], device: Device, *, is_native: bool) -> Footprint:
    width = FLOAT32_BYTES if device.dtype == "float32" else 2
    return footprint(config, width, NATIVE_KEPT_BYTES if is_native else width)


def _packed(folder: Path, device: Device, prepared: Path | None) -> tuple[int, bool]:
    """As prepared.packed_bytes says, which knows models on the CPU only."""
    return packed_bytes(folder, prepared) if device.kind == "cpu" and prepared is not None else (0, False)


def pipeline_need(facts: PipelineFacts, width: int, device: Device, have_bytes: int) -> Need:
    """Of a diffusers pipeline in its fastest placement that fits."""
    placed = place({name: count * width for name, count in facts.parts.items()}, have_bytes, device.kind, width)
    return Need(placed.held_bytes, placed.need_bytes - placed.held_bytes, placement=placed)


def _tokenizer_bytes(folder: Path) -> int:
    path = folder / "tokenizer.json"
    return path.stat().st_size * TOKENIZER_BYTES if path.is_file() else 0
