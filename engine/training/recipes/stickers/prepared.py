"""The third stage: every picture as latents and every caption as vectors, once, so that training need not compute them again.

Each picture is there as it is, mirrored where its mirror image shows the same, and turned to other colours with
captions that say so. The pictures that the model looks at while it draws (engine/image/examples.py) are chosen here too.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from engine.image import examples
from engine.image.autoencoder import StickerAutoencoder
from engine.image.examples import Examples
from engine.image.prompts import MAX_TOKENS, PromptEncoder, sentence_vectors
from engine.training.recipes.stickers.autoencoder import latents_of
from engine.training.recipes.stickers.data import CHROMATIC, Pixels, Sticker, Stickers, captions, main_colours, turned
from engine.training.recipes.stickers.work import Work

NAME: Final = "prepared.pt"
TURNS: Final = (40.0, 80.0, 130.0, 180.0, 230.0, 280.0, 320.0)
TURNED_EACH: Final = 2
"""How many turned pictures of one that has a colour."""
EXAMPLE_STYLES: Final = (
    "fluent-color",
    "noto",
    "twemoji",
    "fluent-3d",
    "emojitwo",
    "noto-v1",
    "fluent-flat",
    "fxemoji",
    "line-color",
)
"""Styles whose pictures serve as examples first."""
EXAMPLES_EACH: Final = 3
"""Examples of one concept at most; with 13,500 in all the whole model stays below 60 MB."""
BALANCE: Final = 0.4
"""How far styles with many pictures are held back: 0 = not at all, 1 = all styles are equally frequent."""
FAMILIAR: Final = 0.5
"""How much more often concepts are seen that many styles draw, as people ask for them: 0 = not at all, 1 = each style counts."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the denoiser learns from. A picture's captions are the texts `first[i] : first[i] + count[i]` of each language."""

    latents: Tensor
    """float16 [pictures, 16, 8, 8]."""
    styles: Tensor
    """int64 [pictures]."""
    sources: Tensor
    """int64 [pictures]: the place in `Stickers.train` of the picture that it was made from."""
    mirrored: Tensor
    """bool [pictures]."""
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

    def to(self, device: torch.device) -> Prepared:
        """The same on a device."""
        return Prepared(**{name: getattr(self, name).to(device) for name in self.__slots__})


def prepare(data: Stickers, model: StickerAutoencoder, encoder: PromptEncoder, work: Work) -> Prepared:
    """Compute it, or read it from the work folder."""
    if work.path(NAME).is_file():
        return Prepared(**torch.load(work.path(NAME), weights_only=True, mmap=True))
    pictures = _pictures(data)
    said = [one.captions for one in pictures]
    pixels = torch.from_numpy(np.stack([one.pixels for one in pictures])).permute(0, 3, 1, 2)
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
    sources = torch.tensor([one.source for one in pictures])
    mirrored = torch.tensor([one.is_mirrored for one in pictures])
    items = [data.train[one.source] for one in pictures]
    styles = _styles(data, items)
    made = Prepared(latents, styles, sources, mirrored, _weights(items), places, torch.tensor(texts), ends, tokens)
    work.whole(NAME, lambda path: torch.save({name: getattr(made, name) for name in Prepared.__slots__}, path))
    return made


def choose_examples(data: Stickers, prepared: Prepared) -> tuple[Examples, Tensor]:
    """The pictures to look at, up to EXAMPLES_EACH of a concept, and their rows in `prepared` as they are and mirrored:
    int64 [pictures, 2], twice the same where a mirror image shows something else.
    """
    as_is, mirrored = (_first_rows(prepared, len(data.train), which) for which in (False, True))
    order = {style: place for place, style in enumerate(EXAMPLE_STYLES)}
    by_concept: dict[str, list[int]] = {}
    for source in sorted(range(len(data.train)), key=lambda one: order.get(data.train[one].style, len(order))):
        by_concept.setdefault(data.train[source].concept, []).append(source)
    chosen = torch.tensor([source for sources in by_concept.values() for source in _one_of_each_style(data, sources)])
    rows = torch.stack([as_is[chosen], torch.where(mirrored < len(prepared.sources), mirrored, as_is)[chosen]], 1)
    number = {concept: place for place, concept in enumerate(by_concept)}
    names = torch.stack([_name_vector(prepared, as_is[sources[0]]) for sources in by_concept.values()])
    directions = torch.linalg.svd(names, full_matrices=False).Vh[: examples.DIRECTIONS].T
    codes, levels = examples.packed(prepared.latents[rows[:, 0]])
    made = Examples(
        names=(nn.functional.normalize(names @ directions, dim=1) * 127).round().to(torch.int8),
        directions=directions.half(),
        concepts=torch.tensor([number[data.train[source].concept] for source in chosen.tolist()], dtype=torch.int32),
        styles=prepared.styles[rows[:, 0]].to(torch.int32),
        codes=codes,
        levels=levels,
    )
    return made, rows


