"""What the starter image model is told: a prompt in English or Chinese, and a style, as tensors.

    tokens [n, 16, 384]: MiniLM's states of the words, or the Chinese encoder's of the characters; zeros after the end
    pooled [n, 384 + styles]: their sentence vector (length 1), and a one for the style

An empty prompt and no style are all zeros: that is what the model was shown when nothing was said (classifier-free guidance,
Ho and Salimans 2022, arXiv:2207.12598). Knows texts; knows no image.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.image.chinese import ChineseEncoder

MAX_TOKENS = 16
_CHINESE = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")


class WordEncoder(Protocol):
    """What turns English texts into states: engine.text.encoder.TextEncoder."""

    @property
    def width(self) -> int:
        """Of a word's state."""

    def states(self, texts: Sequence[str], max_tokens: int, *, together: bool = False) -> Tensor:
        """float32 [texts, max_tokens, width]; zeros after the end. `together`: faster for many, not the same to the last bit."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt; `style` is a name that the model knows, or None."""

    text: str
    style: str | None


class PromptEncoder:
    """Both encoders behind one call."""

    def __init__(self, english: WordEncoder, chinese: ChineseEncoder, styles: Sequence[str]) -> None:
        self._english = english
        self._chinese = chinese.eval()
        self._styles = {style: number for number, style in enumerate(styles)}

    def __call__(self, prompts: Sequence[Prompt]) -> tuple[Tensor, Tensor]:
        """(tokens, pooled) as in the module's docstring."""
        tokens, vectors = self.texts([prompt.text for prompt in prompts])
        styles = torch.zeros(len(prompts), len(self._styles))
        for row, prompt in enumerate(prompts):
            if prompt.style is not None:
                styles[row, self._styles[prompt.style]] = 1
        return tokens, torch.cat([vectors, styles], 1)

    def texts(self, texts: Sequence[str], *, together: bool = False) -> tuple[Tensor, Tensor]:
        """(tokens [n, 16, 384], sentence vectors [n, 384]) of texts without a style; `together` as in WordEncoder."""
        tokens = torch.zeros(len(texts), MAX_TOKENS, self._english.width)
        chinese = [row for row, text in enumerate(texts) if is_chinese(text)]
        english = [row for row, text in enumerate(texts) if text.strip() and not is_chinese(text)]
        with torch.inference_mode():
            if english:
                tokens[english] = self._english.states([texts[row] for row in english], MAX_TOKENS, together=together)
            if chinese:
                tokens[chinese] = self._chinese(self._chinese.rows([texts[row] for row in chinese]))[0]
        return tokens, sentence_vectors(tokens)


def sentence_vectors(tokens: Tensor) -> Tensor:
    """The mean over each text's tokens, of length 1; zeros where there are none. [n, t, w] → [n, w]."""
    present = (tokens != 0).any(-1, keepdim=True).to(tokens.dtype)
    return F.normalize(tokens.sum(1) / present.sum(1).clamp(min=1), dim=1)


def is_chinese(text: str) -> bool:
    """Whether there is a Chinese character in it."""
    return _CHINESE.search(text) is not None
