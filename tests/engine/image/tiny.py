"""A tiny starter image model with random weights, on disk as the real one is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import SD3Transformer2DModel

from engine.image.autoencoder import StickerAutoencoder
from engine.image.chinese import ChineseEncoder
from engine.image.sticker import STYLES
from engine.image.upscaler import StickerUpscaler

STYLE_NAMES = ("flat", "line")


class Words:
    """Stands in for MiniLM: every word has a vector of its own."""

    width = 384

    def states(self, texts: Sequence[str], max_tokens: int, *, together: bool = False) -> torch.Tensor:
        found = torch.zeros(len(texts), max_tokens, self.width)
        for row, text in enumerate(texts):
            for place, word in enumerate(text.split()[:max_tokens]):
                seed = sum(map(ord, word))
                found[row, place] = torch.randn(self.width, generator=torch.Generator().manual_seed(seed))
        return found


def write_model(folder: Path) -> Path:
    """Write it to `folder`; the same weights every time."""
    torch.manual_seed(0)
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=1,
        in_channels=16,
        out_channels=16,
        num_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        caption_projection_dim=32,
        joint_attention_dim=384,
        pooled_projection_dim=384 + len(STYLE_NAMES),
        pos_embed_max_size=16,
        qk_norm="rms_norm",
    )
    transformer.save_pretrained(folder / "transformer")
    StickerAutoencoder(block_out_channels=(8, 16, 16, 32)).save_pretrained(folder / "vae")
    StickerUpscaler(width=8, depth=1).save_pretrained(folder / "upscaler")
    ChineseEncoder("红苹果", depth=1).save_pretrained(folder / "chinese")
    (folder / STYLES).write_text(json.dumps(STYLE_NAMES), encoding="utf-8")
    return folder
