"""What a transformer is told of the pictures that it learns from: a caption, a style, and examples in other styles.

Knows prepared pictures; knows no transformer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from engine.image import examples
from engine.image.examples import Examples
from engine.image.prompts import sentence_vectors
from engine.training.recipes.stickers.prepared import Prepared, caption_tokens, draw_captions

CHINESE: Final = 0.25
"""Share of the captions that are Chinese, where there are such."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """How often something is not said; without a text there are no examples either."""

    text: float
    style: float
    examples: float


class Conditions:
    """See the module's docstring. Everything lies and is drawn on the device: a GPU must not wait for it."""

    def __init__(self, prepared: Prepared, shown: tuple[Examples, Tensor], styles: int, device: torch.device) -> None:
        """`shown`: as prepared.choose_examples says; `styles`: how many there are."""
        self.styles = styles
        self._prepared = prepared.to(device)
        self._examples, self._example_rows = shown[0].to(device), shown[1].to(device)

    def rows(self, count: int) -> Tensor:
        """Pictures drawn by their weights."""
        return torch.multinomial(self._prepared.weights, count, replacement=True)

    def latents(self, rows: Tensor) -> Tensor:
        """float32 [rows, 16, 8, 8]."""
        return self._prepared.latents[rows].float()

    def said(self, rows: Tensor, left_out: LeftOut) -> tuple[Tensor, Tensor]:
        """Tokens and pooled vectors with examples, as StickerTransformer takes them."""
        captions = draw_captions(self._prepared, rows, CHINESE)
        tokens = caption_tokens(self._prepared, captions)
        beside = self._beside(rows, sentence_vectors(tokens))
        has_text = self._chances(rows) >= left_out.text
        tokens = tokens * has_text[:, None, None]
        styles = nn.functional.one_hot(self._prepared.styles[rows], self.styles).float()
        styles = styles * (self._chances(rows) >= left_out.style)[:, None]
        has_examples = has_text & (self._chances(rows) >= left_out.examples)
        return tokens, torch.cat([sentence_vectors(tokens), styles, beside * has_examples[:, None]], 1)

    def _beside(self, rows: Tensor, vectors: Tensor) -> Tensor:
        """Examples [rows, WIDTH] for captions of these vectors, none in the picture's own style; mirrored when the picture is."""
        pictures, likeness = self._examples.nearest(vectors)
        own_style = self._examples.styles[pictures] == self._prepared.styles[rows][:, None]
        likeness = likeness.masked_fill(own_style, -torch.inf)
        chosen, near = examples.drawn(pictures, likeness, torch.randn_like(likeness))
        mirrored = self._prepared.latents[self._example_rows[chosen, 1]].float()
        is_mirrored = self._prepared.mirrored[rows].view(-1, 1, 1, 1, 1)
        return examples.placed(torch.where(is_mirrored, mirrored, self._examples.latents(chosen)), near)

    @staticmethod
    def _chances(rows: Tensor) -> Tensor:
        """0 … 1 for each row."""
        return torch.rand(len(rows), device=rows.device)
