"""A Llama-like model in C: prompts, answers and scores, alone and together, in one call each.

A row's bits never depend on its company or on how its tokens were cut into passes.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence

import numpy as np

from engine.arrays import Floats
from engine.text.kv import GrowingLayer, Room
from engine.text.llama.adapter import LlamaAdapter
from engine.text.llama.config import LINEARS, LlamaConfig, rope_table
from engine.text.llama.forms import NATIVE, LlamaCache
from engine.text.llama.native.library import CLayer, CLinear, CModel, CSpan, Library
from engine.text.llama.native.tiles import TILE, Tiles
from engine.text.llama.native.weights import EXTRAS, NORMS, NativeWeights


class NativeForm:
    """Implements engine.text.llama.forms.Form."""

    needs_float32 = False
    can_cut = True

    def __init__(self, library: Library, weights: NativeWeights, config: LlamaConfig, threads: int = 1) -> None:
        self._threads = threads
        self.name = f"int{weights.bits}, {NATIVE}"
        self._config = config
        self._library = library
        self._tables = rope_table(config)
        self.weights = weights
        self._layers = (CLayer * config.layers)(
            *(
                CLayer(
                    *(getattr(layer, name).ctypes.data for name in NORMS),
                    *(_linear(getattr(layer, name)) for name in LINEARS),
                    *(None if array is None else array.ctypes.data for array in (getattr(layer, name) for name in EXTRAS)),
                    number not in config.unturned,
                )
                for number, layer in enumerate(weights.layers)
            )
        )
        self._model = CModel(
            ctypes.addressof(self._layers),
            weights.norm.ctypes.data,
            *(table.ctypes.data for table in self._tables),
            _linear(weights.embedding),
            _linear(weights.head),
            config.layers,
            config.hidden,
            config.heads,
            config.kv_heads,
            config.head_dim,
            config.intermediate,
            config.rms_norm_eps,
        )
        weakref.finalize(self, library.release, self._model)

    @property
    def nbytes(self) -> int:
        """See Form; with the memory that passes work in."""
        return self.weights.nbytes + int(self._model.memory_size)

    def use_threads(self, count: int) -> None:
        """See Form."""
        self._threads = count

    def new_layers(self) -> list[GrowingLayer]:
        """See Form: all layers lie together."""
        return [GrowingLayer()]

    def is_row_by_row(self, adapter: LlamaAdapter | None) -> bool:
        """See Form."""
        return True

    def prefill(self, cache: LlamaCache, ids: Sequence[int]) -> None:
        """See Form."""
        self._run([(cache, ids)], has_logits=False)

    def step_together(self, caches: Sequence[LlamaCache], ids: Sequence[int]) -> Floats:
        """See Form."""
        places: dict[int, list[int]] = {}
        for place, cache in enumerate(caches):
            places.setdefault(id(cache), []).append(place)
        logits = self._run([(caches[own[0]], [ids[place] for place in own]) for own in places.values()])
        order = [place for own in places.values() for place in own]
        return logits if order == [*range(len(order))] else logits[np.argsort(order)]

    def log_probabilities(self, cache: LlamaCache, ids: Sequence[int], targets: Sequence[int]) -> Floats:
        """See Form."""
        logits = self._run([(cache, ids)])
        highest = logits.max(-1)
        wanted = logits[np.arange(len(targets)), targets] - highest
        logits -= highest[:, None]
        return np.asarray(wanted - np.log(np.exp(logits, out=logits).sum(-1)), dtype=np.float32)

    def _run(self, rows: Sequence[tuple[LlamaCache, Sequence[int]]], *, has_logits: bool = True) -> Floats:
        """Append tokens to rows; logits after each token, row by row, [tokens, vocabulary]."""
        every = [number for _, ids in rows for number in ids]
        size = self._config.vocabulary
        if (
            not 0 <= min(every) <= max(every) < size
            or max(len(ids) + cache.length for cache, ids in rows) > self._config.positions
        ):
            raise IndexError("a token or its place is not the model's")  # C would read something else there
        logits = np.empty((len(every) if has_logits else 0, -(-size // TILE) * TILE), np.float32)
        all_ids = (ctypes.c_int32 * len(every))(*every)
        spans, address = [], ctypes.addressof(all_ids)
        for cache, ids in rows:
            (layer,) = cache.layers
            position = layer.length
            room = layer.extend(len(ids), self._empty_room)
            adapter: LlamaAdapter | None = cache.adapter
            terms = None if adapter is None else adapter.native.address
            keys, values = room.keys.ctypes.data, room.values.ctypes.data
            spans.append(CSpan(address, keys, values, terms, room.capacity, position, len(ids), has_logits))
            address += 4 * len(ids)
        self._library.run(self._model, spans, logits, self._threads)
        return logits[:, :size]

    def _empty_room(self, capacity: int) -> Room:
        config = self._config
        shape = (config.layers, config.kv_heads, capacity, config.head_dim)
        return Room(np.empty(shape, np.float16), np.empty(shape, np.float16))


def _linear(tiles: Tiles) -> CLinear:
    return CLinear(tiles.data.ctypes.data, tiles.outputs, tiles.inputs, tiles.bits)
