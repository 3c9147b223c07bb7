"""Weights in the order that step.c reads them: tiles of 16 outputs, groups of 32 inputs, 4 or 8 bits.

Knows arrays; knows no model and no file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.arrays import Floats
from engine.text.llama.grid import GROUP, grid_of

TILE: Final = 16
"""Outputs that are computed at once."""
SLAB: Final = 128 * TILE
"""Outputs that are packed at once: what that takes beside the weights stays small."""
_LINE: Final = 64


@dataclass(frozen=True, slots=True)
class Tiles:
    """A linear layer without bias."""

    data: NDArray[np.uint8]
    """[tiles, bytes of a tile]; step.c says what they are."""
    outputs: int
    inputs: int
    bits: int

    @property
    def nbytes(self) -> int:
        """Memory of it."""
        return int(self.data.nbytes)


def aligned(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same in memory that begins with a line of the cache, so that vectors lie within lines."""
    room = np.empty(data.nbytes + _LINE, np.uint8)
    start = -room.ctypes.data % _LINE
    found = room[start : start + data.nbytes].reshape(data.shape)
    found[...] = data
    return found


def tile_bytes(inputs: int, bits: int) -> int:
    """Bytes of a tile: levels, then a scale for each group and output, and with 4 bits a minimum too."""
    return inputs // GROUP * (TILE * GROUP * bits // 8 + TILE * (4 if bits == 4 else 2))


def pack4(weight: Floats) -> Tiles | None:
    """Weights [out, in] in 4 bits, or None when they do not lie on a grid of 16 values in each group.

    Nothing is lost but the rounding of the grid itself to half precision, which published formats have too.
    """
    outputs, inputs = weight.shape
    if inputs % GROUP or outputs % TILE:
        return None
    slabs = []
    for start in range(0, outputs, SLAB):
        slab = _slab4(weight[start : start + SLAB])
        if slab is None:
            return None
        slabs.append(slab)
    return Tiles(aligned(np.concatenate(slabs)), outputs, inputs, 4)


def pack8(weight: Floats) -> Tiles:
    """Weights [out, in] rounded to 8 bits; `in` is a multiple of GROUP, outputs are filled up to whole tiles."""
    outputs, inputs = weight.shape
    slabs = [_slab8(weight[start : start + SLAB]) for start in range(0, outputs, SLAB)]
    return Tiles(aligned(np.concatenate(slabs)), outputs, inputs, 8)


def _slab4(weight: Floats) -> NDArray[np.uint8] | None:
    outputs, inputs = weight.shape
    grid = grid_of(weight)
    if grid is None:
        return None
    tiles, count = outputs // TILE, inputs // GROUP
    # [tile, output, group, half, four, place] → [tile, group, half, four, output, place]
    ordered = grid.levels.reshape(tiles, TILE, count, 2, 4, 4).transpose(0, 2, 3, 4, 1, 5)
    packed = (ordered[:, :, 0] | ordered[:, :, 1] << 4).reshape(tiles, -1)
    pairs = np.concatenate([_by_tile(grid.scale, tiles, count), _by_tile(grid.low, tiles, count)], -1)
    return np.concatenate([packed, pairs.view(np.uint8).reshape(tiles, -1)], 1)


def _slab8(weight: Floats) -> NDArray[np.uint8]:
    outputs, inputs = weight.shape
    weight = np.pad(weight, ((0, -outputs % TILE), (0, 0)))
    tiles, count = len(weight) // TILE, inputs // GROUP
    groups = weight.reshape(-1, count, GROUP)
    scale = np.abs(groups).max(-1, keepdims=True) / np.float32(127)
    levels = np.rint(groups / np.maximum(scale, np.float32(1e-12))).clip(-127, 127) + 128
    packed = levels.astype(np.uint8).reshape(tiles, TILE, count, 8, 4).transpose(0, 2, 3, 1, 4).reshape(tiles, -1)
    scales = _by_tile(scale, tiles, count).view(np.uint8).reshape(tiles, -1)
    return np.concatenate([packed, scales], 1)


def unpacked(tiles: Tiles) -> Floats:
    """The weights that they stand for: [out, in]."""
    count, number = tiles.inputs // GROUP, len(tiles.data)
    size = count * (256 if tiles.bits == 4 else 512)
    raw = tiles.data[:, :size]
    rest = np.ascontiguousarray(tiles.data[:, size:]).view(np.float16).astype(np.float32)
    if tiles.bits == 4:
        both = raw.reshape(number, count, 1, 4, TILE, 4)
        levels = np.concatenate([both & 15, both >> 4], 2).transpose(0, 4, 1, 2, 3, 5).reshape(-1, count, GROUP)
        grid = rest.reshape(number, count, 2, TILE).transpose(0, 3, 1, 2).reshape(-1, count, 2)
        weight = levels.astype(np.float32) * grid[..., :1] + grid[..., 1:]
    else:
        levels = raw.reshape(number, count, 8, TILE, 4).transpose(0, 3, 1, 2, 4).reshape(-1, count, GROUP)
        scale = rest.reshape(number, count, TILE).transpose(0, 2, 1).reshape(-1, count, 1)
        weight = (levels.astype(np.float32) - 128) * scale
    return weight.reshape(-1, tiles.inputs)[: tiles.outputs]


def _by_tile(values: Floats, tiles: int, count: int) -> NDArray[np.float16]:
    """[out, groups, 1] → half precision [tiles, groups, 16]."""
    return np.ascontiguousarray(values.astype(np.float16).reshape(tiles, TILE, count).transpose(0, 2, 1))
