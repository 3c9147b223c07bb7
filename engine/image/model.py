"""What an image model is to the rest of the studio: a request down, steps and a picture up.

Knows no torch, no diffusers and no database. Implementations: engine/image/sticker.py (the studio's own starter model) and
engine/image/pipelines.py (any diffusers pipeline).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from engine.jobs.job import CancelToken

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """One picture. The same request, weights and device give identical pixels: noise is drawn on the CPU from `seed`."""

    prompt: str
    negative: str = ""
    """What should not be in it."""
    style: str | None = None
    """One of the model's styles; None = whatever the prompt says."""
    width: int = 512
    height: int = 512
    steps: int = 20
    guidance: float = 4.0
    """Classifier-free guidance scale; 1 = none."""
    scheduler: str = "euler"
    seed: int = 0
    image: Image | None = None
    """Picture to start from."""
    mask: Image | None = None
    """White where `image` is to be made anew, black where it stays."""
    strength: float = 0.6
    """How far to leave `image`, 0 … 1; without a picture it means nothing."""
    transparent: bool = False
    """A clear background, from models that can."""


@dataclass(frozen=True, slots=True)
class ImageStep:
    """One step of the denoising is done."""

    step: int
    total: int
    preview: Image | None
    """The picture so far, small; not at every step."""


class ImageModel(Protocol):
    """A loaded model that draws."""

    @property
    def id(self) -> str: ...

    @property
    def size_bytes(self) -> int:
        """Memory that it occupies."""

    @property
    def styles(self) -> tuple[str, ...]:
        """Names of the styles it was taught; () for a model that takes them as words."""

    @property
    def schedulers(self) -> tuple[str, ...]:
        """Names of the samplers it can use, its default first."""

    @property
    def native_size(self) -> tuple[int, int]:
        """Width and height in pixels that it draws itself; what is larger is enlarged afterwards."""

    def draw(self, request: ImageRequest, cancel: CancelToken, watch: Callable[[ImageStep], None]) -> Image:
        """Draw one picture: RGBA when transparent, else RGB. Blocks; `watch` is called after each step, in this thread.

        Raises CancelledError within a step of a cancel, BadOptionError for a style or scheduler it does not know, and
        NoModelError when memory does not suffice.
        """

    def enlarge(self, picture: Image, width: int, height: int) -> Image:
        """The same picture with more pixels, RGBA or RGB as it came. Blocks, for a second or so."""

    def close(self) -> None:
        """Free its memory."""
