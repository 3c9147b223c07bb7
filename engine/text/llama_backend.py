"""Llama-like models in plain torch, float32 on the CPU: what the transformers backend computes, without loading transformers.

Importing transformers' Llama takes longer than importing torch and reading the weights together, and a first answer should
come at once. Other architectures, devices and dtypes go through transformers; the tests hold both to the same logits.
Architecture: Touvron et al., "Llama 2" (arXiv:2307.09288), with grouped-query attention and rotary position embeddings
(Su et al., arXiv:2104.09864). Knows tensors; knows no tokenizer, sampling or threads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open

from engine.device import Device
from engine.errors import BadFileError
from engine.text.kv import GrowingCache, GrowingLayer

VERSION = "1"
"""Raised when the arithmetic changes: an answer is reproduced on the version its path records."""
DEFAULT_ROPE_THETA = 10_000.0


@dataclass(frozen=True, slots=True)
class LlamaConfig:
    """What of a config.json the forward pass needs."""

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


@dataclass(frozen=True, slots=True)
class _Layer:
    """One block's weights, [out, in]; query, key and value in one matrix, and so are gate and up."""

    attention_norm: torch.Tensor
    qkv: torch.Tensor
    attention_out: torch.Tensor
    mlp_norm: torch.Tensor
    gate_up: torch.Tensor
    down: torch.Tensor


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


