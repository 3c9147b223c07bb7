"""The one place that writes a generated picture: its pixels, its settings, and what says that a machine made it.

                       PNG                     WebP, JPEG
    our settings       text chunk tastemaker   XMP tastemaker:record
    widely read text   text chunk parameters   EXIF UserComment
    AIGC label         text chunk AIGC, XMP    XMP TC260:AIGC
    digital source     XMP                     XMP Iptc4xmpExt:DigitalSourceType

Sources: PNG 1.2 §4.2.3 and XMP part 3 (where each format keeps XMP), Exif 2.32 §4.6.5 (UserComment), engine/safety/provenance.py
for the labels. Saving a picture anew with Pillow drops all of them, so every copy goes through save_labelled().
Knows bytes and pictures; knows no database, no model and no page. Writes no files.
"""

from __future__ import annotations

import dataclasses
import hashlib
import html
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from PIL import ExifTags, Image, PngImagePlugin

from engine.errors import BadOptionError
from engine.safety.parameters import TEXT_MAX_CHARS, Labels, labels_of, parameters_text, parse_parameters
from engine.safety.pictures import FILE_ERRORS, open_header, refuse_file, with_alpha_or_not
from engine.safety.provenance import PRODUCER, aigc_label, xmp_packet
from engine.safety.visible import stamp

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

Format = Literal["png", "webp", "jpeg"]

__all__ = ["FORMATS", "Format", "Labels", "PictureRecord", "read_labels", "save_labelled"]

FORMATS: Final = ("png", "webp", "jpeg")

_SEGMENT_PROMPT_CHARS = 4_000
"""Of each prompt, in WebP and JPEG: a JPEG segment holds 64 KB, and one character takes up to 6 bytes when escaped."""
_UNICODE = b"UNICODE\0"
_ASCII = b"ASCII\0\0\0"


@dataclass(frozen=True, slots=True)
class PictureRecord:
    """How a picture was made. The texts are as engine.safety.limits.clean_text returns them."""

    creation_id: str
    prompt: str
    negative: str
    seed: int
    steps: int
    guidance: float
    scheduler: str
    width: int
    """Pixels, as they were asked for; the file says what it has."""
    height: int
    style: str | None
    model_id: str
    model_sha256: str | None
    """Of the weights, in hexadecimal."""
    adapter_id: str | None
    created_at: datetime
    from_picture: bool = False
    """It was made out of a picture that the user gave."""
    producer: str = PRODUCER


def save_labelled(picture: Picture, record: PictureRecord, *, format: Format = "png", visible: bool = False) -> bytes:
    """Return the file's bytes; the same picture and record give the same bytes.

    PNG keeps the pixels exactly. JPEG has no transparency: it is laid on white. WebP and JPEG keep the first 4,000 characters
    of each prompt. `visible` writes "AI生成" (where the machine has no Chinese font: "AI") into the lower right corner.
    Raises BadOptionError for another format.
    """
    if format not in FORMATS:
        raise BadOptionError(
            f"A picture is saved as png, webp or jpeg, not as {str(format)[:40]}.",
            key="error.picture_format",
            format=str(format)[:40],
        )
    pixels = with_alpha_or_not(picture)
    if visible:
        pixels = stamp(pixels)
    if format == "jpeg" and pixels.mode == "RGBA":
        white = Image.new("RGBA", pixels.size, "white")
        pixels = Image.alpha_composite(white, pixels).convert("RGB")
    aigc = aigc_label(
        produce_id=record.creation_id, sha256=hashlib.sha256(pixels.tobytes()).hexdigest(), producer=record.producer
    )
    return _png(pixels, record, aigc) if format == "png" else _with_segments(pixels, record, aigc, format)


