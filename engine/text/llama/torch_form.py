"""A Llama-like model in plain torch: prompts in float32, whose products of many rows are the fastest there; answers in float32
or in torch's own 4 bits. Every other form is held to the same logits.

Adapters are low-rank terms beside the layers, chosen row by row (engine/text/lora.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from engine.arrays import Floats
from engine.device import use_threads
from engine.text.kv import GrowingLayer
from engine.text.llama.adapter import LlamaAdapter
from engine.text.llama.blocks import Layer, Terms, after_attention, attend, before_attention
from engine.text.llama.config import LlamaConfig, rope_table
from engine.text.llama.forms import FLOAT32, LlamaCache
from engine.text.llama.packed import Weight, apply
from engine.text.llama.weights import LlamaWeights, layer_bytes
from engine.text.lora import grouped


class TorchForm:
    """Implements engine.text.llama.forms.Form."""

    needs_float32 = True
    can_cut = False

    def __init__(
        self,
        weights: LlamaWeights,
        config: LlamaConfig,
        name: str = FLOAT32,
        packed: tuple[Sequence[Layer], Weight] | None = None,
        *,
        is_row_by_row: bool = False,
    ) -> None:
        """`packed`: layers and head for answers, and whether a row's bits do not depend on its company there; without them
        answers are computed in float32, which never has that.
        """
        self.name = name
        self._config = config
        self.weights = weights
        self._layers, self._head = packed or (weights.layers, weights.head)
        self._is_row_by_row = is_row_by_row
        self._rope = tuple(map(torch.from_numpy, rope_table(config)))

    @property
    def nbytes(self) -> int:
        """See Form; the float32 weights are counted once, by the form that has nothing else."""
        if self._layers is self.weights.layers:
            return self.weights.nbytes
        return self._head.nbytes + sum(layer_bytes(layer) for layer in self._layers)

    def use_threads(self, count: int) -> None:
        """See Form."""
        use_threads(count)

    def new_layers(self) -> list[GrowingLayer]:
        """See Form."""
        return [GrowingLayer() for _ in range(self._config.layers)]

    def is_row_by_row(self, adapter: LlamaAdapter | None) -> bool:
        """See Form: not with an adapter, whose float32 terms round differently in a pass of many rows."""
        return self._is_row_by_row and adapter is None

    def prefill(self, cache: LlamaCache, ids: Sequence[int]) -> None:
        """See Form."""
        with torch.inference_mode():
            self._read(cache, ids)

    def log_probabilities(self, cache: LlamaCache, ids: Sequence[int], targets: Sequence[int]) -> Floats:
        """See Form. In float32."""
        with torch.inference_mode():
            shares = F.linear(self._read(cache, ids), self.weights.head).log_softmax(-1)
            return shares.gather(-1, torch.tensor(targets)[:, None])[:, 0].numpy()

    def step_together(self, caches: Sequence[LlamaCache], ids: Sequence[int]) -> Floats:
        """See Form: linear layers over all rows at once, attention row by row."""
        with torch.inference_mode():
            return self._write(caches, ids).numpy()

    def _write(self, caches: Sequence[LlamaCache], ids: Sequence[int]) -> torch.Tensor:
        config = self._config
        order, parts = grouped([cache.adapter for cache in caches])
        caches, ids = [caches[row] for row in order], [ids[row] for row in order]
        adapters = [(span, caches[span.start].adapter) for span in parts]
        places = torch.tensor(_places(caches))
        cos, sin = self._rope[0][places], self._rope[1][places]
        x = F.embedding(torch.tensor(ids, dtype=torch.long), self.weights.embedding)
        for number, layer in enumerate(self._layers):
            spans = _spans_at(adapters, number)
            turned, fresh = before_attention(x, layer, cos, sin, config, spans)
            seen = []
            for row, cache in enumerate(caches):
                own = turned[row, :, None]
                keys, values = cache.layers[number].append(own[None, config.heads :], fresh[row, None, :, None])
                seen.append(attend(own[: config.heads], keys, values, None))
            x = after_attention(x, torch.cat(seen) if len(seen) > 1 else seen[0], layer, config, spans)
        logits = apply(self._head, self._normed(x))
        return logits if len(caches) == 1 else logits[torch.tensor(order).argsort()]

    def _read(self, cache: LlamaCache, ids: Sequence[int]) -> torch.Tensor:
        """Append `ids` in float32; the normed hidden states, [tokens, hidden]."""
        config, weights = self._config, self.weights
        past, count = cache.length, len(ids)
        cos, sin = self._rope[0][past : past + count], self._rope[1][past : past + count]
        # A chunk behind earlier tokens sees all of them and its own past; a first chunk is plainly causal.
        mask = torch.ones(count, past + count, dtype=torch.bool).tril(past) if past and count > 1 else None
        adapter: LlamaAdapter | None = cache.adapter
        x = F.embedding(torch.tensor(ids, dtype=torch.long), weights.embedding)
        for number, (layer, kept) in enumerate(zip(weights.layers, cache.layers, strict=True)):
            spans = () if adapter is None else ((slice(None), adapter.layers[number]),)
            turned, fresh = before_attention(x, layer, cos, sin, config, spans)
            keys, values = kept.append(turned[:, config.heads :].transpose(0, 1)[None], fresh.transpose(0, 1)[None])
            seen = attend(turned[:, : config.heads].transpose(0, 1), keys, values, mask)
            x = after_attention(x, seen, layer, config, spans)
        return self._normed(x)

    def _normed(self, x: torch.Tensor) -> torch.Tensor:
        return F.rms_norm(x, (self._config.hidden,), self.weights.norm, self._config.rms_norm_eps)


def _spans_at(spans: Sequence[tuple[slice, LlamaAdapter | None]], number: int) -> list[tuple[slice, Terms]]:
    """Which rows have which terms in one block."""
    return [(span, adapter.layers[number]) for span, adapter in spans if adapter is not None]


def _places(caches: Sequence[LlamaCache]) -> list[int]:
    """The position of each row's token: behind what its cache holds, and behind the tokens that the same cache gets before."""
    places: dict[int, int] = {}
    found = []
    for cache in caches:
        place = places.get(id(cache), cache.length)
        found.append(place)
        places[id(cache)] = place + 1
    return found
