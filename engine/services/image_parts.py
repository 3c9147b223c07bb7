"""What the image studio's jobs work with, and what they share: the row's label, the weights' hash, small previews, exact pixels.

Knows records, files and pictures; knows no job, no click and no page.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from engine.device import Device
from engine.image.model import ImageModel
from engine.models.catalog import ModelSpec
from engine.models.store import KnownHashes, ModelStore
from engine.safety.labels import PictureRecord
from storage.database import Database
from storage.files import FileStore
from storage.records import CreationRecord, Json

if TYPE_CHECKING:
    from PIL.Image import Image

PREVIEW_SIDE: Final = 128
"""Pixels of a preview's longer side."""


class ImageHost(Protocol):
    """Where loaded image models come from."""

    def use_image(self, model_id: str) -> AbstractContextManager[ImageModel]:
        """Load it if need be and keep it for the `with` block. Raises NoModelError, BadFileError."""

    def warm(self, model_id: str) -> object:
        """Load in the background."""


@dataclass(frozen=True, slots=True)
class ImageParts:
    """See the module's docstring."""

    database: Database
    files: FileStore
    host: ImageHost
    store: ModelStore
    device: Device
    people_write: Callable[[], bool]
    """Whether somebody waits for a text just now: it goes first."""
    hashes: KnownHashes = field(default_factory=KnownHashes)

    def path_of(self, spec: ModelSpec) -> dict[str, Any]:
        """What decides about the pixels besides the parameters, as a Creation's row keeps it."""
        return {
            "engine": spec.family,
            "device": self.device.name,
            "dtype": self.device.dtype,
            "model_sha256": self.weights_sha256(spec),
        }

    def weights_sha256(self, spec: ModelSpec) -> str | None:
        """One hash over the weights of a model; None for a folder of the user's own, which may change at any time."""
        folder = self.store.path(spec)
        manifest = self.store.manifest(spec) if spec.is_stored else None
        if manifest is not None:
            listed = {name: str(row["sha256"]) for name, row in manifest["files"].items() if name.endswith(".safetensors")}
        elif spec.source.startswith("assets:"):
            paths = sorted(folder.rglob("*.safetensors"))
            listed = {path.relative_to(folder).as_posix(): self.hashes.sha256(path) for path in paths}
        else:
            return None
        return hashlib.sha256(json.dumps(listed, sort_keys=True).encode()).hexdigest() if listed else None


def label_of(creation: CreationRecord, path: Json) -> PictureRecord:
    """What a picture's file says of how it was made."""
    params = creation.params
    return PictureRecord(
        creation_id=creation.id,
        prompt=creation.prompt,
        negative=str(params.get("negative") or ""),
        seed=creation.seed or 0,
        steps=int(params.get("steps") or 0),
        guidance=float(params.get("guidance") or 0.0),
        scheduler=str(params.get("scheduler") or ""),
        width=int(params.get("width") or 0),
        height=int(params.get("height") or 0),
        style=params.get("style"),
        model_id=creation.model_id,
        model_sha256=path.get("model_sha256"),
        adapter_id=None if creation.adapter_id == "base" else creation.adapter_id,
        created_at=creation.created_at,
        from_picture=bool(params.get("from_picture")),
    )


def media_name_of(creation_id: str) -> str:
    """Where a Creation's picture is kept."""
    return f"images/{creation_id}.png"


def preview_url(picture: Image) -> str:
    """A small picture as a data address of a few KB."""
    small = picture.convert("RGB")
    small.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    packed = io.BytesIO()
    small.save(packed, "WEBP", quality=60, method=0)
    return "data:image/webp;base64," + base64.b64encode(packed.getvalue()).decode("ascii")


def kept_where_black(made: Image, start: Image, mask: Image) -> Image:
    """`made` where the mask is white, exactly `start` where it is black; both fitted to `made`'s size."""
    from PIL import Image as Pictures
    from PIL import ImageOps

    mode = "RGBA" if made.mode == "RGBA" else "RGB"
    ground = start.convert("RGBA")
    if mode == "RGB":
        ground = Pictures.alpha_composite(Pictures.new("RGBA", ground.size, "white"), ground)
    fitted = ImageOps.fit(ground.convert(mode), made.size, Pictures.Resampling.LANCZOS)
    edges = ImageOps.fit(mask.convert("L"), made.size, Pictures.Resampling.BILINEAR)
    return Pictures.composite(made, fitted, edges)


def same_pixels(one: Image, other: Image) -> bool:
    """Whether two pictures are the same to the last bit."""
    return one.size == other.size and one.mode == other.mode and one.tobytes() == other.tobytes()


def final_size(params: Json) -> tuple[int, int]:
    """Pixels of the finished picture: as drawn, times `upscale`."""
    factor = int(params.get("upscale") or 1)
    return int(params.get("width") or 0) * factor, int(params.get("height") or 0) * factor
