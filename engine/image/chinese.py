"""Chinese prompts for the starter image model: characters → vectors that stand where MiniLM puts the English words.

A small transformer encoder over characters (Vaswani et al. 2017, arXiv:1706.03762), taught to meet the English sentence vector
of the same caption (Reimers and Gurevych 2020, arXiv:2004.09813). Characters it has never seen share one vector.
Knows texts and tensors; knows no image.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

PAD, UNKNOWN = 0, 1
"""The first two rows of the table of characters."""


class ChineseEncoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """See the module's docstring."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, characters: str, width: int = 384, depth: int = 2, max_characters: int = 16) -> None:
        """`characters` are those it knows, each once; `width` that of the English encoder."""
        super().__init__()
        self._rows = {character: row for row, character in enumerate(characters, start=2)}
        self._limit = max_characters
        self.table = nn.Embedding(len(characters) + 2, width, padding_idx=PAD)
        self.places = nn.Parameter(torch.randn(max_characters, width) * 0.02)
        layer = nn.TransformerEncoderLayer(width, 6, 2 * width, 0.1, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)

    def rows(self, texts: Sequence[str]) -> Tensor:
        """Row numbers of the texts' characters, int64 [texts, max_characters], cut or padded with PAD. Spaces are left out."""
        found = torch.full((len(texts), self._limit), PAD)
        for number, text in enumerate(texts):
            known = [self._rows.get(character, UNKNOWN) for character in text if not character.isspace()][: self._limit]
            found[number, : len(known)] = torch.tensor(known)
        return found

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(states [n, max_characters, width], zeros where there is no character; their mean [n, width])."""
        absent = rows == PAD
        absent[:, 0] = False  # attention over nothing has no value
        states = self.norm(self.layers(self.table(rows) + self.places, src_key_padding_mask=absent))
        present = (rows != PAD).unsqueeze(-1).to(states.dtype)
        states = states * present
        return states, states.sum(1) / present.sum(1).clamp(min=1)
