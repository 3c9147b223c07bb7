"""What a saved picture says about itself, read back by exiftool and by us."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from engine.errors import BadFileError, BadOptionError, TooLongError
from engine.safety.labels import FORMATS, Format, PictureRecord, read_labels, save_labelled
from engine.safety.provenance import COMPOSITE_WITH_TRAINED, TRAINED_ALGORITHMIC_MEDIA

RECORD = PictureRecord(
    creation_id="0193b5c2-7c1e-7a55-9d3e-0f6f0c0a1b2c",
    prompt='a "red" fox, <b>bold</b> & sharp\n一只狐狸 🦊\nSteps: by the river',
    negative="blurry\nNegative prompt: 模糊",
    seed=2**53 + 7,
    steps=20,
    guidance=4.5,
    scheduler="euler",
    width=64,
    height=48,
    style="fluent: flat, 3D",
    model_id="sticker-64",
    model_sha256="ab" * 32,
    adapter_id="adapter-1",
    created_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
)


def picture(mode: str = "RGB", size: tuple[int, int] = (64, 48)) -> Image.Image:
    return Image.linear_gradient("L").resize(size).convert("RGB").convert(mode)


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def png_with(**texts: str) -> bytes:
    info = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        info.add_text(name, text)
    file = io.BytesIO()
    picture().save(file, "PNG", pnginfo=info)
    return file.getvalue()


def exiftool(path: Path) -> dict[str, Any]:
    if shutil.which("exiftool") is None:
        pytest.skip("exiftool is not installed")
    command = ["exiftool", "-json", "-struct", "-G1", "-api", "largefilesupport=1", str(path)]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    found: dict[str, Any] = json.loads(done.stdout)[0]
    return found


@pytest.mark.parametrize("visible", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("format", FORMATS)
def test_settings_come_back_from_every_format(format: Format, mode: str, visible: bool) -> None:
    data = save_labelled(picture(mode), RECORD, format=format, visible=visible)
    labels = read_labels(data)
    assert labels is not None
    for name in (field.name for field in dataclasses.fields(RECORD) if field.name not in {"created_at", "from_picture"}):
        ours = {"model_id": "model", "producer": "tool"}.get(name, name)
        assert getattr(labels, ours) == getattr(RECORD, name), name
    assert labels.created_at == RECORD.created_at.isoformat()
    assert opened(data).size == (64, 48)


@pytest.mark.parametrize("from_picture", [False, True])
@pytest.mark.parametrize("format", FORMATS)
def test_exiftool_reads_both_labels(tmp_path: Path, format: Format, from_picture: bool) -> None:
    path = tmp_path / f"picture.{format}"
    path.write_bytes(save_labelled(picture(), dataclasses.replace(RECORD, from_picture=from_picture), format=format))
    found = exiftool(path)
    source = COMPOSITE_WITH_TRAINED if from_picture else TRAINED_ALGORITHMIC_MEDIA
    assert found["XMP-iptcExt:DigitalSourceType"] == source
    (label,) = (value for name, value in found.items() if name.lower() == "xmp-tc260:aigc")  # exiftool 12 says "Aigc"
    aigc = json.loads(label) if isinstance(label, str) else label
    assert list(aigc) == [
        "Label", "ContentProducer", "ProduceID", "ReservedCode1", "ContentPropagator", "PropagateID", "ReservedCode2",
    ]  # fmt: skip
    assert aigc["Label"] == "1"
    assert aigc["ContentProducer"] == "Tastemaker"
    assert aigc["ProduceID"] == RECORD.creation_id
    assert len(aigc["ReservedCode1"]) == 64
    settings = found["PNG:Parameters"] if format == "png" else found["ExifIFD:UserComment"]
    assert (
        settings.startswith('a "red" fox')
        and "Steps: 20, Sampler: euler, CFG scale: 4.5" in settings
        and "一只狐狸 🦊" in settings
    )
    assert not [name for name in found if "Warning" in name]


def test_png_has_the_widely_read_text_and_the_raw_label() -> None:
    plain = dataclasses.replace(RECORD, prompt="a fox", negative="blurry", style=None, adapter_id=None, model_sha256=None, seed=7)
    texts = opened(save_labelled(picture(), plain)).info
    assert texts["parameters"] == (
        "a fox\nNegative prompt: blurry\n"
        "Steps: 20, Sampler: euler, CFG scale: 4.5, Seed: 7, Size: 64x48, Model: sticker-64, Version: Tastemaker"
    )
    assert json.loads(texts["AIGC"])["Label"] == "1"


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_png_keeps_every_pixel_and_the_same_picture_gives_the_same_bytes(mode: str) -> None:
    image = picture(mode)
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    data = save_labelled(image, RECORD)
    assert opened(data).mode == mode
    assert opened(data).tobytes() == image.tobytes()
    assert save_labelled(image, RECORD) == data


def test_jpeg_lays_transparency_on_white() -> None:
    clear = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    assert opened(save_labelled(clear, RECORD, format="jpeg")).getpixel((16, 16)) == (255, 255, 255)


@pytest.mark.parametrize("character", ["x", "&", "\x01", "\uffff", "🦊", '"'])
def test_the_longest_prompts_fit_and_other_formats_than_png_cut_them(character: str) -> None:
    long = dataclasses.replace(RECORD, prompt=character * 200_000, negative=character * 200_000)
    whole = read_labels(save_labelled(picture(), long))
    assert whole is not None and whole.prompt == long.prompt and whole.negative == long.negative
    for format in ("webp", "jpeg"):
        cut = read_labels(save_labelled(picture(), long, format=format))
        assert cut is not None and cut.prompt == character * 3_999 + "…" and cut.seed == long.seed


def test_another_format_is_refused() -> None:
    with pytest.raises(BadOptionError, match="not as bmp"):
        save_labelled(picture(), RECORD, format="bmp")  # type: ignore[arg-type]


def test_settings_survive_a_copy_without_our_own_record() -> None:
    """Sites keep the EXIF comment and drop XMP."""
    file = io.BytesIO()
    saved = opened(save_labelled(picture(), RECORD, format="jpeg"))
    picture().save(file, "JPEG", exif=saved.getexif().tobytes())
    labels = read_labels(file.getvalue())
    assert labels is not None
    assert (labels.seed, labels.style, labels.model, labels.prompt) == (
        RECORD.seed,
        RECORD.style,
        "sticker-64",
        RECORD.prompt + "\n" + "Negative prompt: blurry",
    )
    assert labels.negative == "模糊"


def test_another_tools_png_is_read() -> None:
    labels = read_labels(
        png_with(parameters="a cat\nNegative prompt: dog\nSteps: 30, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x768")
    )
    assert labels is not None
    assert (labels.prompt, labels.negative, labels.scheduler, labels.width, labels.height) == (
        "a cat",
        "dog",
        "Euler a",
        512,
        768,
    )
    assert labels.creation_id is None


@pytest.mark.parametrize(
    "record",
    ["", "{", "[" * 100_000, "null", "[1]", '{"prompt": 5}', "NaN"],
)
def test_a_broken_record_of_ours_falls_back_to_the_parameters(record: str) -> None:
    labels = read_labels(png_with(tastemaker=record, parameters="a cat\nSteps: 30, Seed: 1, Size: 1x1"))
    assert labels is not None and labels.steps == 30
    assert read_labels(png_with(tastemaker=record)) is None


def test_odd_values_in_a_record_are_left_out() -> None:
    odd = {
        "prompt": "a\ud800\0",
        "seed": -1,
        "steps": True,
        "guidance": 1e300,
        "width": "64",
        "style": ["x"],
        "model_id": "m" * 9_999,
    }
    labels = read_labels(png_with(tastemaker=json.dumps(odd)))
    assert labels is not None
    assert (labels.prompt, labels.seed, labels.steps, labels.guidance, labels.style) == ("a\ufffd", None, None, None, None)
    assert labels.width == 64 and labels.model == "m" * 300


def test_a_picture_without_settings_has_none() -> None:
    for format in ("PNG", "JPEG", "WEBP", "GIF", "BMP"):
        file = io.BytesIO()
        picture().save(file, format)
        assert read_labels(file.getvalue()) is None


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.filterwarnings("ignore")  # Pillow warns of the damaged EXIF that it skips.
def test_damaged_files_are_read_or_refused_and_nothing_else(format: Format) -> None:
    data = save_labelled(picture(), RECORD, format=format)
    for position in range(0, min(len(data), 4_000), 7):
        for broken in (data[:position], data[:position] + b"\xff" + data[position + 1 :], data[:position] + data[position + 5 :]):
            try:
                read_labels(broken)
            except (BadFileError, TooLongError):
                continue


def test_a_settings_bomb_is_refused() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "x" * 50_000_000, zip=True)
    file = io.BytesIO()
    picture().save(file, "PNG", pnginfo=info)
    assert len(file.getvalue()) < 100_000
    with pytest.raises(BadFileError):
        read_labels(file.getvalue())
