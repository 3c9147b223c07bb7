"""LoRA adapters as files: PEFT's adapter_config.json and adapter_model.safetensors, read and checked.

An adapter is data from a file, so it is read as one: safetensors only, never a pickle; its bytes must have the recorded
sha256; and only what the studio computes is taken (a low-rank term on linear layers: Hu et al., "LoRA", arXiv:2106.09685).
Knows files and arrays; knows no base model, no database and no lineage.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.arrays import Floats
from engine.errors import BadFileError
from engine.models.folder import read_json, refuse_code

BASE = "base"
"""What a path and a record name when no adapter was on."""
CONFIG_NAME = "adapter_config.json"
WEIGHTS_NAME = "adapter_model.safetensors"
MAX_WEIGHTS_BYTES = 8 * 2**30
_DTYPES: Final[Mapping[str, Any]] = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16}
_TENSOR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
_CHANGES_ARITHMETIC = (
    "use_dora", "use_qalora", "use_bdlora", "lora_bias", "fan_in_fan_out", "modules_to_save", "rank_pattern", "alpha_pattern",
    "trainable_token_indices", "target_parameters", "layer_replication", "alora_invocation_tokens", "arrow_config",
    "kasa_config", "velora_config", "monteclora_config",
)  # fmt: skip
"""Settings of PEFT with which the result is no longer the plain low-rank term, or not the same for every layer."""
_KEEPS_BASE = (True, False, None, "gaussian", "eva", "orthogonal")
"""Ways to begin an adapter that leave the base model's own weights alone."""


@dataclass(frozen=True, slots=True)
class AdapterRef:
    """Which adapter: its id, the sha256 of its weights, and where they lie. None stands for the base model."""

    id: str
    sha256: str
    folder: Path


BASE_REF: AdapterRef | None = None


def sha256_of(adapter: AdapterRef | None) -> str:
    """What an answer's path says of it: the adapter's sha256, or "base"."""
    return BASE if adapter is None else adapter.sha256


@dataclass(frozen=True, slots=True)
class LoraWeights:
    """An adapter that passed the checks. y + up(down(x)) · scaling for each module, all float32."""

    sha256: str
    """Of the very bytes the arrays were made from."""
    scaling: float
    modules: Mapping[str, tuple[Floats, Floats]]
    """By the linear layer's name in its model: (down [rank, in], up [out, rank])."""

    @property
    def size_bytes(self) -> int:
        """Memory of the arrays."""
        return sum(down.nbytes + up.nbytes for down, up in self.modules.values())


def load_lora(folder: Path, sha256: str | None = None) -> LoraWeights:
    """Read and check an adapter's folder; `sha256` is what its weights must have.

    Raises BadFileError in one sentence when a file is missing, damaged, changed, no safetensors, or of another kind than plain
    LoRA on linear layers.
    """
    from safetensors import SafetensorError, deserialize

    scaling = _read_scaling(folder)
    data = _read_weights(folder)
    found = hashlib.sha256(data).hexdigest()
    if sha256 is not None and found != sha256:
        raise _damaged(folder, "its weights are not the ones that were trained")
    try:
        tensors = deserialize(data)  # type: ignore[no-untyped-call]
    except (SafetensorError, ValueError, KeyError) as error:
        raise _damaged(folder, f"{WEIGHTS_NAME} is no safetensors file") from error
    return LoraWeights(found, scaling, _pairs(folder, tensors))


def _read_scaling(folder: Path) -> float:
    config = read_json(folder / CONFIG_NAME)
    refuse_code(config, CONFIG_NAME)
    if config.get("peft_type") != "LORA":
        raise _other_kind(folder, f"it is {config.get('peft_type')}, not LoRA")
    unknown = [name for name in _CHANGES_ARITHMETIC if config.get(name)]
    if unknown or config.get("bias", "none") != "none" or config.get("init_lora_weights", True) not in _KEEPS_BASE:
        raise _other_kind(folder, f"it is not plain LoRA ({', '.join(unknown) or 'bias or initialisation'})")
    rank, alpha = config.get("r"), config.get("lora_alpha")
    is_usable = isinstance(rank, int) and isinstance(alpha, int | float) and rank > 0 and alpha > 0
    if not is_usable or rank is None or alpha is None:
        raise _damaged(folder, f"{CONFIG_NAME} names no rank or scale")
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _read_weights(folder: Path) -> bytes:
    path = folder / WEIGHTS_NAME
    try:
        if path.stat().st_size > MAX_WEIGHTS_BYTES:
            raise _damaged(folder, f"{WEIGHTS_NAME} is too large")
        return path.read_bytes()
    except FileNotFoundError as error:
        if any(folder.glob("*.bin")) or any(folder.glob("*.pt")):
            raise _other_kind(folder, "its weights are a pickle, which could run code; only safetensors are read") from error
        raise _damaged(folder, f"{WEIGHTS_NAME} is missing") from error
    except OSError as error:
        raise _damaged(folder, f"{WEIGHTS_NAME} cannot be read") from error


def _pairs(folder: Path, tensors: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, tuple[Floats, Floats]]:
    sides: dict[str, dict[str, Floats]] = {}
    for name, tensor in tensors:
        match = _TENSOR.fullmatch(name)
        if match is None:
            raise _other_kind(folder, f"{name} is no low-rank weight of a linear layer")
        dtype, shape = tensor["dtype"], tensor["shape"]
        if len(shape) != 2 or dtype not in _DTYPES:
            raise _damaged(folder, f"{name} holds no usable numbers")
        raw = np.frombuffer(tensor["data"], _DTYPES[dtype]).reshape(shape)
        # bfloat16 is the upper half of float32, and numpy does not know it.
        values = (raw.astype(np.uint32) << 16).view(np.float32) if dtype == "BF16" else raw.astype(np.float32)
        if not np.isfinite(values).all():
            raise _damaged(folder, f"{name} holds no usable numbers")
        sides.setdefault(match["module"], {})[match["side"]] = values
    if not sides:
        raise _damaged(folder, f"{WEIGHTS_NAME} is empty")
    pairs = {}
    for module, pair in sides.items():
        if len(pair) != 2 or pair["A"].shape[0] != pair["B"].shape[1]:
            raise _damaged(folder, f"the two halves of {module} do not fit together")
        pairs[module] = (pair["A"], pair["B"])
    return pairs


def _damaged(folder: Path, reason: str) -> BadFileError:
    text = f'The adapter {folder.name} is damaged: {reason}. Use another version or "base".'
    return BadFileError(text, key="error.adapter_damaged", name=folder.name, reason=reason)


def _other_kind(folder: Path, reason: str) -> BadFileError:
    return BadFileError(
        f"The adapter {folder.name} cannot be used: {reason}.", key="error.adapter_kind", name=folder.name, reason=reason
    )
