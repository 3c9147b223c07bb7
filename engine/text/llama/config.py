"""What of a config.json the plain Llama forward pass needs, and whether it computes a model at all.

Architecture: Touvron et al., "Llama 2" (arXiv:2307.09288), with grouped-query attention and rotary position embeddings
(Su et al., arXiv:2104.09864), and what Mistral, Qwen2, Qwen3 and SmolLM3 change of it. Knows numbers and names; knows no weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from engine.arrays import Floats
from engine.device import Device

DEFAULT_ROPE_THETA = 10_000.0
LINEARS = ("qkv", "attention_out", "gate_up", "down")
"""A block's linear layers; query, key and value are computed as one, and so are gate and up."""


FAMILIES: Final[Mapping[str, str]] = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "smollm3": "SmolLM3ForCausalLM",
}
"""Kinds of models that are Llamas but for a bias, a normalisation or blocks that are not turned."""


@dataclass(frozen=True, slots=True)
class RopeScaling:
    """How Llama 3.1 stretches its rotary embeddings ("llama3" in transformers' config.json)."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_positions: float


@dataclass(frozen=True, slots=True)
class LlamaConfig:
    """Sizes and constants of one model."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    intermediate: int
    positions: int
    rms_norm_eps: float
    rope_theta: float
    is_tied: bool
    rope_scaling: RopeScaling | None = None
    has_qkv_bias: bool = False
    has_head_norms: bool = False
    """Whether each query and key head is normalised before it is turned."""
    unturned: frozenset[int] = frozenset()
    """Blocks without rotary embeddings (NoPE: Yang et al., arXiv:2501.18795)."""

    @property
    def turned_heads(self) -> int:
        """Query and key heads: those that rotary embeddings turn."""
        return self.heads + self.kv_heads


def llama_config(config: Mapping[str, Any], device: Device) -> LlamaConfig | None:
    """The config as this backend reads it, or None when the model has anything that it does not compute."""
    rope = {**(config.get("rope_parameters") or {}), **(config.get("rope_scaling") or {})}
    kind = {rope.get("rope_type", "default"), rope.get("type", "default")} - {"default"}
    scaling = _scaling(rope) if kind == {"llama3"} else None
    family = str(config.get("model_type"))
    positions = int(config.get("max_position_embeddings", 2048))
    window = config.get("sliding_window") if config.get("use_sliding_window", family == "mistral") else None
    is_plain = (
        config.get("architectures") == [FAMILIES.get(family)]
        and config.get("hidden_act", "silu") == "silu"
        and not config.get("attention_bias")
        and not config.get("mlp_bias")
        and not config.get("quantization_config")
        and (window is None or window >= positions)
        and "sliding_attention" not in (config.get("layer_types") or ())
        and (not kind or scaling is not None)
    )
    if not is_plain or device.kind != "cpu" or device.dtype != "float32":
        return None
    heads, hidden = int(config["num_attention_heads"]), int(config["hidden_size"])
    return LlamaConfig(
        layers=int(config["num_hidden_layers"]),
        hidden=hidden,
        heads=heads,
        kv_heads=int(config.get("num_key_value_heads") or heads),
        head_dim=int(config.get("head_dim") or hidden // heads),
        vocabulary=int(config["vocab_size"]),
        intermediate=int(config["intermediate_size"]),
        positions=positions,
        rms_norm_eps=float(config.get("rms_norm_eps", 1e-6)),
        rope_theta=float(config.get("rope_theta") or rope.get("rope_theta") or DEFAULT_ROPE_THETA),
        is_tied=bool(config.get("tie_word_embeddings", family == "smollm3")),
        rope_scaling=scaling,
        has_qkv_bias=family == "qwen2",
        has_head_norms=family == "qwen3",
        unturned=_unturned(config) if family == "smollm3" else frozenset(),
    )


def _scaling(rope: Mapping[str, Any]) -> RopeScaling | None:
    names = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
    return RopeScaling(*(float(rope[name]) for name in names)) if all(rope.get(name) for name in names) else None


def _unturned(config: Mapping[str, Any]) -> frozenset[int]:
    """SmolLM3 says for each block whether it is turned, or turns all but every fourth."""
    every = int(config.get("no_rope_layer_interval") or 4)
    turned = config.get("no_rope_layers") or [(number + 1) % every for number in range(int(config["num_hidden_layers"]))]
    return frozenset(number for number, is_turned in enumerate(turned) if not is_turned)


def rope_table(config: LlamaConfig) -> tuple[Floats, Floats]:
    """Cosines and sines, [positions, head_dim]; the first half of the sines is negative, so that a rotation is two products."""
    exponents = np.arange(0, config.head_dim, 2, dtype=np.float32) / np.float32(config.head_dim)
    frequencies = np.float32(1.0) / np.float32(config.rope_theta) ** exponents
    if config.rope_scaling is not None:
        frequencies = _stretched(frequencies, config.rope_scaling)
    angles = np.outer(np.arange(config.positions, dtype=np.float32), frequencies)
    cosines, sines = np.cos(angles), np.sin(angles)
    return np.concatenate([cosines, cosines], -1), np.concatenate([-sines, sines], -1)


def _stretched(frequencies: Floats, scaling: RopeScaling) -> Floats:
    """Slow turns are made slower by the factor, fast ones stay, those between go from one to the other."""
    turns = scaling.original_positions * frequencies / (2 * np.pi)
    share = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    share = np.clip(share, 0, 1)
    return np.asarray(share * frequencies + (1 - share) * frequencies / scaling.factor, dtype=np.float32)


def linear_sizes(config: LlamaConfig) -> list[tuple[int, int]]:
    """Inputs and outputs of a block's four fused layers, in the order of LINEARS."""
    return [(width, sum(out for _, out in modules)) for modules, width in linear_places(0, config)]


def linear_places(number: int, config: LlamaConfig) -> tuple[tuple[tuple[tuple[str, int], ...], int], ...]:
    """Of a block's four fused layers, in the order of LINEARS: (names and outputs of what is fused, inputs)."""
    prefix = f"model.layers.{number}."
    query, key_value = config.heads * config.head_dim, config.kv_heads * config.head_dim
    attention, mlp = f"{prefix}self_attn.", f"{prefix}mlp."
    qkv = ((f"{attention}q_proj", query), (f"{attention}k_proj", key_value), (f"{attention}v_proj", key_value))
    gate_up = ((f"{mlp}gate_proj", config.intermediate), (f"{mlp}up_proj", config.intermediate))
    return (
        (qkv, config.hidden),
        (((f"{attention}o_proj", config.hidden),), query),
        (gate_up, config.hidden),
        (((f"{mlp}down_proj", config.hidden),), config.intermediate),
    )
