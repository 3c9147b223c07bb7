"""Looks at a model folder before anything is loaded from it: what it holds, and whether it is safe and whole.

Reads JSON and safetensors headers only. Nothing is ever unpickled and no code of the folder is run; a folder that would
need either is refused. Knows no torch, no store and no catalogue.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import BadFileError

MAX_JSON_BYTES = 64 * 2**20
MAX_HEADER_BYTES = 100 * 2**20
"""The safetensors format's own limit."""
_DTYPE_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4, "F64": 8, "I64": 8, "U64": 8,
}  # fmt: skip
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_NOT_LAYERS = ("embed", "embd", "wte", "wpe", "lm_head")
_CODE_KEYS = ("auto_map", "custom_pipelines", "trust_remote_code")
_ATTENTION = (None, "eager", "sdpa", "flash_attention_2", "flash_attention_3")


@dataclass(frozen=True, slots=True)
class Weights:
    """What the safetensors headers of a folder add up to."""

    files: tuple[Path, ...]
    parameters: int
    layer_parameters: int
    """Those of linear layers: all matrices but embeddings and the head."""
    size_bytes: int


@dataclass(frozen=True, slots=True)
class FolderFacts:
    """A folder that passed the checks."""

    folder: Path
    model_type: str
    architecture: str
    context_length: int
    """0 = unknown."""
    parameters: int
    size_bytes: int


def inspect_folder(folder: Path) -> FolderFacts:
    """Check a causal language model's folder: config.json + *.safetensors + tokenizer.json.

    Raises BadFileError in one sentence when something is missing, damaged, or would need code or a pickle.
    """
    if not folder.is_dir():
        raise BadFileError(f"{folder} is no folder on this machine.", key="error.folder_missing", name=str(folder))
    if not (folder / "config.json").is_file():
        raise _not_a_model(folder)
    config = read_json(folder / "config.json")
    refuse_code(config, "config.json")
    for name in ("tokenizer_config.json", "generation_config.json"):
        if (folder / name).is_file():
            refuse_code(read_json(folder / name), name)
    if "quantization_config" in config:
        raise BadFileError(
            f"{folder.name} holds quantised weights, which need extra software; use the unquantised model.",
            key="error.folder_quantised",
            name=folder.name,
        )
    if (folder / "adapter_config.json").is_file():
        raise BadFileError(f"{folder.name} is an adapter, not a whole model.", key="error.folder_adapter", name=folder.name)
    architecture = str((config.get("architectures") or [""])[0])
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or not architecture.endswith(("ForCausalLM", "LMHeadModel")):
        raise BadFileError(
            f'{folder.name} holds no model that writes text (architecture "{architecture}").',
            key="error.folder_kind",
            name=folder.name,
            architecture=architecture,
        )
    read_json(folder / "tokenizer.json")
    weights = read_weights(folder)
    return FolderFacts(folder, model_type, architecture, context_length(config), weights.parameters, weights.size_bytes)


def read_weights(folder: Path) -> Weights:
    """Read the header of every *.safetensors file; raises BadFileError when there is none or one is damaged."""
    files = tuple(sorted(path for path in folder.iterdir() if path.suffix.lower() == ".safetensors"))
    if not files:
        raise _not_a_model(folder)
    tensors = [tensor for path in files for tensor in _tensors(path)]
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        wanted = set(dict(read_json(index).get("weight_map") or {}).values())
        missing = sorted(str(name) for name in wanted - {path.name for path in files})
        if missing:
            raise _lacks(folder, str(missing[0]))
    in_layers = [count for name, edges, count in tensors if edges == 2 and not any(part in name for part in _NOT_LAYERS)]
    return Weights(files, sum(count for *_, count in tensors), sum(in_layers), sum(path.stat().st_size for path in files))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; raises BadFileError when the file is missing, huge, or something else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8")) if path.stat().st_size <= MAX_JSON_BYTES else None
    except FileNotFoundError as error:
        raise _lacks(path.parent, path.name) from error
    except (OSError, ValueError, RecursionError) as error:
        raise _bad_json(path) from error
    if not isinstance(value, dict):
        raise _bad_json(path)
    return value


def refuse_code(value: object, name: str) -> None:
    """Raise BadFileError when a config asks for code that comes with the model or from elsewhere, at any depth."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            wants_code = key in _CODE_KEYS and inner
            wants_kernel = isinstance(key, str) and "attn_implementation" in key and inner not in _ATTENTION
            if wants_code or wants_kernel:
                raise BadFileError(
                    f'{name} asks to run code that comes with the model ("{key}"), which the studio never does. '
                    "Use another model.",
                    key="error.model_code",
                    name=name,
                    field=str(key),
                )
            refuse_code(inner, name)
    elif isinstance(value, list):
        for inner in value:
            refuse_code(inner, name)


def context_length(config: Mapping[str, Any]) -> int:
    """Tokens a model's config says it can take; 0 when it does not say."""
    for name in ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length"):
        value = config.get(name)
        if isinstance(value, int) and value > 0:
            return value
    return 0


def count_parameters(path: Path) -> int:
    """Read one safetensors file's header and count its parameters; raises BadFileError when it is damaged."""
    return sum(count for *_, count in _tensors(path))


def _tensors(path: Path) -> list[tuple[str, int, int]]:
    """(name, number of dimensions, parameters) of each tensor of one file, by its header. Raises BadFileError."""
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
        if not 2 <= length <= MAX_HEADER_BYTES or 8 + length > size:
            raise _damaged(path)
        raw = file.read(length)
    try:
        header = json.loads(raw.decode("utf-8"))
        tensors, end = [], 0
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            count = 1
            for edge in entry["shape"]:
                count *= int(edge)
            first, last = entry["data_offsets"]
            if count < 0 or last - first != count * _DTYPE_BYTES[entry["dtype"]] or first < 0:
                raise _damaged(path)
            tensors.append((str(name), len(entry["shape"]), count))
            end = max(end, last)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(path) from error
    if end != size - 8 - length:
        raise _damaged(path)
    return tensors


def _not_a_model(folder: Path) -> BadFileError:
    suffixes = {path.suffix.lower() for path in folder.iterdir()}
    name = folder.name
    if ".gguf" in suffixes:
        text = f"{name} holds a GGUF file, which the studio does not open; use the model's safetensors form."
        return BadFileError(text, key="error.folder_gguf", name=name)
    if suffixes & set(_PICKLES) and ".safetensors" not in suffixes:
        text = f"{name} holds only pickled weights, which can run code when opened; use the model's safetensors form."
        return BadFileError(text, key="error.folder_pickle", name=name)
    text = f"{name} holds no model: config.json, tokenizer.json and *.safetensors are needed."
    return BadFileError(text, key="error.folder_empty", name=name)


def _lacks(folder: Path, file: str) -> BadFileError:
    return BadFileError(f"{folder.name} has no {file}.", key="error.folder_lacks", name=folder.name, file=file)


def _bad_json(path: Path) -> BadFileError:
    return BadFileError(f"{path.name} is damaged or no JSON object.", key="error.folder_json", name=path.name)


def _damaged(path: Path) -> BadFileError:
    return BadFileError(
        f"{path.name} is damaged or no safetensors file. Get the model again.", key="error.weights_damaged", name=path.name
    )
