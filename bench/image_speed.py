"""How long pictures take through the whole service: `python -m bench.image_speed [--pictures 4] [--runs 3] [--size 512]`.

    cold        a click in a fresh studio to the first picture: imports, weights, drawing
    preset      a click to the last of the pictures, model loaded; and that time for one picture
    enlarge     a finished picture twice as large

With the starter image model that comes with the studio. Without its weights, or with --untrained, a model of the same size that
was never trained: as fast, and its pictures are noise. Medians of the runs; only compare what one machine did in one state.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import psutil

from engine.bootstrap import ASSETS_DIR, build_studio
from engine.image.drawing import PRESETS
from engine.image.libraries import quiet
from engine.models.catalog import STARTER_ENCODER_ID, STARTER_IMAGE_ID
from engine.models.store import ModelStore
from engine.settings import Settings
from engine.studio import Studio
from engine.types import ImagineOptions, ImagineRequest
from storage.records import LOCAL_OWNER
from tests.starter import starter_catalog, starter_models

LIMIT_S = 600.0
STYLES = tuple(f"style-{number}" for number in range(16))


def write_untrained(folder: Path) -> None:
    """A model of the recipe's size with random weights."""
    quiet()
    from engine.image.autoencoder import StickerAutoencoder
    from engine.image.chinese import ChineseEncoder
    from engine.image.examples import FILE
    from engine.image.upscaler import StickerUpscaler
    from engine.training.recipes.stickers.denoiser import new_transformer
    from engine.training.recipes.stickers.learning import Size
    from tests.engine.image.tiny import tiny_examples

    new_transformer(Size(), len(STYLES)).save_pretrained(folder / "transformer")
    for name, part in {"vae": StickerAutoencoder(), "upscaler": StickerUpscaler(), "chinese": ChineseEncoder("红苹果")}.items():
        part.save_pretrained(folder / name)
    tiny_examples().save(folder / FILE)
    (folder / "styles.json").write_text(json.dumps(STYLES), encoding="utf-8")


def models_folder(scratch: Path, *, untrained: bool) -> Path:
    """The starters' folder, or one beside it whose image model was never trained."""
    installed = starter_models()
    shipped = ModelStore(installed, ASSETS_DIR).state(starter_catalog().get(STARTER_IMAGE_ID)) == "installed"
    if shipped and not untrained:
        return installed
    folder = scratch / "models"
    folder.mkdir()
    os.symlink(installed / STARTER_ENCODER_ID, folder / STARTER_ENCODER_ID)
    write_untrained(folder / STARTER_IMAGE_ID)
    return folder


def finished_s(studio: Studio, request: ImagineRequest) -> tuple[float, float]:
    """Seconds from the click to the end of the job, and seconds of processor time meanwhile."""
    start_s, start_cpu_s = time.monotonic(), time.process_time()
    started = studio.image.imagine(LOCAL_OWNER, request)
    while not (snapshot := studio.jobs.get(LOCAL_OWNER, started.job_id)).is_final:
        if time.monotonic() - start_s > LIMIT_S:
            raise TimeoutError("the pictures did not come")
        time.sleep(0.05)
    if snapshot.status != "done":
        raise RuntimeError(f"the job ended as {snapshot.status}: {snapshot.error}")
    return time.monotonic() - start_s, time.process_time() - start_cpu_s


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=4)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--untrained", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = models_folder(Path(scratch), untrained=asked.untrained)
        settings = Settings(data_dir=Path(scratch) / "data", models_dir=folder, offline=True, no_browser=True, device="cpu")
        studio = build_studio(settings)
        try:
            measure(studio, asked.pictures, asked.runs, asked.size)
        finally:
            studio.close()


def measure(studio: Studio, pictures: int, runs: int, size: int) -> None:
    """All figures, on a studio that has drawn nothing yet."""
    size_of = {"width": size, "height": size}
    cold_s, _ = finished_s(studio, ImagineRequest("a red apple", ImagineOptions(seed=0, **size_of)))
    print(f"cold: first picture after {cold_s:.2f} s", flush=True)
    for preset in PRESETS:
        options = ImagineOptions(n=pictures, seed=1, preset=preset, **size_of)
        times = [finished_s(studio, ImagineRequest("a red apple", options)) for _ in range(runs)]
        median_s, cpu_s = (statistics.median(column) for column in zip(*times, strict=True))
        spread = f"{min(times)[0]:.2f} to {max(times)[0]:.2f}"
        print(
            f"{preset}: {pictures} pictures of {size} px in {median_s:.2f} s ({spread}); {cpu_s:.2f} s of processor time",
            flush=True,
        )
    newest = studio.image.recent(LOCAL_OWNER, LOCAL_OWNER, limit=1)[0].creations[0]
    enlarge = ImagineRequest("", ImagineOptions(init_image=newest.id, upscale=2))
    times = [finished_s(studio, enlarge) for _ in range(runs)]
    print(f"enlarge: {size} to {2 * size} px in {statistics.median(wall_s for wall_s, _ in times):.2f} s")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    memory_mb = psutil.Process().memory_info().rss / 2**20
    print(f"{os.cpu_count()} cores, load {load:.1f}, {memory_mb:.0f} MB resident")


if __name__ == "__main__":
    main()
