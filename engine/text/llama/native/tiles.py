"""Weights in the order that step.c reads them: tiles of 16 outputs, groups of 32 inputs, 4 or 8 bits.

Knows tensors; knows no model and no file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F

GROUP: Final = 32
"""Weights of one output that share a scale."""
TILE: Final = 16
"""Outputs that are computed at once."""
_LEVELS: Final = 15
_TOLERANCE: Final = 2.0**-7
"""How far a weight may lie from its grid, as a share of the largest weight of its group: twice bfloat16's rounding."""


@dataclass(frozen=True, slots=True)
class Tiles:
    """A linear layer without bias."""

    data: torch.Tensor
    """uint8 [tiles, bytes of a tile]; step.c says what they are."""
    outputs: int
    inputs: int
    bits: int

    @property
    def nbytes(self) -> int:
        """Memory of it."""
        return self.data.nbytes


def tile_bytes(inputs: int, bits: int) -> int:
    """Bytes of a tile: levels, then a scale for each group and output, and with 4 bits a minimum too."""
    return inputs // GROUP * (TILE * GROUP * bits // 8 + TILE * (4 if bits == 4 else 2))


def pack4(weight: torch.Tensor) -> Tiles | None:
    """Weights [out, in] in 4 bits, or None when they do not lie on a grid of 16 values in each group.

    Published 4-bit weights (GGUF's Q4_0 and Q4_1) do, however they were unpacked since: nothing is lost but the rounding of
    the grid itself to half precision, which those formats have too.
    """
    outputs, inputs = weight.shape
    if inputs % GROUP or outputs % TILE:
        return None
    groups = weight.float().view(outputs, inputs // GROUP, GROUP)
    low, high = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
    scale = (high - low) / _LEVELS
    levels = ((groups - low) / scale.clamp_min(1e-12)).round()
    far = (levels * scale + low - groups).abs().amax(-1)
    if bool((far > _TOLERANCE * groups.abs().amax(-1)).any()):
        return None
    tiles, count = outputs // TILE, inputs // GROUP
    # [tile, output, group, half, four, place] → [tile, group, half, four, output, place]
    ordered = levels.to(torch.uint8).view(tiles, TILE, count, 2, 4, 4).permute(0, 2, 3, 4, 1, 5)
    packed = (ordered[:, :, 0] | ordered[:, :, 1] << 4).reshape(tiles, -1)
    grid = torch.cat([_by_tile(scale, tiles, count), _by_tile(low, tiles, count)], -1)
    return Tiles(torch.cat([packed, grid.view(torch.uint8).reshape(tiles, -1)], 1), outputs, inputs, 4)


def pack8(weight: torch.Tensor) -> Tiles:
    """Weights [out, in] rounded to 8 bits; `in` is a multiple of GROUP, outputs are filled up to whole tiles."""
    outputs, inputs = weight.shape
    weight = F.pad(weight.float(), (0, 0, 0, -outputs % TILE))
    tiles, count = len(weight) // TILE, inputs // GROUP
    groups = weight.view(-1, count, GROUP)
    scale = groups.abs().amax(-1, keepdim=True) / 127
    levels = (groups / scale.clamp_min(1e-12)).round().clamp(-127, 127) + 128
    packed = levels.to(torch.uint8).view(tiles, TILE, count, 8, 4).permute(0, 2, 3, 1, 4).reshape(tiles, -1)
    scales = _by_tile(scale, tiles, count)
    return Tiles(torch.cat([packed, scales.view(torch.uint8).reshape(tiles, -1)], 1), outputs, inputs, 8)


def unpacked(tiles: Tiles) -> torch.Tensor:
    """The weights that they stand for: float32 [out, in]."""
    count, number = tiles.inputs // GROUP, len(tiles.data)
    size = count * (256 if tiles.bits == 4 else 512)
    raw, rest = tiles.data[:, :size], tiles.data[:, size:].clone().view(torch.float16).float()
    if tiles.bits == 4:
        both = raw.view(number, count, 1, 4, TILE, 4)
        levels = torch.cat([both & 15, both >> 4], 2).permute(0, 4, 1, 2, 3, 5).reshape(-1, count, GROUP)
        grid = rest.view(number, count, 2, TILE).permute(0, 3, 1, 2).reshape(-1, count, 2)
        weight = levels.float() * grid[..., :1] + grid[..., 1:]
    else:
        levels = raw.view(number, count, 8, TILE, 4).permute(0, 3, 1, 2, 4).reshape(-1, count, GROUP)
        scale = rest.view(number, count, TILE).permute(0, 2, 1).reshape(-1, count, 1)
        weight = (levels.float() - 128) * scale
    return weight.view(-1, tiles.inputs)[: tiles.outputs]


def _by_tile(values: torch.Tensor, tiles: int, count: int) -> torch.Tensor:
    """[out, groups, 1] → half precision [tiles, groups, 16]."""
    return values.half().view(tiles, TILE, count).permute(0, 2, 1).contiguous()
