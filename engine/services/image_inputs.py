"""Pictures that a drawing starts from: a file of the user's own or another Creation, and the mask, as files that rows name.

A file of the user's own passes the gate (engine/safety/pictures.py) and is kept as plain pixels under the name of its content;
what its file said besides is not kept. Knows bytes, files and rows; knows no model and no page.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from engine.errors import BadFileError, BadOptionError
from engine.safety.pictures import PICTURE_MAX_BYTES, open_picture
from storage.files import FileStore
from storage.records import CreationRecord, InputRecord, InputRole
from storage.unit_of_work import UnitOfWork

if TYPE_CHECKING:
    from PIL.Image import Image

KEPT_SIDE: Final = 2048
"""Pixels of the longer side that are kept of a user's own picture: no model here draws more."""
_FOLDER: Final = "inputs"


@dataclass(frozen=True, slots=True)
class Input:
    """One picture that goes in, on the disk already."""

    role: InputRole
    media_name: str
    media_sha256: str
    is_own: bool
    """Whether a person brought it, rather than a model made it."""

    def record(self, creation_id: str) -> InputRecord:
        """As the row of a Creation names it."""
        return InputRecord(creation_id, self.role, self.media_name, self.media_sha256)


def kept_picture(files: FileStore, given: bytes | Path, role: InputRole) -> Input:
    """Keep a user's file. Raises BadFileError, TooLongError for what is no picture or too large; then nothing is kept."""
    what = "The mask" if role == "mask" else "The picture"
    picture = open_picture(given if isinstance(given, bytes) else _read(given), what=what)
    picture.thumbnail((KEPT_SIDE, KEPT_SIDE))
    if role == "mask":
        picture = _as_mask(picture)
    packed = io.BytesIO()
    picture.save(packed, "PNG")
    name, sha256 = files.keep(_FOLDER, "png", packed.getvalue())
    return Input(role, name, sha256, is_own=role == "init")


def creation_input(creation: CreationRecord) -> Input:
    """Another Creation as the picture to start from. Raises BadOptionError for one without a picture."""
    if creation.kind != "image" or creation.media_name is None or creation.media_sha256 is None:
        raise BadOptionError("There is no picture in that creation to start from.", key="error.image_no_picture")
    return Input("init", creation.media_name, creation.media_sha256, bool(creation.params.get("from_picture")))


def inputs_of(uow: UnitOfWork, owner_id: str, creation: CreationRecord) -> tuple[Input, ...]:
    """What a Creation was made from, to make it again."""
    is_own = bool(creation.params.get("from_picture"))
    found = uow.inputs.of(owner_id, [creation.id]).get(creation.id, ())
    return tuple(Input(one.role, one.media_name, one.media_sha256, is_own) for one in found)


def read_picture(files: FileStore, name: str, sha256: str, *, what: str = "The picture") -> Image:
    """A kept file's picture. Raises BadFileError when it is gone or not what it was."""
    data = files.read(name, sha256)
    if data is None:
        text = f"{what} that this starts from is gone or damaged. Choose another one."
        raise BadFileError(text, key="error.image_input_gone", what=what)
    return open_picture(data, what=what)


def _read(path: Path) -> bytes:
    """The file, or its beginning when it is larger than any picture may be: the gate behind says so."""
    try:
        with path.open("rb") as file:
            return file.read(PICTURE_MAX_BYTES + 1)
    except OSError:
        return b""


def _as_mask(picture: Image) -> Image:
    """White where it is to be made anew. A drawing on a clear ground counts by its strokes, whatever their colour."""
    if picture.mode != "RGBA":
        return picture.convert("L")
    opacity = picture.getchannel("A")
    return opacity if min(opacity.tobytes()) < 255 else picture.convert("L")
