"""The one gate every picture that comes in passes: its real format, its size by the header, whole pixels, nothing else.

The file's name is never asked: the first bytes say what it is. Sizes are checked before a pixel is decoded, because a PNG
of 50 KB can hold 400 megapixels. What goes on is pixels alone, upright, without the file's metadata.
Knows bytes and pictures; knows no database, no model and no page.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Final

from PIL import Image, ImageOps

from engine.errors import BadFileError, TooLongError

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from PIL.ImageFile import ImageFile

PICTURE_MAX_BYTES = 64 * 1024 * 1024
PICTURE_MAX_SIDE = 16_384
"""Pixels."""
PICTURE_MAX_PIXELS = 64_000_000

PICTURE_FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP")

FILE_ERRORS: Final = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    OverflowError,
    struct.error,
    zlib.error,
)
"""What Pillow raises over bytes that somebody broke."""

_BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)


def open_picture(data: bytes, *, what: str = "The picture") -> Picture:
    """Return a PNG, JPEG, WebP, GIF or BMP file's picture (of several its first), RGB, or RGBA when it has transparency.

    EXIF's orientation is applied and every other metadata dropped; 16-bit greys become 8-bit ones. `what` names the picture in
    the sentence. Raises TooLongError above PICTURE_MAX_BYTES, PICTURE_MAX_SIDE or PICTURE_MAX_PIXELS, and BadFileError for
    any other file and for one that is damaged or ends too early.
    """
    with open_header(data, what=what) as image:
        try:
            image.load()
            upright = ImageOps.exif_transpose(image)
            picture = with_alpha_or_not(upright)
        except _BOMBS as error:
            raise _too_large(what, image.size) from error
        except FILE_ERRORS as error:
            raise refuse_file(what) from error
    _check_size(picture.size, what)
    picture.info = {}
    return picture


def open_header(data: bytes, *, what: str) -> ImageFile:
    """Return the file opened and not yet decoded; the caller closes it. Raises what open_picture raises."""
    if not isinstance(data, bytes) or not data:
        raise refuse_file(what)
    if len(data) > PICTURE_MAX_BYTES:
        raise TooLongError(
            f"{what} has {len(data):,} bytes; the limit is {PICTURE_MAX_BYTES:,}. Use a smaller file.",
            key="error.picture_bytes",
            what=what,
            length=len(data),
            limit=PICTURE_MAX_BYTES,
        )
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        # Pillow's WebP reader reserves the whole canvas when it opens the file, so this header is read first.
        _check_size(_webp_size(data[:30]), what)
    try:
        image = Image.open(io.BytesIO(data), formats=PICTURE_FORMATS)
    except _BOMBS as error:
        raise _too_large(what, None) from error
    except FILE_ERRORS as error:
        raise refuse_file(what) from error
    try:
        _check_size(image.size, what)
    except TooLongError:
        image.close()
        raise
    return image


def with_alpha_or_not(image: Picture) -> Picture:
    """Return a copy in RGBA when the picture has transparency, else in RGB."""
    if image.mode.startswith("I"):
        # Greys of 16 bits: a plain convert() would clip everything above 255 to white.
        image = image.convert("I").point(lambda grey: grey * (1 / 256)).convert("L")
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def refuse_file(what: str) -> BadFileError:
    """Return the error for bytes that are no whole picture."""
    return BadFileError(
        f"{what} is no PNG, JPEG, WebP, GIF or BMP file, or it is damaged. Use another file.", key="error.picture_file", what=what
    )


def _check_size(size: tuple[int, int], what: str) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise refuse_file(what)
    if max(width, height) > PICTURE_MAX_SIDE or width * height > PICTURE_MAX_PIXELS:
        raise _too_large(what, size)


def _too_large(what: str, size: tuple[int, int] | None) -> TooLongError:
    megapixels = PICTURE_MAX_PIXELS // 1_000_000
    limits = f"the limits are {PICTURE_MAX_SIDE:,} pixels a side and {megapixels} megapixels. Use a smaller one."
    if size is None:
        return TooLongError(
            f"{what} is too large; {limits}", key="error.picture_size", what=what, side=PICTURE_MAX_SIDE, megapixels=megapixels
        )
    return TooLongError(
        f"{what} is too large ({size[0]:,} × {size[1]:,} pixels); {limits}",
        key="error.picture_pixels",
        what=what,
        width=size[0],
        height=size[1],
        side=PICTURE_MAX_SIDE,
        megapixels=megapixels,
    )


def _webp_size(head: bytes) -> tuple[int, int]:
    """Return width and height by the first 30 bytes (RFC 9649 §2.5 to 2.7); (0, 0) when they are no WebP header."""
    kind = head[12:16]
    if len(head) < 30:
        return 0, 0
    if kind == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
    return 0, 0
