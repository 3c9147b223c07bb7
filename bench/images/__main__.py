"""How good the starter image model is, by a judge that learned from real pictures only (bench/images/judge.py).

    python -m bench.images --model FOLDER --data FOLDER --encoder FOLDER --work FOLDER [--pictures 400] [--steps 16]
        [--device auto]

Says, each beside what the judge makes of the real pictures: known concepts in styles in which they were never trained (top 5 of
all judged concepts), their styles, colour words, concepts that were never trained at all (which of 100 names is meant), and
whether pictures are copies of what was trained on. Grids to look at are left in --work.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bench.images.judge import Judge, as_input, judged_concepts, load_judge, pixels_of
from engine.device import choose_device
from engine.image.pixels import on_white
from engine.image.prompts import MAX_TOKENS, Prompt, sentence_vectors
from engine.image.sticker import StickerModel
from engine.models.catalog import STARTER_ENCODER_ID, load_catalog
from engine.text.encoder import TextEncoder
from engine.training.recipes.stickers.data import CHROMATIC, Sticker, Stickers, main_colours

TOGETHER = 16
AMONG = 100
COLOUR_NAMES = ("car", "heart", "balloon", "hat", "cup", "flower", "bird", "shoe", "book", "house")
COPY = 0.02
"""Mean difference of pixels (0 … 1) below which two pictures count as the same."""


class Bench:
    """One model, one judge, one data set."""

    def __init__(self, data: Stickers, model: StickerModel, judge: Judge, *, steps: int, guidance: float) -> None:
        self.data = data
        self.judge = judge
        self._model = model
        self._steps = steps
        self._guidance = guidance

    def drawn(self, prompts: Sequence[Prompt]) -> Tensor:
        """uint8 [n, 4, 64, 64]."""
        parts = [prompts[start : start + TOGETHER] for start in range(0, len(prompts), TOGETHER)]
        made = [
            self._model.draw_small(part, seed=number, steps=self._steps, guidance=self._guidance)
            for number, part in enumerate(parts)
        ]
        return torch.cat(made)

    @torch.inference_mode()
    def judged(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Concept logits, style logits and caption vectors of uint8 [n, 3, 64, 64]."""
        parts = [self.judge(as_input(part.to(self.judge.style.weight.device))) for part in pixels.split(256)]
        return tuple(torch.cat(one).cpu() for one in zip(*parts, strict=True))  # type: ignore[return-value]

    def combinations(self, pictures: int) -> str:
        """Known concepts in unseen styles: top 5 and style, generated against real."""
        items = random.Random(0).sample(self.data.combinations, min(pictures, len(self.data.combinations)))
        number = {concept: place for place, concept in enumerate(judged_concepts(self.data))}
        style = {name: place for place, name in enumerate(self.data.styles)}
        concepts = torch.tensor([number[item.concept] for item in items])
        styles = torch.tensor([style[item.style] for item in items])
        made = on_white(self.drawn([Prompt(item.names["en"], item.style) for item in items]))
        rows = []
        for pixels in (made, pixels_of(self.data, tuple(items))):
            concept_logits, style_logits, _ = self.judged(pixels)
            first = (concept_logits.argmax(1) == concepts).float().mean()
            five = (concept_logits.topk(5).indices == concepts[:, None]).any(1).float().mean()
            rows.append((float(first), float(five), float((style_logits.argmax(1) == styles).float().mean())))
        (first, five, style_share), (real_first, real_five, real_style) = rows
        return (
            f"{len(items)} known concepts in unseen styles: top 5 {five:.1%} against {real_five:.1%} for real ones "
            f"({five / real_five:.0%} of it), top 1 {first:.1%} against {real_first:.1%}, "
            f"style {style_share:.1%} against {real_style:.1%} ({style_share / real_style:.0%})"
        )

    def colours(self) -> str:
        """Whether the colour asked for is among the main colours of what is drawn."""
        asked = [(colour, name) for colour in CHROMATIC for name in COLOUR_NAMES]
        styles = ("noto", "twemoji", "fluent-flat")
        made = self.drawn([Prompt(f"{colour} {name}", styles[place % 3]) for place, (colour, name) in enumerate(asked)])
        pixels = made.permute(0, 2, 3, 1).numpy()
        hits = [colour in main_colours(one) for (colour, _), one in zip(asked, pixels, strict=True)]
        by_colour = {c: np.mean([hit for (colour, _), hit in zip(asked, hits, strict=True) if colour == c]) for c in CHROMATIC}
        said = ", ".join(f"{colour} {share:.0%}" for colour, share in by_colour.items())
        return f"colour words: {np.mean(hits):.1%} of {len(asked)} obeyed ({said})"

    def unseen(self, vectors: dict[str, Tensor], pictures: int) -> str:
        """Which of 100 names is meant, for concepts that were never trained in any style; and the same for the real pictures."""
        draw = random.Random(1)
        by_concept: dict[str, Sticker] = {item.concept: item for item in self.data.unseen}
        items = draw.sample(sorted(by_concept.values(), key=lambda item: item.row), min(pictures, len(by_concept)))
        names = sorted(by_concept)
        made = on_white(self.drawn([Prompt(item.names["en"], item.style) for item in items]))
        shares = []
        for pixels in (made, pixels_of(self.data, tuple(items))):
            said = self.judged(pixels)[2]
            hits = 0
            for item, vector in zip(items, said, strict=True):
                others = draw.sample([name for name in names if name != item.concept], AMONG - 1)
                scores = torch.stack([vectors[name] for name in (item.concept, *others)]) @ vector
                hits += int(scores.argmax()) == 0
            shares.append(hits / len(items))
        return f"{len(items)} unseen concepts: {shares[0]:.1%} found among {AMONG} names, {shares[1]:.1%} for real pictures"

    def copies(self, pictures: int) -> str:
        """How near what is drawn lies to the nearest picture that was trained on, against how near real unseen ones lie."""
        items = random.Random(2).sample(self.data.combinations, min(pictures, len(self.data.combinations)))
        trained = _small(pixels_of(self.data, self.data.train))
        made = _small(on_white(self.drawn([Prompt(item.names["en"], item.style) for item in items])))
        real = _small(pixels_of(self.data, tuple(items)))
        near = [torch.cdist(rows, trained, p=1).min(1).values / rows.shape[1] for rows in (made, real)]
        shares = [float((distance < COPY).float().mean()) for distance in near]
        return (
            f"nearest trained picture: {float(near[0].median()):.3f} away (median, 0 … 1) against {float(near[1].median()):.3f} "
            f"for real unseen combinations; nearer than {COPY}: {shares[0]:.1%} against {shares[1]:.1%}"
        )

    def grids(self, folder: Path) -> None:
        """Pictures to look at: known things, unseen things, colours, Chinese."""
        sets = {
            "known": "red apple|cat face|grinning face|rocket|pizza|tree|dog face|angry face"
            "|birthday cake|guitar|sun|rose|house|fish|crown|robot",
            "chinese": "红苹果|猫|笑脸|火箭|披萨|树|狗|生气的脸|生日蛋糕|吉他|太阳|玫瑰|房子|鱼|皇冠|机器人",
            "free": "sleepy kitten|green monster|purple heart|a cup of coffee|dragon|blue strawberry|rainy cloud|happy star"
            "|pink elephant|golden key|angry tomato|flying pig|old castle|yellow boat|snowman|laughing moon",
        }
        for name, said in sets.items():
            prompts = [Prompt(text, style) for style in ("noto", "fluent-color", "twemoji") for text in said.split("|")]
            pixels = on_white(self.drawn(prompts)).permute(0, 2, 3, 1).numpy()
            sheet = Image.new("RGB", (16 * 132, 3 * 132), "white")
            for place, one in enumerate(pixels):
                picture = Image.fromarray(one).resize((128, 128), Image.Resampling.LANCZOS)
                sheet.paste(picture, (place % 16 * 132, place // 16 * 132))
            sheet.save(folder / f"{name}.png")


def _small(pixels: Tensor) -> Tensor:
    """[n, 3, 64, 64] → [n, 768]: 16 × 16, 0 … 1."""
    return torch.cat([torch.nn.functional.avg_pool2d(part.float() / 255, 4).flatten(1) for part in pixels.split(1024)])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="how good is the starter image model?")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=400)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--guidance", type=float, default=4.0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--epochs", type=int, default=20, help="of the judge, when it is not there yet")
    asked = parser.parse_args()
    device = torch.device(choose_device(asked.device).name)
    asked.work.mkdir(parents=True, exist_ok=True)
    data = Stickers(asked.data)
    catalog = load_catalog(Path(__file__).resolve().parents[2] / "assets" / "models.yaml")
    encoder = TextEncoder(catalog.get(STARTER_ENCODER_ID), asked.encoder)
    names = {item.concept: item.names["en"] for item in data.items}
    vectors = dict(zip(names, sentence_vectors(encoder.states(list(names.values()), MAX_TOKENS, together=True)), strict=True))
    judge = load_judge(data, vectors, asked.work / "judge.pt", asked.epochs, device)
    model = StickerModel("sticker", asked.model, encoder, str(device))
    bench = Bench(data, model, judge, steps=asked.steps, guidance=asked.guidance)
    bench.grids(asked.work)
    print(bench.combinations(asked.pictures), flush=True)
    print(bench.colours(), flush=True)
    print(bench.unseen(vectors, asked.pictures), flush=True)
    print(bench.copies(asked.pictures), flush=True)


if __name__ == "__main__":
    main()
