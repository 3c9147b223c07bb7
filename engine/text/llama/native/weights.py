"""All weights of a model as step.c computes them, and their file. What 4 bits do not hold without loss gets 8.

Knows arrays and their file; computes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from engine.arrays import Floats
from engine.text.llama.config import LINEARS, LlamaConfig, linear_sizes
from engine.text.llama.native.tiles import GROUP, TILE, Tiles, aligned, pack4, pack8, tile_bytes

if TYPE_CHECKING:
    from engine.text.llama.weights import LlamaWeights

Array: TypeAlias = "NDArray[np.uint8] | Floats"

NORMS = ("attention_norm", "mlp_norm")


@dataclass(frozen=True, slots=True)
class NativeLayer:
    """One block, as engine.text.llama.blocks.Layer has it."""

    attention_norm: Floats
    mlp_norm: Floats
    qkv: Tiles
    attention_out: Tiles
    gate_up: Tiles
    down: Tiles


@dataclass(frozen=True, slots=True)
class NativeWeights:
    """All of a model. A tied head is the embedding itself."""

    embedding: Tiles
    layers: tuple[NativeLayer, ...]
    norm: Floats
    head: Tiles

    @property
    def bits(self) -> int:
        """Of its smallest weights."""
        linears: list[Tiles] = [getattr(layer, name) for layer in self.layers for name in LINEARS]
        return min(tiles.bits for tiles in linears)

    @property
    def nbytes(self) -> int:
        """Memory of all of them, each counted once."""
        return sum(int(array.nbytes) for _, array in self.arrays())

    def arrays(self) -> Iterator[tuple[str, Array]]:
        """Names and arrays, as they lie in the file; a tied head is left out."""
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
        linears = {name: getattr(layer, name).numpy() for name in LINEARS}
        packed = {name: pack4(weight) or pack8(weight) for name, weight in linears.items()}
        layers.append(NativeLayer(layer.attention_norm.numpy(), layer.mlp_norm.numpy(), **packed))
    embedding = pack8(weights.embedding.numpy())
    head = embedding if weights.head is weights.embedding else pack8(weights.head.numpy())
    return NativeWeights(embedding, tuple(layers), weights.norm.numpy(), head)


def save(weights: NativeWeights, path: Path) -> None:
    """Write the file."""
    save_file({name: np.ascontiguousarray(array) for name, array in weights.arrays()}, path)


def load(path: Path, config: LlamaConfig) -> NativeWeights:
    """Read the file. Raises SafetensorError, OSError, or ValueError when it does not fit the config."""
    file: Any = safe_open(path, framework="np")

    def norm(name: str) -> Floats:
        found: Floats = file.get_tensor(name)
        if found.shape != (config.hidden,) or found.dtype != np.float32:
            raise ValueError(f"{name} does not fit the model")
        return found

    def tiles(name: str, inputs: int, outputs: int) -> Tiles:
        data: NDArray[np.uint8] = file.get_tensor(name)
        bits = {tile_bytes(inputs, bits): bits for bits in (4, 8)}.get(data.shape[-1])
        if bits is None or data.dtype != np.uint8 or len(data) != -(-outputs // TILE):
            raise ValueError(f"{name} does not fit the model")
        return Tiles(aligned(data), outputs, inputs, bits)

    sizes = linear_sizes(config)
    layers = [
        NativeLayer(
            norm(f"{number}.attention_norm"),
            norm(f"{number}.mlp_norm"),
            **{name: tiles(f"{number}.{name}", *size) for name, size in zip(LINEARS, sizes, strict=True)},
        )
        for number in range(config.layers)
    ]
    embedding = tiles("embedding", config.hidden, config.vocabulary)
    head = embedding if config.is_tied else tiles("head", config.hidden, config.vocabulary)
    return NativeWeights(embedding, tuple(layers), norm("norm"), head)
