"""Where an image model's parts go: all of it onto the device, one part at a time, or one layer at a time.

Knows bytes; knows no torch, no diffusers and no model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from engine.errors import NoMemoryError
from engine.models.store import gigabytes

Spread = Literal["whole", "parts", "layers"]

WORK_BYTES: Final = 2_600_000_000
"""Beside the weights, for one picture of 1024 × 1024 in 16 bit: activations, the decoder's above all."""
SLICED_WORK_BYTES: Final = 900_000_000
"""The same when the decoder works on tiles."""
PIXELS: Final = 1024 * 1024
"""Of the picture that these figures are for."""
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


def work_bytes(width: int, pixels: int = PIXELS, *, slices: bool) -> int:
    """Memory beside the weights for a picture of so many pixels, in numbers of `width` bytes (float32: 4, 16 bit: 2)."""
    return (SLICED_WORK_BYTES if slices else WORK_BYTES) * width // 2 * pixels // PIXELS


def place(part_bytes: Mapping[str, int], have_bytes: int, device_kind: str, width: int = 2) -> Placement:
    """The fastest placement that fits into `have_bytes`; the smallest one there is when none does.

    Only a "cuda" device has a main memory beside its own to keep parts in. `width`: bytes of a number.
    """
    whole, largest = sum(part_bytes.values()), max(part_bytes.values())
    roomy = Placement("whole", False, whole + work_bytes(width, slices=False), whole)
    tight = Placement("whole", True, whole + work_bytes(width, slices=True), whole)
    choices = [roomy, tight]
    if device_kind == "cuda":
        choices.append(Placement("parts", True, largest + SLICED_WORK_BYTES, 0))
        choices.append(Placement("layers", True, LAYER_BYTES + SLICED_WORK_BYTES, 0))
    return next((choice for choice in choices if choice.need_bytes <= have_bytes), choices[-1])


def too_large(width: int, height: int, needs_bytes: int, have_bytes: int) -> NoMemoryError:
    """The error for a picture for which memory does not suffice, drawn in the way that takes least."""
    needs, have = gigabytes(needs_bytes), gigabytes(max(0, have_bytes))
    return NoMemoryError(
        f"There is not enough memory to draw {width} × {height} pixels with this model: it needs {needs} beside the weights, "
        f"have {have}. Choose a smaller size or another model, or close other programs.",
        key="error.picture_memory",
        needs_bytes=needs_bytes,
        have_bytes=have_bytes,
        width=width,
        height=height,
        needs=needs,
        have=have,
    )
