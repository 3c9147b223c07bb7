"""The forms in which one model's answers are computed, and the packed form's files beside the model.

    <prepared>/<key>/packed.safetensors     4-bit weights in the order that this CPU's kernels read them
    <prepared>/<key>/{one,many,adapted}.pt2  what lies between two attentions, compiled for this machine
    <prepared>/<key>/facts.json              of which weights, how fast each form was; written last

Prompts are always read in float32, whose products of many rows are the fastest here. Knows files; starts nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import torch
from safetensors import safe_open

from engine.device import cpu_name
from engine.text.llama.blocks import LINEARS, Layer, Terms, after_attention, before_attention
from engine.text.llama.config import LlamaConfig
from engine.text.llama.packed import Packed4, Packed8, Weight
from engine.text.llama.weights import LlamaAdapter, LlamaWeights, layer_bytes
from engine.text.lora import LowRank

VERSION: Final = "2"
"""Raised when the arithmetic changes: an answer is reproduced on the version its path records."""
FLOAT32: Final = "float32"
PACKED: Final = "int4"
COMPILED: Final = "int4, compiled"
CLEARLY: Final = 0.7
"""A form that was measured slower than this share of the one before is left out: kernels that a CPU lacks are ten times slower,
while a busy machine makes smaller differences uncertain."""
FACTS: Final = "facts.json"
WEIGHTS: Final = "packed.safetensors"
PIECES: Final = ("one", "many", "adapted")
"""For one row, for several, and for one with an adapter."""


Adapters: TypeAlias = Sequence[tuple[slice, LlamaAdapter | None]]
"""Which rows have which adapter."""


class Between(Protocol):
    """From what one block's attention saw to the next one's queries, keys and values."""

    def __call__(
        self, number: int, x: torch.Tensor, seen: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, spans: Adapters
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Of block `number` and the next: (hidden states, turned, values)."""


def spans_at(spans: Adapters, number: int) -> list[tuple[slice, Terms]]:
    """The terms of one block."""
    return [(span, adapter.layers[number]) for span, adapter in spans if adapter is not None]


@dataclass(frozen=True, slots=True)
class Form:
    """One way to compute a token."""

    name: str
    layers: tuple[Layer, ...]
    head: Weight
    between: Between
    is_row_by_row: bool
    """Whether a row's result is the same, bit by bit, whatever rows are computed with it."""

    @property
    def nbytes(self) -> int:
        """Memory of its weights."""
        return self.head.nbytes + sum(layer_bytes(layer) for layer in self.layers)


