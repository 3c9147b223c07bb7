"""What the image service answers with, as frozen records. Knows names and numbers; knows no model, no database and no page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.models.store import State
from engine.services.click import Started
from engine.services.notices import Notice
from storage.records import CreationRecord, JobStatus, Json, RatingRecord

IMAGE_KINDS = ("imagine", "upscale")
"""Kinds of jobs that end in pictures."""


@dataclass(frozen=True, slots=True)
class ImagineStarted(Started):
    """What a click on Create began. The lists run parallel, one place for each picture."""

    creation_ids: tuple[str, ...]
    turn_id: str
    """What the pictures share with the Creation they are versions of, else the first picture's id."""
    seeds: tuple[int, ...]
    model_id: str
    adapter_id: str
    notices: tuple[Notice, ...] = ()


def image_data(started: ImagineStarted, prompt: str, style: str | None, creations: Sequence[Json]) -> dict[str, Any]:
    """The data of a drawing job, from drafts or from rows."""
    return {
        "turn_id": started.turn_id,
        "prompt": prompt,
        "model_id": started.model_id,
        "adapter_id": started.adapter_id,
        "style": style,
        "creations": list(creations),
        "notices": [notice.as_json() for notice in started.notices],
    }


@dataclass(frozen=True, slots=True)
class Batch:
    """The pictures of one click, for a page that opens: done, under way or cut off."""

    job_id: str
    status: JobStatus
    prompt: str
    creations: tuple[CreationRecord, ...]
    """In the order of their seeds; those in the trash are left out."""
    scores: Json = field(default_factory=dict)
    """The rater's current score by creation id; a picture without one is not in it."""
    ratings: Mapping[str, RatingRecord] = field(default_factory=dict)
    """The whole ratings behind the scores."""
    notices: tuple[Notice, ...] = ()
    """What was said when the click was taken: the prompt's language is none of the model's."""
    picked_id: str | None = None
    """The picture that the rater chose over others of the batch and none of them over it."""

    @property
    def can_resume(self) -> bool:
        """Whether pictures are missing that `ImageService.resume` would draw."""
        return self.status in ("interrupted", "cancelled", "failed")


@dataclass(frozen=True, slots=True)
class PresetChoice:
    """How many steps a preset means for one model."""

    name: str
    """"fast", "balanced" or "fine"."""
    steps: int


@dataclass(frozen=True, slots=True)
class ImageModelChoice:
    """What one image model can do, known without loading it."""

    id: str
    name: str
    state: State
    fits: bool
    """Whether this machine has the memory for it."""
    languages: tuple[str, ...]
    styles: tuple[str, ...]
    """Ids; their names are words of the page (images.style.ID)."""
    pictured_styles: tuple[str, ...]
    """Those of which the model has a picture (ImageService.style_picture)."""
    schedulers: tuple[str, ...]
    """The default first."""
    presets: tuple[PresetChoice, ...]
    guidance: float
    """The default."""
    width: int
    """The default."""
    height: int
    sizes: tuple[tuple[int, int], ...]
    """Widths and heights to offer."""
    max_side: int
    """Pixels, before enlarging."""
    is_square: bool
    """Whether it draws square pictures only."""
    can_clear: bool
    """Whether it can draw on a transparent background."""
    can_start: bool
    """Whether it can start from a picture."""
    can_mask: bool
    """Whether it can make part of a picture anew."""
    has_negative: bool
    """Whether a negative prompt changes anything (not for models distilled without guidance)."""


@dataclass(frozen=True, slots=True)
class ImageChoices:
    """Everything a form for pictures can offer."""

    models: tuple[ImageModelChoice, ...]
    default_model_id: str
    max_pictures: int
    min_side: int
    max_side: int
    max_final_side: int
    """After enlarging."""
    max_steps: int
    max_guidance: float
    upscale_factors: tuple[int, ...]
    prompt_max_chars: int


@dataclass(frozen=True, slots=True)
class FoundSettings:
    """What a dropped picture says about how it was made."""

    prompt: str
    options: Json
    """Keys of ImagineOptions, only those that the file says and that can be used here."""
    tool: str | None
    """The program that wrote it, as it calls itself."""
    creation_id: str | None
    """The Creation it is, when it is one of this owner's."""
    notices: tuple[Notice, ...]
    """What the file says and cannot be used here: another model, an unknown scheduler."""


@dataclass(frozen=True, slots=True)
class PictureFile:
    """A picture as a file to hand over."""

    name: str
    media_type: str
    data: bytes
