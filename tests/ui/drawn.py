"""A starter image model that is "there" without weights, for tests of what surrounds a model that draws."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from engine.bootstrap import ASSETS_DIR
from engine.models.catalog import STARTER_IMAGE_ID, Catalog, load_catalog
from engine.models.pipeline_folder import STICKER_FILES

STYLES = ("flat", "line")


def catalog_that_draws(folder: Path) -> Catalog:
    """The shipped catalogue, with the starter image model in `folder`: its files are there and empty."""
    for name in STICKER_FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    (folder / "styles.json").write_text(json.dumps(STYLES), encoding="utf-8")
    specs = load_catalog(ASSETS_DIR / "models.yaml").list()
    here = {"source": f"local:{folder}", "needs": ()}
    return Catalog(tuple(dataclasses.replace(spec, **here) if spec.id == STARTER_IMAGE_ID else spec for spec in specs))