def read_labels(data: bytes) -> Labels | None:
    """Return the settings in a PNG, WebP or JPEG of ours or in one with the `parameters` text of other tools; None without any.

    No pixel is decoded. Raises BadFileError for what is no such file, and TooLongError for one beyond the limits of
    engine/safety/pictures.py.
    """
    with open_header(data, what="The picture") as image:
        try:
            texts = {name: value for name, value in image.info.items() if isinstance(name, str) and isinstance(value, str)}
            record = texts.get("tastemaker") or _record_in_xmp(image.info.get("xmp"))
            labels = _parse_record(record)
            if labels is None:
                labels = parse_parameters(texts.get("parameters", ""))
            if labels is None and image.format in ("WEBP", "JPEG"):
                # Not for PNG: Pillow would decode it whole, in search of EXIF behind the pixels.
                labels = parse_parameters(_user_comment(image))
        except FILE_ERRORS as error:
            raise refuse_file("The picture") from error
    return labels


def _parameters(record: PictureRecord) -> str:
    return parameters_text(labels_of(_with_our_names(dataclasses.asdict(record))))


def _record_json(record: PictureRecord) -> str:
    fields = dataclasses.asdict(record) | {"created_at": record.created_at.isoformat()}
    text = json.dumps(fields, ensure_ascii=False, sort_keys=True)
    # The two characters that JSON lets through and XML does not.
    return text.replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")


def _png(pixels: Picture, record: PictureRecord, aigc: Mapping[str, str]) -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp_packet(aigc=aigc, from_picture=record.from_picture).decode("utf-8"))
    info.add_text("AIGC", json.dumps(aigc, ensure_ascii=False))
    info.add_text("parameters", _parameters(record))
    info.add_text("tastemaker", _record_json(record))
    file = io.BytesIO()
    pixels.save(file, "PNG", pnginfo=info)
    return file.getvalue()


def _with_segments(pixels: Picture, record: PictureRecord, aigc: Mapping[str, str], format: Format) -> bytes:
    short = dataclasses.replace(record, prompt=_shortened(record.prompt), negative=_shortened(record.negative))
    exif = Image.Exif()
    exif.endian = ">"
    exif[ExifTags.Base.Software] = PRODUCER
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = _UNICODE + _parameters(short).encode("utf-16-be")
    xmp = xmp_packet(aigc=aigc, from_picture=record.from_picture, record=_record_json(short))
    options: dict[str, Any] = {"quality": 92, "subsampling": 0} if format == "jpeg" else {"quality": 92, "method": 4}
    file = io.BytesIO()
    pixels.save(file, format.upper(), exif=exif.tobytes(), xmp=xmp, **options)
    return file.getvalue()


def _shortened(text: str) -> str:
    return text if len(text) <= _SEGMENT_PROMPT_CHARS else text[: _SEGMENT_PROMPT_CHARS - 1] + "…"


def _parse_record(text: str) -> Labels | None:
    """Return the settings in our own JSON; None when it is none."""
    if not text or len(text) > TEXT_MAX_CHARS:
        return None
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict) or not isinstance(fields.get("prompt"), str):
        return None
    return labels_of(_with_our_names(fields))


def _with_our_names(fields: Mapping[str, object]) -> dict[str, object]:
    return {**fields, "model": fields.get("model_id"), "tool": fields.get("producer")}


def _record_in_xmp(packet: object) -> str:
    # Text is searched, no XML parsed: nothing in a packet can make a parser expand or fetch anything.
    if not isinstance(packet, bytes) or len(packet) > TEXT_MAX_CHARS:
        return ""
    found = re.search(rb"<tastemaker:record>([^<]*)</tastemaker:record>", packet)
    return html.unescape(found[1].decode("utf-8", "replace")) if found else ""


def _user_comment(image: Picture) -> str:
    comment = image.getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment)
    if isinstance(comment, str):
        return comment
    if not isinstance(comment, bytes) or len(comment) > 2 * TEXT_MAX_CHARS:
        return ""
    code, text = comment[:8], comment[8:]
    if code == _UNICODE:
        # Exif leaves the byte order open; the settings line is ASCII, so one half of its bytes is zero.
        order = "utf-16-be" if text[::2].count(0) >= text[1::2].count(0) else "utf-16-le"
        return text.decode(order, "replace")
    return text.decode("utf-8", "replace") if code == _ASCII else comment.decode("utf-8", "replace")
