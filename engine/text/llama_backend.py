"""Llama-like models in plain torch, float32 on the CPU: what the transformers backend computes, without loading transformers.

Importing transformers' Llama takes longer than importing torch and reading the weights together, and a first answer should
come at once. Other architectures, devices and dtypes go through transformers; the tests hold both to the same logits.
Architecture: Touvron et al., "Llama 2" (arXiv:2307.09288), with grouped-query attention and rotary position embeddings
(Su et al., arXiv:2104.09864). Adapters are low-rank terms beside the layers, chosen row by row (engine/text/lora.py).
Knows tensors; knows no tokenizer, sampling or threads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError

from engine.device import Device
from engine.errors import BadFileError
from engine.models.adapters import BASE, LoraWeights
from engine.text.kv import GrowingCache, GrowingLayer
from engine.text.lora import LowRank, does_not_fit, fuse, grouped, linear
from engine.text.tensors import TensorReader

VERSION = "1"
"""Raised when the arithmetic changes: an answer is reproduced on the version its path records."""
DEFAULT_ROPE_THETA = 10_000.0
MAX_TOGETHER = 16
"""Rows of one pass. Weights are read once for all of them; past this the arithmetic itself takes the time."""


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


@dataclass(frozen=True, slots=True)
class _Terms:
    """What an adapter adds to one block's four linear layers."""

    qkv: LowRank | None = None
    attention_out: LowRank | None = None
    gate_up: LowRank | None = None
    down: LowRank | None = None


_NO_TERMS = _Terms()