def _one_of_each_style(data: Stickers, sources: Sequence[int]) -> list[int]:
    found: dict[str, int] = {}
    for source in sources:
        found.setdefault(data.train[source].style, source)
    return [*found.values()][:EXAMPLES_EACH]


def _first_rows(prepared: Prepared, sources: int, is_mirrored: bool) -> Tensor:
    """int64 [sources]: the first row of each picture as it is, or of its mirror image; the number of rows = there is none."""
    rows = (prepared.mirrored == is_mirrored).nonzero()[:, 0]
    none = torch.full((sources,), len(prepared.sources))
    return none.scatter_reduce(0, prepared.sources[rows], rows, "amin")


def _name_vector(prepared: Prepared, row: Tensor) -> Tensor:
    """Where a concept lies: between its name and the words that tell more about it."""
    first, count = prepared.captions[row, 0].tolist()
    vectors = caption_vectors(prepared, prepared.texts[first : first + count])
    return nn.functional.normalize(vectors[0] + vectors.mean(0), dim=0)


@dataclass(frozen=True, slots=True)
class _Picture:
    pixels: Pixels
    source: int
    captions: tuple[tuple[str, ...], tuple[str, ...]]
    is_mirrored: bool = False


def _pictures(data: Stickers) -> list[_Picture]:
    draw = random.Random(0)
    colourful = [source for source, item in enumerate(data.train) if item.colours and item.colours[0] in CHROMATIC]
    turns = {source: draw.sample(TURNS, TURNED_EACH) for source in colourful}
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        wanted = [(data.pixels[data.train[source].row], degrees) for source in colourful for degrees in turns[source]]
        changes = pool.map(_turned, wanted, chunksize=256)
    pictures = []
    for source, item in enumerate(data.train):
        pixels, both = data.pixels[item.row], (captions(data, item, "en"), captions(data, item, "zh"))
        pictures.append(_Picture(pixels, source, both))
        if item.can_flip:
            pictures.append(_Picture(np.ascontiguousarray(pixels[:, ::-1]), source, both, is_mirrored=True))
        if source in turns:
            for changed, colours in islice(changes, TURNED_EACH):
                if colours and colours[0] in CHROMATIC and colours[0] != item.colours[0]:
                    both = (captions(data, item, "en", colours[0]), captions(data, item, "zh", colours[0]))
                    pictures.append(_Picture(changed, source, both))
    return pictures


def _turned(wanted: tuple[Pixels, float]) -> tuple[Pixels, tuple[str, ...]]:
    """A turned picture and its main colours."""
    changed = turned(*wanted)
    return changed, main_colours(changed)


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
    """A picture, its mirror image and its turned ones together count little more than one; large styles are held back, and
    concepts drawn in many styles come more often.
    """
    pictures = Counter(item.row for item in items)
    styles = Counter(item.style for item in items)
    drawn_in = Counter(concept for concept, _ in {(item.concept, item.style) for item in items})
    mean = len(items) / len(styles)
    return torch.tensor(
        [
            pictures[item.row] ** -0.7 * (styles[item.style] / mean) ** -BALANCE * drawn_in[item.concept] ** FAMILIAR
            for item in items
        ]
    )


def draw_captions(prepared: Prepared, rows: Tensor, chinese: float) -> Tensor:
    """One caption drawn for each picture [rows], Chinese with that probability where there is one."""
    both = prepared.captions[rows]
    chances = torch.rand(3, len(rows), device=rows.device)
    language = ((chances[0] < chinese) & (both[:, 1, 1] > 0)).long()
    first, count = both[torch.arange(len(rows), device=rows.device), language].unbind(1)
    # The first ones are the plain name and the style: half of all draws are among the first two.
    span = torch.where(chances[1] < 0.5, count.clamp(max=2), count)
    return prepared.texts[first + (chances[2] * span).long()]


def caption_tokens(prepared: Prepared, captions: Tensor) -> Tensor:
    """float32 [captions, 16, 384], zeros after the end."""
    start, end = prepared.ends[captions], prepared.ends[captions + 1]
    places = start[:, None] + torch.arange(MAX_TOKENS, device=captions.device)
    inside = places < end[:, None]
    return prepared.tokens[places.clamp(max=len(prepared.tokens) - 1)].float() * inside[..., None]


def caption_vectors(prepared: Prepared, captions: Tensor) -> Tensor:
    """Sentence vectors [captions, 384]."""
    return sentence_vectors(caption_tokens(prepared, captions))
