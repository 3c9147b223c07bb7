"""Where an image model's parts go: all of it onto the device, one part at a time, or one layer at a time.

Knows bytes; knows no torch, no diffusers and no model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Spread = Literal["whole", "parts", "layers"]

WORK_BYTES: Final = 2_600_000_000
"""Beside the weights, for one picture of 1024 × 1024 in 16 bit: activations, the decoder's above all."""
SLICED_WORK_BYTES: Final = 900_000_000
"""The same when the decoder works on tiles."""
LAYER_BYTES: Final = 600_000_000
"""The largest layer that is on the device at a time when one layer is."""


@dataclass(frozen=True, slots=True)
class Placement:
    """How a pipeline runs."""

    spread: Spread
    slices: bool
    """Whether the autoencoder works on one tile and one picture at a time: less memory, a little slower."""
    need_bytes: int
    """On the device, work included."""
    held_bytes: int
    """Of its memory that the weights keep while nothing is drawn."""


def place(part_bytes: Mapping[str, int], have_bytes: int, device_kind: str) -> Placement:
    """The fastest placement that fits into `have_bytes`; the smallest one there is when none does.

    Only a "cuda" device has a main memory beside its own to keep parts in.
    """
    whole, largest = sum(part_bytes.values()), max(part_bytes.values())
    roomy = Placement("whole", False, whole + WORK_BYTES, whole)
    tight = Placement("whole", True, whole + SLICED_WORK_BYTES, whole)
    choices = [roomy, tight]
    if device_kind == "cuda":
        choices.append(Placement("parts", True, largest + SLICED_WORK_BYTES, 0))
        choices.append(Placement("layers", True, LAYER_BYTES + SLICED_WORK_BYTES, 0))
    return next((choice for choice in choices if choice.need_bytes <= have_bytes), choices[-1])