def eager(layers: Sequence[Layer], config: LlamaConfig) -> Between:
    """Block by block as the code says."""

    def between(
        number: int, x: torch.Tensor, seen: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, spans: Adapters
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        x = after_attention(x, seen, layers[number], config, spans_at(spans, number))
        return (x, *before_attention(x, layers[number + 1], cos, sin, config, spans_at(spans, number + 1)))

    return between


class BetweenPiece(torch.nn.Module):
    """The same as `eager`, for weights that are given as tensors: this is what is compiled."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self._config = config

    def forward(
        self, x: torch.Tensor, seen: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, *tensors: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """`tensors`: `piece_weights`, and an adapter's `pieces`."""
        out, out_scales, mlp_norm, up, up_scales, down, down_scales, norm, qkv, qkv_scales, *terms = tensors
        pairs = [LowRank(*terms[place : place + 2]) for place in range(0, len(terms), 2)]
        linears = [Packed4(*pair) for pair in ((qkv, qkv_scales), (out, out_scales), (up, up_scales), (down, down_scales))]
        packed = Layer(norm, linears[0], linears[1], mlp_norm, linears[2], linears[3])
        spans = [(slice(None), Terms(*pairs))] if pairs else ()
        x = after_attention(x, seen, packed, self._config, spans)
        turned, values = before_attention(x, packed, cos, sin, self._config, spans)
        return x, turned, values.clone()


def piece_weights(layer: Layer, following: Layer) -> list[torch.Tensor]:
    """What a piece needs of a block and of the next one's first half. Both are packed."""
    linears = (layer.attention_out, layer.gate_up, layer.down, following.qkv)
    out, up, down, qkv = ([linear.weight, linear.scales] for linear in linears if isinstance(linear, Packed4))
    return [*out, layer.mlp_norm, *up, *down, following.attention_norm, *qkv]


def compiled(folder: Path, layers: Sequence[Layer], config: LlamaConfig) -> Between:
    """The pieces of a prepared folder; several rows with adapters go as the code says. Raises RuntimeError for damaged files."""
    one, many, adapted = (load_piece(folder / f"{name}.pt2") for name in PIECES)
    weights = [piece_weights(layer, following) for layer, following in zip(layers, layers[1:], strict=False)]
    plain = eager(layers, config)

    def between(
        number: int, x: torch.Tensor, seen: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, spans: Adapters
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        adapter = spans[0][1]
        if len(spans) > 1 or (adapter is not None and len(x) > 1):
            return plain(number, x, seen, cos, sin, spans)
        tensors = [x, seen, cos, sin, *weights[number]]
        if adapter is not None:
            found = adapted.run([*tensors, *adapter.pieces[number]])
        else:
            found = (one if len(x) == 1 else many).run(tensors)
        return found[0], found[1], found[2]

    return between


def load_piece(path: Path) -> Any:
    """A compiled piece, ready to run, without torch's compiler being imported. Raises RuntimeError for a damaged file."""
    return torch._C._aoti.AOTIModelPackageLoader(str(path), "model", False, 1, -1)


def key_of_machine() -> str:
    """What packed and compiled files depend on beside the weights: compiled ones use all that this very CPU can do."""
    parts = (VERSION, "torch", torch.__version__, torch.backends.cpu.get_cpu_capability(), cpu_name())
    return re.sub(r"[^\w.+]+", "-", "-".join(parts))


def fingerprint(folder: Path) -> list[list[Any]]:
    """Names, sizes and times of the weights' files."""
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in sorted(folder.glob("*.safetensors"))]


def read_facts(folder: Path, prepared: Path) -> dict[str, Any] | None:
    """facts.json of this machine's prepared folder, or None when there is none for these weights."""
    try:
        facts = json.loads((prepared / key_of_machine() / FACTS).read_text(encoding="utf-8"))
        return facts if isinstance(facts, dict) and facts.get("weights") == fingerprint(folder) else None
    except (OSError, ValueError):
        return None


def float32_form(weights: LlamaWeights, config: LlamaConfig) -> Form:
    """The weights as they are."""
    return Form(FLOAT32, weights.layers, weights.head, eager(weights.layers, config), is_row_by_row=False)


def read_forms(weights: LlamaWeights, config: LlamaConfig, folder: Path, prepared: Path) -> list[Form] | None:
    """The packed forms that were prepared for this machine and are not slower than float32, the best last; None before that.

    Raises SafetensorError, OSError, KeyError or RuntimeError for damaged files.
    """
    facts = read_facts(folder, prepared)
    if facts is None:
        return None
    speeds = facts["tokens_per_s"]
    place = prepared / key_of_machine()
    found: list[Form] = []
    if PACKED in speeds:
        layers, head = _read_packed(place / WEIGHTS, weights)
        alike = facts["is_row_by_row"]
        found.append(Form(PACKED, layers, head, eager(layers, config), bool(alike[PACKED])))
        if COMPILED in speeds:
            found.append(Form(COMPILED, layers, head, compiled(place, layers, config), bool(alike[COMPILED])))
    best, kept = float(speeds[FLOAT32]), []
    for form in found:
        if speeds[form.name] > CLEARLY * best:
            kept.append(form)
            best = max(best, float(speeds[form.name]))
    return kept


def _read_packed(path: Path, weights: LlamaWeights) -> tuple[tuple[Layer, ...], Packed8]:
    file: Any = safe_open(path, framework="pt")

    def read(name: str) -> tuple[torch.Tensor, torch.Tensor]:
        # Copied: the kernels read whole vectors and crash where a tensor begins in the middle of one, as it may in a mapped file.
        return file.get_tensor(f"{name}.weight").clone(), file.get_tensor(f"{name}.scales").clone()

    layers = []
    for number, layer in enumerate(weights.layers):
        packed = {name: Packed4(*read(f"{number}.{name}")) for name in LINEARS}
        layers.append(Layer(attention_norm=layer.attention_norm, mlp_norm=layer.mlp_norm, **packed))
    return tuple(layers), Packed8(*read("head"))
