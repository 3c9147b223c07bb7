"""Tensors by name from a folder's safetensors files, each with the shape that its model expects.

Knows files and shapes; knows no model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open


class TensorReader:
    """Reads float32 tensors from all *.safetensors files of a folder."""

    def __init__(self, folder: Path) -> None:
        """Open the files; raises SafetensorError or OSError when one is damaged."""
        self._files: dict[str, Any] = {}
        for path in sorted(folder.glob("*.safetensors")):
            file: Any = safe_open(path, framework="pt")
            self._files.update({name: file for name in file.keys()})  # noqa: SIM118 - a handle, not a mapping

    def __call__(self, name: str, *shape: int) -> torch.Tensor:
        """The tensor; ValueError when it is missing or has another shape."""
        if name not in self._files:
            raise ValueError(f"it has no {name}")
        tensor: torch.Tensor = self._files[name].get_tensor(name)
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{name} has the shape {tuple(tensor.shape)}, expected {shape}")
        return tensor.to(torch.float32)
