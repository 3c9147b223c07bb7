"""Reading one part of the starter image model from its folder: safetensors only. Knows diffusers' ModelMixin; knows no family."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar, cast

import torch

M = TypeVar("M")


def load_part(kind: type[M], folder: Path, device: str | torch.device = "cpu") -> M:
    """The part of that class in `folder`, in float32, ready to be used. Raises OSError and ValueError for another folder."""
    made = cast(Any, kind).from_pretrained(folder, torch_dtype=torch.float32, use_safetensors=True, local_files_only=True)
    made.to(device).eval()
    return cast(M, made)
