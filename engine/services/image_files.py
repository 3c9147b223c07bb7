"""Pictures handed over: as files in the formats people ask for, and as small ones for lists. Both keep the labels.

Knows files and rows; knows no model and no page.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from engine.errors import BadOptionError, NotFoundError
from engine.safety.labels import FORMATS, Format, save_labelled
from engine.services.edge import NOTHING_HERE, storage_errors
from engine.services.image_inputs import read_picture
from engine.services.image_parts import label_of
from engine.services.image_records import PictureFile
from storage.database import Database
from storage.files import FileStore
from storage.records import CreationRecord

THUMBNAIL_SIDE: Final = 256
"""Pixels of the longer side."""
_MEDIA_TYPES: Final = {"png": "image/png", "webp": "image/webp", "jpeg": "image/jpeg"}
_ENDINGS: Final = {"png": "png", "webp": "webp", "jpeg": "jpg"}


class PictureFiles:
    """Files of one owner's pictures. Thumbnails are kept in a folder that may be emptied at any time."""

    def __init__(self, database: Database, files: FileStore, thumbnails: FileStore) -> None:
        self._database = database
        self._files = files
        self._thumbnails = thumbnails

    def export(self, owner_id: str, creation_id: str, format: Format, *, visible: bool) -> PictureFile:
        """See ImageService.export."""
        if format not in FORMATS:
            text = f"A picture is saved as png, webp or jpeg, not as {str(format)[:40]}."
            raise BadOptionError(text, key="error.picture_format", format=str(format)[:40])
        creation = self._creation(owner_id, creation_id)
        name = f"tastemaker-{creation.id[:8]}.{_ENDINGS[format]}"
        if format == "png" and not visible:
            data = self._files.path(creation.media_name or "").read_bytes()
        else:
            data = self._labelled(creation, format, visible=visible)
        return PictureFile(name, _MEDIA_TYPES[format], data)

    def thumbnail(self, owner_id: str, creation_id: str) -> Path:
        """See ImageService.thumbnail."""
        creation = self._creation(owner_id, creation_id)
        name = f"{creation.id}-{(creation.media_sha256 or '')[:16]}.webp"
        if not self._thumbnails.exists(name):
            self._thumbnails.put(name, self._labelled(creation, "webp", side=THUMBNAIL_SIDE))
        return self._thumbnails.path(name)

    def _labelled(self, creation: CreationRecord, format: Format, *, visible: bool = False, side: int | None = None) -> bytes:
        picture = read_picture(self._files, creation.media_name or "", creation.media_sha256 or "")
        if side is not None:
            picture.thumbnail((side, side))
        return save_labelled(picture, label_of(creation, creation.path), format=format, visible=visible)

    def _creation(self, owner_id: str, creation_id: str) -> CreationRecord:
        """One that has a picture; every other looks like none."""
        with storage_errors(), self._database.read() as uow:
            creation = uow.creations.get(owner_id, creation_id)
        name = creation.media_name
        if creation.kind != "image" or name is None or not self._files.exists(name):
            raise NotFoundError(NOTHING_HERE, key="error.not_found")
        return creation
