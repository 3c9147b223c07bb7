"""The third stage: every picture as latents and every caption as vectors, once, so that training need not compute them again.

Each picture is there as it is, mirrored where its mirror image shows the same, and turned to other colours with
captions that say so.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from engine.image.autoencoder import StickerAutoencoder
from engine.image.prompts import MAX_TOKENS, PromptEncoder
from engine.training.recipes.stickers.autoencoder import latents_of
from engine.training.recipes.stickers.data import CHROMATIC, Pixels, Sticker, Stickers, captions, main_colours, turned
from engine.training.recipes.stickers.work import Work

NAME: Final = "prepared.pt"
TURNS: Final = (40.0, 80.0, 130.0, 180.0, 230.0, 280.0, 320.0)
TURNED_EACH: Final = 2
"""How many turned pictures of one that has a colour."""
BALANCE: Final = 0.4
"""How far styles with many pictures are held back: 0 = not at all, 1 = all styles are equally frequent."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the denoiser learns from. A picture's captions are the texts `first[i] : first[i] + count[i]` of each language."""

    latents: Tensor
    """float16 [pictures, 16, 8, 8]."""
    styles: Tensor
    """int64 [pictures]."""
    weights: Tensor
    """float32 [pictures]: how often each is drawn."""
    captions: Tensor
    """int64 [pictures, 2 languages, 2]: place and number in `texts`; number 0 where the language says nothing."""
    texts: Tensor
    """int64: rows of `ends`."""
    ends: Tensor
    """int64 [captions + 1]: where each caption's tokens begin and end."""
    tokens: Tensor
    """float16 [tokens of all captions, 384]."""


def prepare(data: Stickers, model: StickerAutoencoder, encoder: PromptEncoder, work: Work) -> Prepared:
    """Compute it, or read it from the work folder."""
    if work.path(NAME).is_file():
        return Prepared(**torch.load(work.path(NAME), weights_only=True, mmap=True))
    pictures, said = _pictures(data)
    pixels = torch.from_numpy(np.stack([pixels for pixels, _ in pictures])).permute(0, 3, 1, 2)
    latents = latents_of(model, pixels, work.device)
    work.log("prepare", pictures=len(pictures))
    unique = {text: number for number, text in enumerate(sorted({text for both in said for texts in both for text in texts}))}
    ends, tokens = _tokens(list(unique), encoder, work)
    places = torch.zeros(len(said), 2, 2, dtype=torch.int64)
    texts: list[int] = []
    for row, both in enumerate(said):
        for language, found in enumerate(both):
            places[row, language] = torch.tensor([len(texts), len(found)])
            texts += [unique[text] for text in found]
    items = [item for _, item in pictures]
    made = Prepared(latents, _styles(data, items), _weights(items), places, torch.tensor(texts), ends, tokens)
    work.whole(NAME, lambda path: torch.save({name: getattr(made, name) for name in Prepared.__slots__}, path))
    return made


def _pictures(data: Stickers) -> tuple[list[tuple[Pixels, Sticker]], list[tuple[tuple[str, ...], tuple[str, ...]]]]:
    draw = random.Random(0)
    pictures, said = [], []
    for item in data.train:
        pixels, both = data.pixels[item.row], (captions(data, item, "en"), captions(data, item, "zh"))
        pictures.append((pixels, item))
        said.append(both)
        if item.can_flip:
            pictures.append((np.ascontiguousarray(pixels[:, ::-1]), item))
            said.append(both)
        if item.colours and item.colours[0] in CHROMATIC:
            for degrees in draw.sample(TURNS, TURNED_EACH):
                changed = turned(pixels, degrees)
                colours = main_colours(changed)
                if colours and colours[0] in CHROMATIC and colours[0] != item.colours[0]:
                    pictures.append((changed, item))
                    said.append((captions(data, item, "en", colours[0]), captions(data, item, "zh", colours[0])))
    return pictures, said


def _tokens(texts: Sequence[str], encoder: PromptEncoder, work: Work) -> tuple[Tensor, Tensor]:
    ends, found = [0], []
    for start in range(0, len(texts), 4096):
        states, _ = encoder.texts(texts[start : start + 4096], together=True)
        for row in states:
            count = int((row != 0).any(-1).sum())
            ends.append(ends[-1] + count)
            found.append(row[:count].half())
        if start % 40960 == 0:
            work.log("prepare", captions=start, of=len(texts))
    return torch.tensor(ends), torch.cat(found)


def _styles(data: Stickers, items: Sequence[Sticker]) -> Tensor:
    numbers = {style: number for number, style in enumerate(data.styles)}
    return torch.tensor([numbers[item.style] for item in items])


def _weights(items: Sequence[Sticker]) -> Tensor:
    """A picture, its mirror image and its turned ones together count little more than one; large styles are held back."""
    pictures: dict[int, int] = {}
    styles: dict[str, int] = {}
    for item in items:
        pictures[item.row] = pictures.get(item.row, 0) + 1
        styles[item.style] = styles.get(item.style, 0) + 1
    mean = len(items) / len(styles)
    return torch.tensor([pictures[item.row] ** -0.7 * (styles[item.style] / mean) ** -BALANCE for item in items])


def caption_batch(prepared: Prepared, rows: Tensor, chinese: float) -> Tensor:
    """Tokens [rows, 16, 384] of one caption drawn for each picture, Chinese with that probability where there is one."""
    both = prepared.captions[rows]
    language = ((torch.rand(len(rows)) < chinese) & (both[:, 1, 1] > 0)).long()
    first, count = both[torch.arange(len(rows)), language].unbind(1)
    # The first ones are the plain name and the style: half of all draws are among the first two.
    span = torch.where(torch.rand(len(rows)) < 0.5, count.clamp(max=2), count)
    text = prepared.texts[first + (torch.rand(len(rows)) * span).long()]
    start, end = prepared.ends[text], prepared.ends[text + 1]
    places = start[:, None] + torch.arange(MAX_TOKENS)
    inside = places < end[:, None]
    return prepared.tokens[places.clamp(max=len(prepared.tokens) - 1)].float() * inside[..., None]
