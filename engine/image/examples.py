"""Drawn examples that the starter image model looks at while it draws: known pictures of what the prompt may mean.

A small model cannot remember ten thousand things, so it does not have to: for each prompt the nearest names are looked up, and
pictures of them in other styles stand beside the noise (retrieval-augmented diffusion: Blattmann et al. 2022, arXiv:2204.11824;
Sheynin et al. 2022, arXiv:2204.02849). What is looked up depends on the seed as the noise does. Pictures are kept as latents,
four bits a number; names as sentence vectors in fewer directions. Knows sentence vectors and latents; knows no pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

FILE: Final = "examples.safetensors"
SHOWN: Final = 4
"""Examples beside the noise."""
POOL: Final = 24
"""Nearest pictures that these are drawn from."""
JITTER: Final = 0.05
"""Standard deviation of what chance adds to a likeness: near names take turns, far ones stay away."""
LATENTS: Final = (16, 8, 8)
PLANES: Final = SHOWN * (LATENTS[0] + 1)
"""Channels of one prompt's examples: of each its latents, and a plane that says how near its name is to the prompt."""
WIDTH: Final = PLANES * LATENTS[1] * LATENTS[2]
"""Numbers of one prompt's examples."""
DIRECTIONS: Final = 128
LEVELS: Final = 16


@dataclass(frozen=True, slots=True)
class Examples:
    """The pictures and their names. Rows of `concepts`, `styles` and `codes` belong together."""

    names: Tensor
    """int8 [concepts, DIRECTIONS], 127 for 1.0: the sentence vector of each concept along `directions`."""
    directions: Tensor
    """float16 [384, DIRECTIONS], orthonormal."""
    concepts: Tensor
    """int32 [pictures]: rows of `names`."""
    styles: Tensor
    """int32 [pictures]: numbers of styles."""
    codes: Tensor
    """uint8 [pictures, 512]: two places in `levels` a byte, the first in the low half."""
    levels: Tensor
    """float16 [16 channels, LEVELS]."""

    @property
    def size_bytes(self) -> int:
        """Memory of all of it."""
        return sum(tensor.nbytes for tensor in self._tensors().values())

    def to(self, device: torch.device) -> Examples:
        """The same on a device."""
        return Examples(**{name: tensor.to(device) for name, tensor in self._tensors().items()})

    def save(self, path: Path) -> None:
        """Write it as safetensors."""
        save_file({name: tensor.contiguous() for name, tensor in self._tensors().items()}, path)

    def latents(self, pictures: Tensor) -> Tensor:
        """float32 [..., 16, 8, 8] of pictures [...]."""
        packed = self.codes[pictures]
        places = torch.stack([packed & 15, packed >> 4], -1).reshape(*pictures.shape, LATENTS[0], -1).long()
        levels = self.levels.float().expand(*pictures.shape, -1, -1)
        return levels.gather(-1, places).reshape(*pictures.shape, *LATENTS)

    def nearest(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """(int64 pictures [n, POOL], likeness −1 … 1 [n, POOL]) of sentence vectors [n, 384], the nearest first, then −inf."""
        likeness = (vectors @ self.directions.float()) @ (self.names.float().T / 127)
        found = likeness[:, self.concepts.long()].topk(min(POOL, len(self.concepts)), sorted=True)
        empty = (0, POOL - found.values.shape[1])
        return F.pad(found.indices, empty), F.pad(found.values, empty, value=-torch.inf)

    def beside(self, vectors: Tensor, styles: Sequence[int | None], seed: int) -> Tensor:
        """What stands beside the noise for sentence vectors [n, 384]: float32 [n, WIDTH]; zeros where nothing is said.

        None of them is in the style that is asked for: the picture is drawn, not looked up.
        """
        pictures, likeness = self.nearest(vectors)
        asked = torch.tensor([-1 if style is None else style for style in styles])
        likeness = likeness.masked_fill(self.styles[pictures] == asked[:, None], -torch.inf)
        chance = torch.randn(likeness.shape, generator=torch.Generator().manual_seed(seed))
        chosen, near = drawn(pictures, likeness, chance)
        return placed(self.latents(chosen), near) * (vectors != 0).any(1, keepdim=True)

    def _tensors(self) -> dict[str, Tensor]:
        return {name: getattr(self, name) for name in self.__slots__}


def load_examples(path: Path) -> Examples:
    """Read them. Raises OSError and ValueError for another file."""
    try:
        found = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path.name} cannot be read: {error}") from error
    if missing := [name for name in Examples.__slots__ if name not in found]:
        raise ValueError(f"{path.name} has no {missing[0]}")
    return Examples(**{name: found[name] for name in Examples.__slots__})


def drawn(pictures: Tensor, likeness: Tensor, chance: Tensor) -> tuple[Tensor, Tensor]:
    """(pictures, likeness) [n, SHOWN] of the nearest [n, POOL], with that normal noise; a likeness of −inf is never drawn:
    its place stays empty (likeness 0).
    """
    best = (likeness + JITTER * chance).topk(SHOWN, sorted=True).indices
    near = likeness.gather(1, best)
    return pictures.gather(1, best), near.masked_fill(near.isinf(), 0)


def placed(latents: Tensor, likeness: Tensor) -> Tensor:
    """[n, WIDTH] of latents [n, SHOWN, 16, 8, 8] and likeness [n, SHOWN]; what has no likeness is all zeros."""
    shown = likeness[..., None, None, None]
    planes = torch.cat([latents * (shown != 0), shown.expand(-1, -1, 1, *LATENTS[1:])], 2)
    return planes.flatten(1)


def packed(latents: Tensor) -> tuple[Tensor, Tensor]:
    """(codes, levels) of latents [pictures, 16, 8, 8]: for each channel the 16 levels that miss least (Lloyd 1982)."""
    channels = latents.float().transpose(0, 1).flatten(1)
    levels = torch.quantile(channels[:, :: max(1, channels.shape[1] // 100_000)], (torch.arange(LEVELS) + 0.5) / LEVELS, dim=1).T
    for _ in range(30):
        places = _nearest_level(channels, levels)
        sums = torch.zeros_like(levels).scatter_add_(1, places, channels)
        counts = torch.zeros_like(levels).scatter_add_(1, places, torch.ones_like(channels))
        levels = torch.where(counts > 0, sums / counts.clamp(min=1), levels).sort(1).values
    levels = levels.half()
    places = _nearest_level(channels, levels.float()).view(LATENTS[0], len(latents), -1).transpose(0, 1).flatten(1)
    return (places[:, ::2] | places[:, 1::2] << 4).to(torch.uint8), levels


def _nearest_level(channels: Tensor, levels: Tensor) -> Tensor:
    """int64 [16, numbers]: which level is nearest."""
    between = (levels[:, 1:] + levels[:, :-1]) / 2
    return torch.searchsorted(between.contiguous(), channels.contiguous())
