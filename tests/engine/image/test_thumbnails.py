"""The pictures of styles: each drawn by the model itself, and only what is there is offered."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from engine.image.sticker import StickerModel
from engine.image.thumbnails import FOLDER, SIDE, draw_thumbnails, thumbnails
from tests.engine.image.tiny import STYLE_NAMES, Words, write_model


def test_every_style_gets_a_picture_of_its_own_drawn_by_the_model(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    model = StickerModel("sticker", folder, Words(), "cpu")
    said: list[str] = []
    made = draw_thumbnails(model, "a red apple", 7, said.append)
    assert tuple(made) == STYLE_NAMES == tuple(said)
    pictures = [Image.open(io.BytesIO(data)) for data in made.values()]
    assert all(picture.format == "WEBP" and picture.size == (SIDE, SIDE) for picture in pictures)
    assert len({picture.convert("RGBA").tobytes() for picture in pictures}) == len(STYLE_NAMES)
    assert draw_thumbnails(model, "a red apple", 7, said.append) == made


def test_only_pictures_that_are_there_are_found(tmp_path: Path) -> None:
    assert thumbnails(tmp_path) == {}
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "flat.webp").write_bytes(b"x")
    (tmp_path / FOLDER / "notes.txt").write_bytes(b"x")
    assert list(thumbnails(tmp_path)) == ["flat"]
