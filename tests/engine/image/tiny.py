"""A tiny starter image model with random weights, on disk as the real one is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch

from engine.image.autoencoder import StickerAutoencoder
from engine.image.chinese import ChineseEncoder
from engine.image.examples import DIRECTIONS, FILE, Examples, packed
from engine.image.sticker import STYLES
from engine.image.transformer import StickerTransformer
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


def tiny_examples(pictures: int = 8) -> Examples:
    """Random pictures, two of each name, one in each style."""
    draw = torch.Generator().manual_seed(0)
    directions = torch.linalg.qr(torch.randn(384, DIRECTIONS, generator=draw))[0]
    names = torch.nn.functional.normalize(torch.randn(pictures // 2, DIRECTIONS, generator=draw), dim=1)
    codes, levels = packed(torch.randn(pictures, 16, 8, 8, generator=draw))
    rows = torch.arange(pictures, dtype=torch.int32)
    return Examples((names * 127).round().to(torch.int8), directions.half(), rows // 2, rows % 2, codes, levels)


def write_model(folder: Path, *, knows_guidance: bool = False) -> Path:
    """Write it to `folder`; the same weights every time. `knows_guidance`: it is told of it as a distilled one is."""
    torch.manual_seed(0)
    transformer = StickerTransformer(
        sample_size=8,
        patch_size=1,
        in_channels=16,
        out_channels=16,
        num_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        caption_projection_dim=32,
        joint_attention_dim=384,
        pooled_projection_dim=384 + len(STYLE_NAMES) + knows_guidance,
        pos_embed_max_size=16,
        qk_norm="rms_norm",
    )
    transformer.save_pretrained(folder / "transformer")
    StickerAutoencoder(block_out_channels=(8, 16, 16, 32)).save_pretrained(folder / "vae")
    StickerUpscaler(width=8, depth=1).save_pretrained(folder / "upscaler")
    ChineseEncoder("红苹果", depth=1).save_pretrained(folder / "chinese")
    tiny_examples().save(folder / FILE)
    (folder / STYLES).write_text(json.dumps(STYLE_NAMES), encoding="utf-8")
    return folder
