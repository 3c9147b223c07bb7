"""What of a config.json the plain Llama forward pass needs, and whether it computes a model at all.

Architecture: Touvron et al., "Llama 2" (arXiv:2307.09288), with grouped-query attention and rotary position embeddings
(Su et al., arXiv:2104.09864). Knows no tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.device import Device

DEFAULT_ROPE_THETA = 10_000.0


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