class LlamaBackend:
    """One loaded model; implements engine.text.backend.TextBackend. Each row is computed alone."""

    max_rows = 1

    def __init__(self, folder: Path, config: LlamaConfig) -> None:
        """Read the weights of a checked folder. Raises BadFileError when they do not fit the config."""
        self._config = config
        try:
            read = _Weights(folder)
            self._embedding = read("model.embed_tokens.weight", config.vocabulary, config.hidden)
            self._head = self._embedding if config.is_tied else read("lm_head.weight", config.vocabulary, config.hidden)
            self._norm = read("model.norm.weight", config.hidden)
            self._layers = [_layer(read, f"model.layers.{number}.", config) for number in range(config.layers)]
        except (SafetensorError, OSError, ValueError) as error:
            raise BadFileError(
                f"{folder.name} cannot be loaded: {str(error).splitlines()[0][:200]}.", key="error.model_load", name=folder.name
            ) from error
        self._rope = _rope_table(config)
        self.vocabulary_size = config.vocabulary
        tensors = [self._embedding, self._norm, *(() if config.is_tied else (self._head,))]
        tensors += [getattr(layer, name) for layer in self._layers for name in _Layer.__slots__]
        self.size_bytes = sum(tensor.nbytes for tensor in tensors)
        self.facts: Mapping[str, Any] = {
            "engine": "llama",
            "engine_version": VERSION,
            "torch": torch.__version__,
            "dtype": "float32",
            "device": "cpu",
            "batched": False,
        }

    def new_cache(self) -> GrowingCache:
        """An empty cache."""
        return GrowingCache([GrowingLayer() for _ in range(self._config.layers)])

    def prefill(self, cache: GrowingCache, ids: Sequence[int]) -> None:
        """Append `ids` to the cache in one pass; the head is not computed."""
        with torch.inference_mode():
            self._forward(cache, ids)

    def step(self, caches: Sequence[GrowingCache], ids: Sequence[int]) -> torch.Tensor:
        """Append one token to each cache; logits float32, [rows, vocabulary]."""
        with torch.inference_mode():
            rows = [F.linear(self._forward(cache, (token,))[-1], self._head) for cache, token in zip(caches, ids, strict=True)]
            return torch.stack(rows)

    def fork(self, cache: GrowingCache, length: int) -> GrowingCache:
        """A cache of its own with the first `length` tokens; copies nothing."""
        return cache.fork(length)

    def close(self) -> None:
        """Let go of the weights."""
        self._layers = []
        self._embedding = self._head = self._norm = torch.empty(0)

    def _forward(self, cache: GrowingCache, ids: Sequence[int]) -> torch.Tensor:
        """Append `ids`; the normed hidden states, [tokens, hidden]."""
        config = self._config
        past, count = cache.length, len(ids)
        cos, sin = self._rope[0][past : past + count], self._rope[1][past : past + count]
        # A chunk behind earlier tokens sees all of them and its own past; a first chunk is plainly causal.
        mask = torch.ones(count, past + count, dtype=torch.bool).tril(past) if past and count > 1 else None
        x = F.embedding(torch.tensor(ids, dtype=torch.long), self._embedding)
        for layer, kept in zip(self._layers, cache.layers, strict=True):
            h = F.rms_norm(x, (config.hidden,), layer.attention_norm, config.rms_norm_eps)
            heads = F.linear(h, layer.qkv).view(count, config.heads + 2 * config.kv_heads, config.head_dim).transpose(0, 1)
            turned = _rotate(heads[: config.heads + config.kv_heads], cos, sin)
            keys, values = kept.append(turned[None, config.heads :], heads[None, config.heads + config.kv_heads :])
            x = x + F.linear(self._attend(turned[: config.heads], keys, values, mask), layer.attention_out)
            h = F.rms_norm(x, (config.hidden,), layer.mlp_norm, config.rms_norm_eps)
            gate, up = F.linear(h, layer.gate_up).chunk(2, dim=-1)
            x = x + F.linear(F.silu(gate) * up, layer.down)
        return F.rms_norm(x, (config.hidden,), self._norm, config.rms_norm_eps)

    def _attend(self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Grouped-query attention: [heads, tokens, width] over keys and values [1, kv_heads, past, width] → [tokens, hidden]."""
        heads, count, width = queries.shape
        if count == 1:  # the query heads of one key head become its query positions: no keys are repeated
            grouped = queries.view(1, keys.shape[1], -1, width)
            return F.scaled_dot_product_attention(grouped, keys, values).reshape(1, heads * width)
        out = F.scaled_dot_product_attention(queries[None], keys, values, attn_mask=mask, is_causal=mask is None, enable_gqa=True)
        return out[0].transpose(0, 1).reshape(count, heads * width)


class _Weights:
    """Reads tensors by name from a folder's safetensors files, as float32, and checks their shapes."""

    def __init__(self, folder: Path) -> None:
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


def _layer(read: _Weights, prefix: str, config: LlamaConfig) -> _Layer:
    hidden, width = config.hidden, config.head_dim
    query, key_value = config.heads * width, config.kv_heads * width
    attention, mlp = f"{prefix}self_attn.", f"{prefix}mlp."
    return _Layer(
        attention_norm=read(f"{prefix}input_layernorm.weight", hidden),
        qkv=torch.cat(
            [
                read(f"{attention}q_proj.weight", query, hidden),
                read(f"{attention}k_proj.weight", key_value, hidden),
                read(f"{attention}v_proj.weight", key_value, hidden),
            ]
        ),
        attention_out=read(f"{attention}o_proj.weight", hidden, query),
        mlp_norm=read(f"{prefix}post_attention_layernorm.weight", hidden),
        gate_up=torch.cat(
            [
                read(f"{mlp}gate_proj.weight", config.intermediate, hidden),
                read(f"{mlp}up_proj.weight", config.intermediate, hidden),
            ]
        ),
        down=read(f"{mlp}down_proj.weight", hidden, config.intermediate),
    )


def _rope_table(config: LlamaConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines, [positions, head_dim]; the first half of the sines is negative, so that a rotation is two products."""
    exponents = torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
    angles = torch.outer(torch.arange(config.positions, dtype=torch.float32), 1.0 / config.rope_theta**exponents)
    return torch.cat([angles.cos(), angles.cos()], -1), torch.cat([-angles.sin(), angles.sin()], -1)


def _rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Turn [heads, tokens, width] by the angles of their positions, [tokens, width]."""
    half = x.shape[-1] // 2
    return x * cos + torch.cat([x[..., half:], x[..., :half]], -1) * sin
