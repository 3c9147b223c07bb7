"""Pictures of the starter model's styles for the page, drawn by the model itself into its folder: styles/<style>.webp.

    python -m engine.image.thumbnails MODEL_FOLDER --encoder FOLDER [--prompt "red apple"] [--seed 7]

Run it whenever the weights have changed; all styles get the same prompt and seed, so that only the style differs between them.
Knows the starter model; knows no page.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from engine.image.model import ImageModel, ImageRequest
from engine.jobs.job import CancelToken

FOLDER: Final = "styles"
SIDE: Final = 128
"""Pixels; the page shows them at 56, on dense screens at 112."""
STEPS: Final = 40
SUBJECTS: Final[Mapping[str, str]] = {"weather-icon": "sun behind a cloud"}
"""Prompts of styles that were taught one kind of thing only."""


def thumbnails(folder: Path) -> dict[str, Path]:
    """The styles of a model's folder that have a picture, and where it is."""
    return {path.stem: path for path in sorted((folder / FOLDER).glob("*.webp"))}


def draw_thumbnails(model: ImageModel, prompt: str, seed: int, say: Callable[[str], None]) -> dict[str, bytes]:
    """A WebP of each of the model's styles, SIDE pixels, on a clear background."""
    made = {}
    for style in model.styles:
        request = ImageRequest(
            SUBJECTS.get(style, prompt), style=style, width=SIDE, height=SIDE, steps=STEPS, seed=seed, transparent=True
        )
        picture = model.draw(request, CancelToken(), lambda step: None)
        file = io.BytesIO()
        picture.save(file, "WEBP", quality=88, method=6)
        made[style] = file.getvalue()
        say(style)
    return made


def main() -> None:
    """See the module's docstring."""
    from engine.image.sticker import StickerModel
    from engine.models.catalog import STARTER_ENCODER_ID, load_catalog
    from engine.text.encoder import TextEncoder

    parser = argparse.ArgumentParser(description="draw the styles of the starter image model")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--encoder", type=Path, required=True, help="the folder of all-MiniLM-L6-v2")
    parser.add_argument("--prompt", default="red apple")
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    catalog = load_catalog(Path(__file__).resolve().parents[2] / "assets" / "models.yaml")
    model = StickerModel("sticker", asked.folder, TextEncoder(catalog.get(STARTER_ENCODER_ID), asked.encoder), "cpu")
    made = draw_thumbnails(model, asked.prompt, asked.seed, lambda style: print(style, flush=True))  # noqa: T201
    (asked.folder / FOLDER).mkdir(exist_ok=True)
    for path in thumbnails(asked.folder).values():
        path.unlink()
    for style, data in made.items():
        (asked.folder / FOLDER / f"{style}.webp").write_bytes(data)


if __name__ == "__main__":
    main()
