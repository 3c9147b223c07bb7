"""Which image models there are and what they can do, for the image service and its form.

Knows the model service, the store and the styles in words; loads no model and knows no job and no page.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

from engine.errors import BadOptionError, NoModelError, NotFoundError, StudioError
from engine.image.thumbnails import thumbnails
from engine.image.word_styles import WordStyle
from engine.models.catalog import ModelSpec
from engine.models.pipeline_folder import STICKER_FAMILY
from engine.models.store import ModelStore
from engine.safety.limits import IMAGE_PROMPT_MAX_CHARS
from engine.services.edge import NOTHING_HERE
from engine.services.image_choices import MAX_FINAL_SIDE, choice_of
from engine.services.image_records import ImageChoices, ImageModelChoice
from engine.services.model_card import ModelCard
from engine.types import MAX_GUIDANCE, MAX_PICTURES, MAX_SIDE, MAX_STEPS, MIN_SIDE, UPSCALE_FACTORS


class ImageModels(Protocol):
    """What is asked of the model service."""

    def default(self, task: str, owner_id: str) -> str:
        """Id of the default model for a task."""

    def require(self, model_id: str, owner_id: str) -> ModelSpec:
        """The spec of one that can be used now. Raises NotFoundError, NoModelError."""

    def specs(self, owner_id: str) -> tuple[ModelSpec, ...]:
        """Every model."""

    def cards(self, owner_id: str) -> tuple[ModelCard, ...]:
        """Every model with its state on this machine."""


class ImageCatalog:
    """See the module's docstring."""

    def __init__(self, models: ImageModels, store: ModelStore, styles: Mapping[str, WordStyle]) -> None:
        self._models = models
        self._store = store
        self.styles = styles

    def require(self, owner_id: str, model_id: str | None) -> tuple[ModelSpec, ImageModelChoice]:
        """The model, or the default one. Raises NotFoundError, NoModelError, and BadOptionError for one that does not draw."""
        spec = self._models.require(model_id or self._models.default("image", owner_id), owner_id)
        if spec.task != "image":
            raise BadOptionError(f"{spec.name} does not draw pictures.", key="error.model_not_image", name=spec.name)
        return spec, choice_of(spec, self._store.path(spec), "installed", True, self.styles)

    def upscaler(self, owner_id: str, model_id: str) -> ModelSpec | None:
        """The model when it was taught to enlarge pictures and is here, else None."""
        spec = next((one for one in self.specs(owner_id) if one.id == model_id), None)
        if spec is None or spec.family != STICKER_FAMILY:
            return None
        try:
            return self._models.require(model_id, owner_id)
        except StudioError:
            return None

    def specs(self, owner_id: str) -> tuple[ModelSpec, ...]:
        """Every model that draws."""
        return tuple(spec for spec in self._models.specs(owner_id) if spec.task == "image")

    def text_model(self, owner_id: str) -> tuple[str, Iterable[ModelSpec]]:
        """The model that writes, and those it could be. Raises NoModelError when it is not here."""
        model_id = self._models.default("text", owner_id)
        self._models.require(model_id, owner_id)
        return model_id, [spec for spec in self._models.specs(owner_id) if spec.task == "text"]

    def choices(self, owner_id: str) -> ImageChoices:
        """See ImageService.choices."""
        specs = {spec.id: spec for spec in self.specs(owner_id)}
        cards = [card for card in self._models.cards(owner_id) if card.id in specs]
        if not cards:
            raise NoModelError("No model that draws is known here.", key="error.no_image_model")
        return ImageChoices(
            models=tuple(self._choice(specs[card.id], card) for card in cards),
            default_model_id=self._models.default("image", owner_id),
            max_pictures=MAX_PICTURES,
            min_side=MIN_SIDE,
            max_side=MAX_SIDE,
            max_final_side=MAX_FINAL_SIDE,
            max_steps=MAX_STEPS,
            max_guidance=MAX_GUIDANCE,
            upscale_factors=UPSCALE_FACTORS,
            prompt_max_chars=IMAGE_PROMPT_MAX_CHARS,
        )

    def style_picture(self, owner_id: str, model_id: str, style: str) -> Path:
        """Where the picture of a style is that a model here was taught. Raises NotFoundError."""
        spec = next((one for one in self.specs(owner_id) if one.id == model_id and one.family == STICKER_FAMILY), None)
        found = thumbnails(self._store.path(spec)).get(style) if spec else None
        if found is None:
            raise NotFoundError(NOTHING_HERE, key="error.not_found")
        return found

    def _choice(self, spec: ModelSpec, card: ModelCard) -> ImageModelChoice:
        return choice_of(spec, self._store.path(spec), card.state, card.fits, self.styles)
