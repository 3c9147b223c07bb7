"""The arithmetic of a Llama block, in two halves around attention, and attention itself.

One code for prompts and answers, float32 and packed weights, with and without adapters.
Knows tensors; knows no cache and no file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.nn.functional as F

from engine.text.llama.config import LlamaConfig
from engine.text.llama.packed import Weight, apply
from engine.text.torch_term import TorchTerm


@dataclass(frozen=True, slots=True)
class Layer:
    """One block's weights; query, key and value in one matrix, and so are gate and up."""

    attention_norm: torch.Tensor
    qkv: Weight
    attention_out: Weight
    mlp_norm: torch.Tensor
    gate_up: Weight
    down: Weight
    is_turned: bool = True
    qkv_bias: torch.Tensor | None = None
    query_norm: torch.Tensor | None = None
    key_norm: torch.Tensor | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """What an adapter adds to one block's four linear layers."""

    qkv: TorchTerm | None = None
    attention_out: TorchTerm | None = None
    gate_up: TorchTerm | None = None
    down: TorchTerm | None = None


Spans: TypeAlias = Sequence[tuple[slice, Terms]]
"""Which rows have which terms."""


def before_attention(
    x: torch.Tensor, layer: Layer, cos: torch.Tensor, sin: torch.Tensor, config: LlamaConfig, spans: Spans = ()
) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states [rows, hidden] → turned queries and keys [rows, heads + kv_heads, width], values [rows, kv_heads, width].

    cos, sin: float32 [rows, width], of the rows' positions (config.rope_table).
    """
    h = F.rms_norm(x, (config.hidden,), layer.attention_norm, config.rms_norm_eps)
    fused = _linear(h, layer.qkv, [(span, terms.qkv) for span, terms in spans])
    if layer.qkv_bias is not None:
        fused = fused + layer.qkv_bias
    heads = fused.view(-1, config.turned_heads + config.kv_heads, config.head_dim)
    turned, half = heads[:, : config.turned_heads], config.head_dim // 2
    if layer.query_norm is not None and layer.key_norm is not None:
        pairs = (turned[:, : config.heads], layer.query_norm), (turned[:, config.heads :], layer.key_norm)
        turned = torch.cat([F.rms_norm(own, (config.head_dim,), norm, config.rms_norm_eps) for own, norm in pairs], 1)
    if not layer.is_turned:
        return turned, heads[:, config.turned_heads :]
    swapped = torch.cat([turned[..., half:], turned[..., :half]], -1)
    return turned * cos[:, None] + swapped * sin[:, None], heads[:, config.turned_heads :]


def after_attention(x: torch.Tensor, seen: torch.Tensor, layer: Layer, config: LlamaConfig, spans: Spans = ()) -> torch.Tensor:
    """Hidden states and what attention saw, [rows, hidden] and [rows, heads x width] → the block's output, [rows, hidden]."""
    x = x + _linear(seen, layer.attention_out, [(span, terms.attention_out) for span, terms in spans])
    h = F.rms_norm(x, (config.hidden,), layer.mlp_norm, config.rms_norm_eps)
    gate, up = _linear(h, layer.gate_up, [(span, terms.gate_up) for span, terms in spans]).chunk(2, dim=-1)
    return x + _linear(F.silu(gate) * up, layer.down, [(span, terms.down) for span, terms in spans])


def attend(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Grouped-query attention: [heads, tokens, width] over keys and values [1, kv_heads, past, width] → [tokens, hidden]."""
    heads, count, width = queries.shape
    if count == 1:  # the query heads of one key head become its query positions: no keys are repeated
        grouped = queries.view(1, keys.shape[1], -1, width)
        return F.scaled_dot_product_attention(grouped, keys, values).reshape(1, heads * width)
    out = F.scaled_dot_product_attention(queries[None], keys, values, attn_mask=mask, is_causal=mask is None, enable_gqa=True)
    return out[0].transpose(0, 1).reshape(count, heads * width)


def _linear(x: torch.Tensor, weight: Weight, terms: Sequence[tuple[slice, TorchTerm | None]]) -> torch.Tensor:
    """x [rows, in] through a layer; each span of rows with its own adapter's term."""
    y = apply(weight, x)
    for span, term in terms:
        if term is not None:
            term.add_to(y[span], x[span])
    return y
