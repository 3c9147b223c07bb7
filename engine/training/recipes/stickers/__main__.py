"""Train the starter image model from nothing, or go on where it stopped.

    python -m engine.training.recipes.stickers --data FOLDER --work FOLDER --encoder FOLDER [--samples 2000000]
        [--guided-samples N] [--minutes 60] [--start assets/models/sticker]

--data has stickers-64.npz and stickers-64.json, --encoder is the folder of all-MiniLM-L6-v2. `--minutes` ends this sitting, not
the training: the next call goes on. The model appears in WORK/model.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from engine.device import choose_device
from engine.image.prompts import PromptEncoder
from engine.training.recipes.stickers import autoencoder, chinese, upscaler
from engine.training.recipes.stickers.conditions import Conditions
from engine.training.recipes.stickers.data import Stickers
from engine.training.recipes.stickers.denoiser import DenoiserTraining
from engine.training.recipes.stickers.guiding import GuidanceDistillation
from engine.training.recipes.stickers.learning import Size
from engine.training.recipes.stickers.prepared import choose_examples, prepare
from engine.training.recipes.stickers.publish import publish, take_up
from engine.training.recipes.stickers.words import Words
from engine.training.recipes.stickers.work import Work


def main() -> None:
    """See the module's docstring."""
    size = Size()
    parser = argparse.ArgumentParser(description="train the starter image model")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="a published model to go on from, where --work has none of its own")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=0, help="0: all")
    parser.add_argument("--samples", type=int, default=2_000_000, help="pictures that the denoiser sees in all")
    parser.add_argument("--guided-samples", type=int, default=0, help="and while guidance is distilled; 0: it is not")
    parser.add_argument("--guided-batch", type=int, default=32)
    parser.add_argument("--guided-rate", type=float, default=3e-4)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--autoencoder-images", type=int, default=100_000)
    parser.add_argument("--upscaler-images", type=int, default=30_000)
    parser.add_argument("--chinese-steps", type=int, default=1500)
    parser.add_argument("--width", type=int, default=size.width)
    parser.add_argument("--depth", type=int, default=size.depth)
    parser.add_argument("--batch", type=int, default=size.batch)
    parser.add_argument("--rate", type=float, default=size.rate)
    parser.add_argument("--no-compile", action="store_true")
    asked = parser.parse_args()
    if asked.threads:
        torch.set_num_threads(asked.threads)
    asked.work.mkdir(parents=True, exist_ok=True)
    work = Work(asked.work, torch.device(choose_device(asked.device).name))
    if asked.start:
        take_up(asked.start, work)
    data = Stickers(asked.data)
    english = Words(asked.encoder, work.device)
    vae = autoencoder.train(data, work, asked.autoencoder_images)
    enlarger = upscaler.train(data, work, asked.upscaler_images)
    characters = chinese.train(data, english, work, asked.chinese_steps)
    prepared = prepare(data, vae, PromptEncoder(english, characters, data.styles), work)
    size = Size(width=asked.width, depth=asked.depth, batch=asked.batch, rate=asked.rate)
    shown = choose_examples(data, prepared)
    conditions = Conditions(prepared, shown, len(data.styles), work.device)
    ends_s = time.monotonic() + asked.minutes * 60
    training = DenoiserTraining(conditions, size, work, compiled=not asked.no_compile)
    training.run(asked.samples, asked.samples, ends_s - time.monotonic())
    drawing, guided = training.average, 0
    if asked.guided_samples and training.samples >= asked.samples:
        lesson = Size(batch=asked.guided_batch, rate=asked.guided_rate)
        distilling = GuidanceDistillation(conditions, training.average, lesson, work, compiled=not asked.no_compile)
        distilling.run(asked.guided_samples, asked.guided_samples, ends_s - time.monotonic())
        drawing, guided = distilling.average, distilling.samples
    parts = {"transformer": drawing, "vae": vae, "upscaler": enlarger, "chinese": characters}
    folder = publish(parts, shown[0], data.styles, training.samples, work, guided)
    work.log("model", folder=str(folder), samples=training.samples, guided_samples=guided)


if __name__ == "__main__":
    main()
