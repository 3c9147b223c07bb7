"""A Llama model's float32 weights from its folder, fused as they are computed.

Knows files and shapes; computes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import torch

from engine.text.llama.blocks import Layer
from engine.text.llama.config import LINEARS, LlamaConfig, linear_places
from engine.text.llama.packed import Weight
from engine.text.tensors import TensorReader


@dataclass(frozen=True, slots=True)
class LlamaWeights:
    """All of a model in float32. A tied head is the embedding itself."""

    embedding: torch.Tensor
    layers: tuple[Layer, ...]
    norm: torch.Tensor
    head: torch.Tensor

    @property
    def nbytes(self) -> int:
        """Memory of all tensors, each counted once."""
        tensors = {id(tensor): tensor.nbytes for tensor in (self.embedding, self.norm, self.head)}
        return sum(tensors.values()) + sum(layer_bytes(layer) for layer in self.layers)


def read_weights(folder: Path, config: LlamaConfig) -> LlamaWeights:
    """Read a checked folder. Raises SafetensorError, OSError, or ValueError when the weights do not fit the config."""
    read = TensorReader(folder)
    embedding = read("model.embed_tokens.weight", config.vocabulary, config.hidden)
    return LlamaWeights(
        embedding,
        tuple(_layer(read, number, config) for number in range(config.layers)),
        read("model.norm.weight", config.hidden),
        embedding if config.is_tied else read("lm_head.weight", config.vocabulary, config.hidden),
    )


def layer_bytes(layer: Layer) -> int:
    """Memory of a block's weights."""
    weights: list[Weight | bool | None] = [getattr(layer, part.name) for part in fields(layer)]
    return sum(weight.nbytes for weight in weights if weight is not None and not isinstance(weight, bool))


def _layer(read: TensorReader, number: int, config: LlamaConfig) -> Layer:
    """A block's weights, fused as `linear_places` says."""
    prefix = f"model.layers.{number}."
    parts = [[read(f"{name}.weight", out, width) for name, out in modules] for modules, width in linear_places(number, config)]
    fused = dict(zip(LINEARS, (torch.cat(part) if len(part) > 1 else part[0] for part in parts), strict=True))
    attention = f"{prefix}self_attn."
    biases = [read(f"{name}.bias", out) for name, out in linear_places(number, config)[0][0]] if config.has_qkv_bias else []
    norms = [read(f"{attention}{name}_norm.weight", config.head_dim) for name in ("q", "k")] if config.has_head_norms else []
    return Layer(
        is_turned=number not in config.unturned,
        qkv_bias=torch.cat(biases) if biases else None,
        query_norm=norms[0] if norms else None,
        key_norm=norms[1] if norms else None,
        attention_norm=read(f"{prefix}input_layernorm.weight", config.hidden),
        mlp_norm=read(f"{prefix}post_attention_layernorm.weight", config.hidden),
        **fused,
    )
