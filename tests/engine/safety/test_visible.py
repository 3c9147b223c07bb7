"""The label that people see: large enough, readable, and only in its corner."""

from __future__ import annotations

import pytest
from PIL import Image, ImageChops

from engine.safety import visible


@pytest.mark.parametrize("size", [(64, 64), (512, 512), (1024, 256), (300, 2048)])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("has_font", [True, False])
def test_letters_are_five_percent_high_in_the_lower_right_corner(
    size: tuple[int, int], mode: str, has_font: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_font:
        monkeypatch.setattr(visible, "chinese_font", lambda: None)
    plain = Image.new(mode, size, (24, 24, 24) if mode == "RGB" else (24, 24, 24, 255))
    stamped = visible.stamp(plain)
    assert (stamped.mode, stamped.size) == (mode, size)
    letters = (
        ImageChops.difference(stamped.convert("RGB"), plain.convert("RGB")).convert("L").point(lambda v: 255 if v > 100 else 0)
    )
    box = letters.getbbox()
    assert box is not None
    # The threshold takes away the soft edge, up to a pixel above and below.
    assert box[3] - box[1] >= 0.05 * min(size) - 2
    assert box[0] >= size[0] // 4 and box[1] >= size[1] // 2


def test_a_tiny_picture_is_labelled_too() -> None:
    assert visible.stamp(Image.new("RGB", (3, 2), "white")).size == (3, 2)


def test_the_plate_is_opaque_on_a_clear_picture() -> None:
    stamped = visible.stamp(Image.new("RGBA", (200, 200), (0, 0, 0, 0)))
    assert stamped.getpixel((198, 198))[3] == 255
    assert stamped.getpixel((5, 5))[3] == 0