@dataclass(frozen=True, slots=True)
class LlamaAdapter:
    """A LoRA adapter as this backend computes it; implements engine.text.lora.LoadedAdapter."""

    sha256: str
    layers: tuple[_Terms, ...]

    @property
    def size_bytes(self) -> int:
        """Memory of its terms."""
        terms = [getattr(layer, name) for layer in self.layers for name in _Terms.__slots__]
        return sum(term.size_bytes for term in terms if term is not None)


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
    """One loaded model; implements engine.text.backend.TextBackend."""

    max_together = MAX_TOGETHER

    def __init__(self, folder: Path, config: LlamaConfig) -> None:
        """Read the weights of a checked folder. Raises BadFileError when they do not fit the config."""
        self._config = config
        try:
            read = TensorReader(folder)
            self._embedding = read("model.embed_tokens.weight", config.vocabulary, config.hidden)
            self._head = self._embedding if config.is_tied else read("lm_head.weight", config.vocabulary, config.hidden)
            self._norm = read("model.norm.weight", config.hidden)
            self._layers = [_layer(read, number, config) for number in range(config.layers)]
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
        }

    def prepare_adapter(self, weights: LoraWeights) -> LlamaAdapter:
        """The adapter's terms, fused as the layers are. Raises BadFileError when it is of another model."""
        config = self._config
        places = [_places(number, config) for number in range(config.layers)]
        known = {name for layer in places for modules, _ in layer for name, _ in modules}
        unknown = sorted(set(weights.modules) - known)
        if unknown:
            raise does_not_fit(f"it has no layer {unknown[0]}")
        layers = (_Terms(*(fuse(weights, modules, width) for modules, width in layer)) for layer in places)
        return LlamaAdapter(weights.sha256, tuple(layers))

    def new_cache(self, adapter: LlamaAdapter | None = None) -> GrowingCache:
        """An empty cache, computed with `adapter`."""
        return GrowingCache([GrowingLayer() for _ in range(self._config.layers)], adapter)

    def adapter_of(self, cache: GrowingCache) -> str:
        """The sha256 of the very weights that `_forward` adds for this cache, or "base"."""
        return BASE if cache.adapter is None else str(cache.adapter.sha256)

    def prefill(self, cache: GrowingCache, ids: Sequence[int]) -> None:
        """Append `ids` to the cache in one pass; the head is not computed."""
        with torch.inference_mode():
            self._forward(cache, ids)

    def step(self, cache: GrowingCache, token: int) -> torch.Tensor:
        """Append one token; logits float32, [vocabulary]."""
        with torch.inference_mode():
            return F.linear(self._forward(cache, (token,))[-1], self._head)

    def step_together(self, caches: Sequence[GrowingCache], ids: Sequence[int]) -> torch.Tensor:
        """Append one token to each cache; linear layers over all rows at once, attention row by row. [rows, vocabulary]."""
        with torch.inference_mode():
            return F.linear(self._forward_together(caches, ids), self._head)

    def log_probabilities(self, cache: GrowingCache, ids: Sequence[int], targets: Sequence[int]) -> torch.Tensor:
        """Append `ids` in one pass; log-probability of each target behind its token, [tokens]."""
        with torch.inference_mode():
            shares = F.linear(self._forward(cache, ids), self._head).log_softmax(-1)
            return shares.gather(-1, torch.tensor(targets)[:, None])[:, 0]

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
        for layer, terms, kept in zip(self._layers, self._terms(cache), cache.layers, strict=True):
            h = F.rms_norm(x, (config.hidden,), layer.attention_norm, config.rms_norm_eps)
            heads = linear(h, layer.qkv, terms.qkv).view(count, -1, config.head_dim).transpose(0, 1)
            turned = _rotate(heads[: config.heads + config.kv_heads], cos, sin)
            keys, values = kept.append(turned[None, config.heads :], heads[None, config.heads + config.kv_heads :])
            seen = self._attend(turned[: config.heads], keys, values, mask)
            x = x + linear(seen, layer.attention_out, terms.attention_out)
            h = F.rms_norm(x, (config.hidden,), layer.mlp_norm, config.rms_norm_eps)
            gate, up = linear(h, layer.gate_up, terms.gate_up).chunk(2, dim=-1)
            x = x + linear(F.silu(gate) * up, layer.down, terms.down)
        return F.rms_norm(x, (config.hidden,), self._norm, config.rms_norm_eps)

    def _forward_together(self, caches: Sequence[GrowingCache], ids: Sequence[int]) -> torch.Tensor:
        """Append one token to each row; the normed hidden states, [rows, hidden]. The same arithmetic as `_forward`."""
        config, rows = self._config, len(caches)
        order, spans = grouped([cache.adapter for cache in caches])
        caches, ids = [caches[row] for row in order], [ids[row] for row in order]
        places = torch.tensor([cache.length for cache in caches])
        cos, sin = self._rope[0][places, None], self._rope[1][places, None]
        keys_end = config.heads + config.kv_heads
        x = F.embedding(torch.tensor(ids, dtype=torch.long), self._embedding)
        for number, layer in enumerate(self._layers):
            terms = [(span, self._terms(caches[span.start])[number]) for span in spans]
            h = F.rms_norm(x, (config.hidden,), layer.attention_norm, config.rms_norm_eps)
            fused = _linear_rows(h, layer.qkv, [(span, term.qkv) for span, term in terms])
            heads = fused.view(rows, -1, config.head_dim)
            turned = _rotate(heads[:, :keys_end], cos, sin)
            seen = []
            for row, cache in enumerate(caches):
                own = turned[row, :, None]
                keys, values = cache.layers[number].append(own[None, config.heads :], heads[row, None, keys_end:, None])
                seen.append(self._attend(own[: config.heads], keys, values, None))
            x = x + _linear_rows(torch.cat(seen), layer.attention_out, [(span, term.attention_out) for span, term in terms])
            h = F.rms_norm(x, (config.hidden,), layer.mlp_norm, config.rms_norm_eps)
            gate, up = _linear_rows(h, layer.gate_up, [(span, term.gate_up) for span, term in terms]).chunk(2, dim=-1)
            x = x + _linear_rows(F.silu(gate) * up, layer.down, [(span, term.down) for span, term in terms])
        x = x[torch.tensor(order).argsort()]
        return F.rms_norm(x, (config.hidden,), self._norm, config.rms_norm_eps)

    def _terms(self, cache: GrowingCache) -> Sequence[_Terms]:
        """What this row's adapter adds, block by block."""
        adapter: LlamaAdapter | None = cache.adapter
        return (_NO_TERMS,) * self._config.layers if adapter is None else adapter.layers

    def _attend(self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Grouped-query attention: [heads, tokens, width] over keys and values [1, kv_heads, past, width] → [tokens, hidden]."""
        heads, count, width = queries.shape
        if count == 1:  # the query heads of one key head become its query positions: no keys are repeated
            grouped = queries.view(1, keys.shape[1], -1, width)
            return F.scaled_dot_product_attention(grouped, keys, values).reshape(1, heads * width)
        out = F.scaled_dot_product_attention(queries[None], keys, values, attn_mask=mask, is_causal=mask is None, enable_gqa=True)
        return out[0].transpose(0, 1).reshape(count, heads * width)


def _linear_rows(x: torch.Tensor, weight: torch.Tensor, terms: Sequence[tuple[slice, LowRank | None]]) -> torch.Tensor:
    """x [rows, in] through weight [out, in]; each span of rows with its own adapter's term."""
    y = F.linear(x, weight)
    for span, term in terms:
        if term is not None:
            term.add_to(y[span], x[span])
    return y


def _places(number: int, config: LlamaConfig) -> tuple[tuple[tuple[tuple[str, int], ...], int], ...]:
    """Of a block's four fused layers, in the order of _Terms: (names and outputs of what is fused, inputs)."""
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


def _layer(read: TensorReader, number: int, config: LlamaConfig) -> _Layer:
    """A block's weights, fused as `_places` says."""
    prefix = f"model.layers.{number}."
    parts = [[read(f"{name}.weight", out, width) for name, out in modules] for modules, width in _places(number, config)]
    fused = [torch.cat(part) if len(part) > 1 else part[0] for part in parts]
    return _Layer(
        attention_norm=read(f"{prefix}input_layernorm.weight", config.hidden),
        qkv=fused[0],
        attention_out=fused[1],
        mlp_norm=read(f"{prefix}post_attention_layernorm.weight", config.hidden),
        gate_up=fused[2],
        down=fused[3],
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
