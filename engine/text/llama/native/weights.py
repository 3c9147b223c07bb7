"""All weights of a model as step.c computes them, and their file. What 4 bits do not hold without loss gets 8.

Knows arrays and their file; computes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from engine.arrays import Floats
from engine.text.llama.config import LINEARS, LlamaConfig, linear_sizes
from engine.text.llama.grid import GROUP
from engine.text.llama.native.tiles import TILE, Tiles, aligned, pack4, pack8, tile_bytes

if TYPE_CHECKING:
    from engine.text.llama.weights import LlamaWeights

Array: TypeAlias = "NDArray[np.uint8] | Floats"

NORMS = ("attention_norm", "mlp_norm")
EXTRAS = ("qkv_bias", "query_norm", "key_norm")
"""What only some kinds of models have."""
SMALL = (*NORMS, *EXTRAS)


@dataclass(frozen=True, slots=True)
class NativeLayer:
    """One block, as engine.text.llama.blocks.Layer has it."""

    attention_norm: Floats
    mlp_norm: Floats
    qkv: Tiles
    attention_out: Tiles
    gate_up: Tiles
    down: Tiles
    qkv_bias: Floats | None = None
    query_norm: Floats | None = None
    key_norm: Floats | None = None


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
            small = [(name, getattr(layer, name)) for name in SMALL]
            yield from ((f"{number}.{name}", array) for name, array in small if array is not None)
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
        small = {name: getattr(layer, name).numpy() for name in SMALL if getattr(layer, name) is not None}
        layers.append(_layer(small, packed))
    embedding = pack8(weights.embedding.numpy())
    head = embedding if weights.head is weights.embedding else pack8(weights.head.numpy())
    return NativeWeights(embedding, tuple(layers), weights.norm.numpy(), head)


def save(weights: NativeWeights, path: Path) -> None:
    """Write the file."""
    save_file({name: np.ascontiguousarray(array) for name, array in weights.arrays()}, path)


def load(path: Path, config: LlamaConfig) -> NativeWeights:
    """Read the file. Raises SafetensorError, OSError, or ValueError when it does not fit the config."""
    file: Any = safe_open(path, framework="np")

    def floats(name: str, size: int = config.hidden) -> Floats:
        found: Floats = file.get_tensor(name)
        if found.shape != (size,) or found.dtype != np.float32:
            raise ValueError(f"{name} does not fit the model")
        return found

    def tiles(name: str, inputs: int, outputs: int) -> Tiles:
        data: NDArray[np.uint8] = file.get_tensor(name)
        bits = {tile_bytes(inputs, bits): bits for bits in (4, 8)}.get(data.shape[-1])
        if bits is None or data.dtype != np.uint8 or len(data) != -(-outputs // TILE):
            raise ValueError(f"{name} does not fit the model")
        return Tiles(aligned(data), outputs, inputs, bits)

    sizes = linear_sizes(config)
    small = dict.fromkeys(NORMS, config.hidden)
    small |= {"qkv_bias": sizes[0][1]} if config.has_qkv_bias else {}
    small |= dict.fromkeys(("query_norm", "key_norm"), config.head_dim) if config.has_head_norms else {}
    layers = [
        _layer(
            {name: floats(f"{number}.{name}", size) for name, size in small.items()},
            {name: tiles(f"{number}.{name}", *size) for name, size in zip(LINEARS, sizes, strict=True)},
        )
        for number in range(config.layers)
    ]
    embedding = tiles("embedding", config.hidden, config.vocabulary)
    head = embedding if config.is_tied else tiles("head", config.hidden, config.vocabulary)
    return NativeWeights(embedding, tuple(layers), floats("norm"), head)


def _layer(small: Mapping[str, Floats], linears: Mapping[str, Tiles]) -> NativeLayer:
    parts: dict[str, Any] = {**small, **linears}
    return NativeLayer(**parts)
