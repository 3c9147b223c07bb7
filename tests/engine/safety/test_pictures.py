"""Which files the gate for pictures lets through, and what is left of them."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib

import pytest
from PIL import Image

from engine.errors import BadFileError, TooLongError
from engine.safety.pictures import PICTURE_FORMATS, PICTURE_MAX_BYTES, open_picture


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)  # type: ignore[arg-type]
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_claiming(width: int, height: int) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1_000))) + chunk(b"IEND", b"")


def webp_claiming(width: int, height: int) -> bytes:
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + size
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize("format", PICTURE_FORMATS)
def test_every_format_comes_in_as_rgb(format: str) -> None:
    picture = open_picture(saved(Image.new("RGB", (40, 30), (200, 30, 30)), format))
    assert (picture.mode, picture.size, picture.info) == ("RGB", (40, 30), {})
    red, green, blue = picture.getpixel((20, 15))  # type: ignore[misc]
    assert red > 180 and green < 60 and blue < 60


@pytest.mark.parametrize("format", ["PNG", "WEBP", "GIF"])
def test_transparency_is_kept(format: str) -> None:
    picture = open_picture(saved(Image.new("RGBA", (8, 8), (0, 0, 0, 0)), format))
    assert picture.mode == "RGBA"
    assert picture.getchannel("A").getextrema() == (0, 0)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "I;16"])
def test_other_modes_are_converted(mode: str) -> None:
    if mode == "I;16":
        image = Image.frombytes("I;16", (8, 8), struct.pack("<H", 0x8000) * 64)
        assert open_picture(saved(image, "PNG")).getpixel((0, 0)) == (128, 128, 128)
        return
    picture = open_picture(saved(Image.new("RGB", (8, 8), "white").convert(mode), "JPEG" if mode == "CMYK" else "PNG"))
    assert picture.mode == ("RGBA" if mode == "LA" else "RGB")
    assert picture.convert("RGB").getpixel((0, 0)) == (255, 255, 255)


def test_the_first_picture_of_several_is_taken() -> None:
    first, second = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    assert open_picture(saved(first, "GIF", save_all=True, append_images=[second])).convert("RGB").getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_orientation_is_applied_and_metadata_dropped(format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "A camera"
    picture = open_picture(saved(Image.new("RGB", (40, 20)), format, exif=exif.tobytes(), icc_profile=b"profile", dpi=(72, 72)))
    assert picture.size == (20, 40)
    assert picture.info == {} and not picture.getexif()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"GIF89a",
        b"RIFF\0\0\0\0WEBP",
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        b"<html>not a picture</html>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"PK\x03\x04 a zip",
        saved(Image.new("RGB", (8, 8)), "TIFF"),
        saved(Image.new("RGB", (8, 8)), "ICO"),
        saved(Image.new("RGB", (8, 8)), "PPM"),
    ],
    ids=lambda data: repr(data[:8]),
)
def test_what_is_no_picture_is_refused_by_its_bytes(data: bytes) -> None:
    with pytest.raises(BadFileError, match="The mask is no PNG"):
        open_picture(data, what="The mask")


@pytest.mark.parametrize("format", PICTURE_FORMATS)
def test_a_file_that_ends_too_early_is_refused(format: str) -> None:
    image = Image.radial_gradient("L").convert("RGB")
    data = saved(image, format)
    for share in (0.1, 0.5, 0.9):
        with pytest.raises(BadFileError):
            open_picture(data[: int(len(data) * share)])


@pytest.mark.parametrize(
    "data",
    [
        png_claiming(40_000, 40_000),
        png_claiming(9_000, 9_000),
        png_claiming(20_000, 1),
        webp_claiming(16_384, 16_384),
        webp_claiming(2**24, 2**24),
        saved(Image.new("1", (17_000, 10)), "BMP"),
        saved(Image.new("1", (9_000, 9_000)), "PNG"),
    ],
    ids=["png 1600 MP", "png 81 MP", "png side", "webp 268 MP", "webp huge", "bmp side", "real bomb"],
)
def test_bombs_are_refused_by_their_header(data: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(TooLongError, match=r"16,384 pixels a side and 64 megapixels"):
            open_picture(data)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_a_file_of_too_many_bytes_is_refused() -> None:
    with pytest.raises(TooLongError) as raised:
        open_picture(bytes(PICTURE_MAX_BYTES + 1))
    assert raised.value.values["limit"] == PICTURE_MAX_BYTES


@pytest.mark.parametrize("format", PICTURE_FORMATS)
@pytest.mark.filterwarnings("ignore")  # Pillow warns of some damage that it can read past.
def test_damage_anywhere_gives_a_picture_or_one_sentence(format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {"exif": exif.tobytes()} if format in ("PNG", "JPEG", "WEBP") else {}
    data = saved(Image.radial_gradient("L").resize((24, 24)).convert("RGB"), format, **options)
    for position in range(0, min(len(data), 1_200), 3):
        for byte in (b"\0", b"\xff", b"\x7f"):
            try:
                assert open_picture(data[:position] + byte + data[position + 1 :]).mode in ("RGB", "RGBA")
            except (BadFileError, TooLongError):
                continue
