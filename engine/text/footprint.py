"""Bytes that a causal language model takes beside its weights, from its config: keys and values, and the arithmetic of a pass.

Knows sizes; knows no torch and no model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

ROOM_TOKENS: Final = 256
"""Keys and values grow by so many tokens at a time (engine/text/kv.py)."""
CHUNK_ALONE: Final = 256
"""Most prompt tokens that are computed at once."""
CONVERSATION_TOKENS: Final = 2048
"""A conversation that a loaded model must have room for; longer ones take what is free."""
_SCORED_TOKENS: Final = 64
"""Tokens whose probabilities are computed at once."""
_SMALLEST_MAP: Final = 32 * 2**20
"""An allocator keeps about so much of what it was given back."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """See the module's docstring. All zero: nothing is known."""

    token_bytes: int = 0
    """Keys and values of one token, in all layers."""
    row_bytes: int = 0
    """Activations of one token in one layer, where they are most."""
    score_bytes: int = 0
    """Attention scores of one token for one token that it sees."""
    logits_bytes: int = 0
    """One token's logits, float32."""
    fixed_bytes: int = 0
    """Tables of positions."""

    def cache_bytes(self, tokens: int) -> int:
        """Keys and values of one row with so many tokens."""
        return rooms(tokens) * self.token_bytes

    def pass_bytes(self, tokens: int, context: int) -> int:
        """Arithmetic of `tokens` in one pass, the last of which sees `context` tokens."""
        return tokens * (self.row_bytes + self.score_bytes * context)

    def work_bytes(self, context: int) -> int:
        """All that one conversation of so many tokens takes: its cache, the largest chunk of its prompt, and logits."""
        head = 3 * _SCORED_TOKENS * self.logits_bytes
        return self.fixed_bytes + self.cache_bytes(context) + max(self.pass_bytes(CHUNK_ALONE, context), head) + _SMALLEST_MAP


UNKNOWN: Final = Footprint()


def rooms(tokens: int) -> int:
    """Tokens that a row's caches have space for when so many are in them."""
    return -(-tokens // ROOM_TOKENS) * ROOM_TOKENS


def footprint(config: Mapping[str, Any], width: int, kept_width: int | None = None) -> Footprint:
    """The footprint of the model that a config.json describes, with numbers of `width` bytes (4 or 2), and keys and values of
    `kept_width` (None: the same).
    """
    inner = config.get("text_config")
    config = inner if isinstance(inner, Mapping) else config
    hidden = _size(config, ("hidden_size", "n_embd", "d_model"), 1024)
    layers = _size(config, ("num_hidden_layers", "n_layer", "num_layers"), 24)
    heads = _size(config, ("num_attention_heads", "n_head"), 16)
    kv_heads = _size(config, ("num_key_value_heads",), heads)
    head_dim = _size(config, ("head_dim",), max(1, hidden // heads))
    feed_forward = _size(config, ("intermediate_size", "n_inner", "ffn_dim"), 4 * hidden)
    positions = _size(config, ("max_position_embeddings", "n_positions"), 0)
    return Footprint(
        token_bytes=2 * layers * kv_heads * head_dim * (kept_width or width),
        row_bytes=(6 * hidden + 4 * feed_forward) * width,
        score_bytes=heads * width,
        logits_bytes=_size(config, ("vocab_size",), 50_000) * 4,
        fixed_bytes=2 * positions * head_dim * 4,
    )


def _size(config: Mapping[str, Any], names: tuple[str, ...], default: int) -> int:
    return next((config[name] for name in names if isinstance(config.get(name), int) and config[name] > 0), default)
