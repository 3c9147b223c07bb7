"""English captions as MiniLM's states, all of them on the training's device: hundreds of thousands take seconds on a GPU.

The studio's own encoder (engine/text/encoder.py) says the same of one text at a time on one core.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

BATCH: Final = 512


class Words:
    """An engine.image.prompts.WordEncoder."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        """`folder`: a BERT encoder's."""
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._model = AutoModel.from_pretrained(folder, dtype=torch.float32).to(device).eval()

    @property
    def width(self) -> int:
        """Of a word's state."""
        return int(self._model.config.hidden_size)

    @torch.inference_mode()
    def states(self, texts: Sequence[str], max_tokens: int, *, together: bool = False) -> Tensor:
        """float32 [texts, max_tokens, width]; zeros after the end. They are always computed together."""
        found = torch.zeros(len(texts), max_tokens, self.width)
        for start in range(0, len(texts), BATCH):
            part = list(texts[start : start + BATCH])
            ids = [one[:max_tokens] for one in self._tokenizer(part)["input_ids"]]
            words = self._tokenizer.pad({"input_ids": ids}, return_tensors="pt").to(self._model.device)
            said = self._model(**words).last_hidden_state * words["attention_mask"][..., None]
            found[start : start + BATCH, : said.shape[1]] = said.cpu()
        return found
