"""What of a config.json the plain Llama forward pass needs, and whether it computes a model at all.

Architecture: Touvron et al., "Llama 2" (arXiv:2307.09288), with grouped-query attention and rotary position embeddings
(Su et al., arXiv:2104.09864). Knows numbers and names; knows no weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.arrays import Floats
from engine.device import Device

DEFAULT_ROPE_THETA = 10_000.0
LINEARS = ("qkv", "attention_out", "gate_up", "down")
"""A block's linear layers; query, key and value are computed as one, and so are gate and up."""


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

    @property
    def turned_heads(self) -> int:
        """Query and key heads: those that rotary embeddings turn."""
        return self.heads + self.kv_heads


def llama_config(config: Mapping[str, Any], device: Device) -> LlamaConfig | None:
    """The config as this backend reads it, or None when the model has anything that it does not compute."""
    rope = {**(config.get("rope_parameters") or {}), **(config.get("rope_scaling") or {})}
    is_plain = (
        config.get("architectures") == ["LlamaForCausalLM"]
        and config.get("model_type") == "llama"
        and config.get("hidden_act", "silu") == "silu"
        and not config.get("attention_bias")
        and not config.get("mlp_bias")
        and not config.get("quantization_config")
        and {rope.get("rope_type", "default"), rope.get("type", "default")} == {"default"}
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
        positions=int(config.get("max_position_embeddings", 2048)),
        rms_norm_eps=float(config.get("rms_norm_eps", 1e-6)),
        rope_theta=float(config.get("rope_theta") or rope.get("rope_theta") or DEFAULT_ROPE_THETA),
        is_tied=bool(config.get("tie_word_embeddings", False)),
    )


def rope_table(config: LlamaConfig) -> tuple[Floats, Floats]:
    """Cosines and sines, [positions, head_dim]; the first half of the sines is negative, so that a rotation is two products."""
    exponents = np.arange(0, config.head_dim, 2, dtype=np.float32) / np.float32(config.head_dim)
    frequencies = np.float32(1.0) / np.float32(config.rope_theta) ** exponents
    angles = np.outer(np.arange(config.positions, dtype=np.float32), frequencies)
    cosines, sines = np.cos(angles), np.sin(angles)
    return np.concatenate([cosines, cosines], -1), np.concatenate([-sines, sines], -1)


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
