"""Linear layers in 4 and 8 bits, as torch's own CPU kernels take them, and how weights are brought into that form.

Only weights that lie on a grid (engine/text/llama/grid.py) are packed in 4 bits: then nothing is lost but the rounding of the
grid itself to bfloat16. Each row of a product is computed alone, whatever rows are beside it. Knows tensors; knows no model and
no file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.nn.functional as F

from engine.text.llama.grid import GROUP, grid_of


@dataclass(frozen=True, slots=True)
class _Packed:
    weight: torch.Tensor
    scales: torch.Tensor

    @property
    def nbytes(self) -> int:
        """Memory of both."""
        return self.weight.nbytes + self.scales.nbytes


class Packed4(_Packed):
    """Weights of 4 bits, uint8 in the order that this CPU's kernel reads; each group has a scale and a zero point,
    bfloat16 [in / 32, out, 2].
    """

    __slots__ = ()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """x [rows, in] → float32 [rows, out], by way of bfloat16."""
        y: torch.Tensor = torch.ops.aten._weight_int4pack_mm_for_cpu(x.bfloat16(), self.weight, GROUP, self.scales)
        return y.float()


class Packed8(_Packed):
    """Weights of 8 bits, int8 [out, in]; each output has a scale, bfloat16 [out]."""

    __slots__ = ()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """x [rows, in] → float32 [rows, out], by way of bfloat16."""
        y: torch.Tensor = torch.ops.aten._weight_int8pack_mm(x.bfloat16(), self.weight, self.scales)
        return y.float()


Weight: TypeAlias = torch.Tensor | Packed4 | Packed8
"""A linear layer without bias; as a tensor, float32 [out, in]."""


def apply(weight: Weight, x: torch.Tensor) -> torch.Tensor:
    """x [rows, in] through the layer: float32 [rows, out]."""
    return F.linear(x, weight) if isinstance(weight, torch.Tensor) else weight(x)


def pack4(weight: torch.Tensor) -> Packed4 | None:
    """Weights [out, in] in 4 bits, or None when they do not lie on a grid of 16 values in each group."""
    out, width = weight.shape
    if width % GROUP or out % 16:  # the kernel's own limits
        return None
    grid = grid_of(weight.float().numpy())
    if grid is None:
        return None
    levels, scale, low = (torch.from_numpy(part) for part in (grid.levels, grid.scale, grid.low))
    packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(levels.to(torch.int32).view(out, width).contiguous(), 1)
    # The kernel computes (level - 8) x scale + zero point.
    pairs = torch.cat([scale, low + 8 * scale], -1)
    return Packed4(packed, pairs.transpose(0, 1).contiguous().bfloat16())


def pack8(weight: torch.Tensor) -> Packed8:
    """Weights [out, in] rounded to 8 bits."""
    weight = weight.float()
    scales = (weight.abs().amax(1) / 127).clamp_min(1e-9).bfloat16()
    levels = (weight / scales.float()[:, None]).round().clamp(-127, 127)
    return Packed8(levels.to(torch.int8), scales)
