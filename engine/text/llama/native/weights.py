"""All weights of a model as step.c computes them, and their file. What 4 bits do not hold without loss gets 8.

Knows tensors and their file; computes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from engine.text.llama.blocks import LINEARS
from engine.text.llama.config import LlamaConfig
from engine.text.llama.native.tiles import GROUP, TILE, Tiles, pack4, pack8, tile_bytes
from engine.text.llama.weights import LlamaWeights, linear_sizes

NORMS = ("attention_norm", "mlp_norm")


@dataclass(frozen=True, slots=True)
class NativeLayer:
    """One block, as engine.text.llama.blocks.Layer has it."""

    attention_norm: torch.Tensor
    mlp_norm: torch.Tensor
    qkv: Tiles
    attention_out: Tiles
    gate_up: Tiles
    down: Tiles


@dataclass(frozen=True, slots=True)
class NativeWeights:
    """All of a model. A tied head is the embedding itself."""

    embedding: Tiles
    layers: tuple[NativeLayer, ...]
    norm: torch.Tensor
    head: Tiles

    @property
    def bits(self) -> int:
        """Of its smallest weights."""
        linears: list[Tiles] = [getattr(layer, name) for layer in self.layers for name in LINEARS]
        return min(tiles.bits for tiles in linears)

    @property
    def nbytes(self) -> int:
        """Memory of all tensors, each counted once."""
        return sum({id(tensor): tensor.nbytes for _, tensor in self.tensors()}.values())

    def tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Names and tensors, as they lie in the file; a tied head is left out."""
        yield "embedding", self.embedding.data
        yield "norm", self.norm
        if self.head is not self.embedding:
            yield "head", self.head.data
        for number, layer in enumerate(self.layers):
            yield from ((f"{number}.{name}", getattr(layer, name)) for name in NORMS)
            yield from ((f"{number}.{name}", getattr(layer, name).data) for name in LINEARS)


def can_pack(config: LlamaConfig) -> bool:
    """Whether the sizes of a model are whole groups and tiles."""
    inputs = (config.hidden, config.intermediate, config.heads * config.head_dim)
    return not any(size % GROUP for size in inputs) and not config.head_dim % TILE


def pack(weights: LlamaWeights) -> NativeWeights:
    """Pack a model for which `can_pack` holds."""
    layers = []
    for layer in weights.layers:
        packed = {name: pack4(getattr(layer, name)) or pack8(getattr(layer, name)) for name in LINEARS}
        layers.append(NativeLayer(attention_norm=layer.attention_norm, mlp_norm=layer.mlp_norm, **packed))
    embedding = pack8(weights.embedding)
    head = embedding if weights.head is weights.embedding else pack8(weights.head)
    return NativeWeights(embedding, tuple(layers), weights.norm, head)


def save(weights: NativeWeights, path: Path) -> None:
    """Write the file."""
    save_file({name: tensor.contiguous() for name, tensor in weights.tensors()}, path)


def load(path: Path, config: LlamaConfig) -> NativeWeights:
    """Read the file. Raises SafetensorError, OSError, or ValueError when it does not fit the config."""
    file: Any = safe_open(path, framework="pt")

    def tensor(name: str, *shape: int) -> torch.Tensor:
        found: torch.Tensor = file.get_tensor(name)
        if tuple(found.shape) != shape or found.dtype != torch.float32:
            raise ValueError(f"{name} does not fit the model")
        return found.clone()  # off the file, so that vectors lie within lines of the cache

    def tiles(name: str, inputs: int, outputs: int) -> Tiles:
        data: torch.Tensor = file.get_tensor(name)
        bits = {tile_bytes(inputs, bits): bits for bits in (4, 8)}.get(data.shape[-1])
        if bits is None or data.dtype != torch.uint8 or len(data) != -(-outputs // TILE):
            raise ValueError(f"{name} does not fit the model")
        return Tiles(data.clone(), outputs, inputs, bits)

    sizes = linear_sizes(config)
    layers = [
        NativeLayer(
            tensor(f"{number}.attention_norm", config.hidden),
            tensor(f"{number}.mlp_norm", config.hidden),
            **{name: tiles(f"{number}.{name}", *size) for name, size in zip(LINEARS, sizes, strict=True)},
        )
        for number in range(config.layers)
    ]
    embedding = tiles("embedding", config.hidden, config.vocabulary)
    head = embedding if config.is_tied else tiles("head", config.hidden, config.vocabulary)
    return NativeWeights(embedding, tuple(layers), tensor("norm", config.hidden), head)
