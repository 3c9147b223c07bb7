"""Llama-like models on the CPU: prompts in float32, answers in the fastest form that is there.

Importing transformers' Llama takes longer than importing torch and reading the weights together, and a first answer should
come at once. Other architectures, devices and dtypes go through transformers; the tests hold both to the same logits.
Adapters are low-rank terms beside the layers, chosen row by row (engine/text/lora.py). Knows no tokenizer, sampling or threads.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from safetensors import SafetensorError

from engine.device import Device
from engine.errors import BadFileError
from engine.memory import Arbiter, Machine
from engine.models.adapters import BASE, LoraWeights
from engine.text.kv import GrowingCache, GrowingLayer
from engine.text.llama.blocks import after_attention, attend, before_attention, rope_table
from engine.text.llama.config import LlamaConfig
from engine.text.llama.forms import FLOAT32, VERSION, Adapters, Form, float32_form, read_forms, spans_at
from engine.text.llama.packed import apply
from engine.text.llama.preparing import Preparing
from engine.text.llama.weights import LlamaAdapter, LlamaWeights, fuse_adapter, read_weights
from engine.text.lora import grouped

MAX_TOGETHER = 16
"""Rows of one pass. Weights are read once for all of them; past this the arithmetic itself takes the time."""

logger = logging.getLogger(__name__)


class LlamaCache(GrowingCache):
    """One row's keys and values, and the form in which its tokens are computed."""

    def __init__(self, layers: Sequence[GrowingLayer], adapter: LlamaAdapter | None, form: Form) -> None:
        super().__init__(layers, adapter)
        self.form = form

    def _like(self, layers: Sequence[GrowingLayer]) -> Self:
        return type(self)(layers, self.adapter, self.form)


class LlamaBackend:
    """One loaded model; implements engine.text.backend.TextBackend."""

    max_together = MAX_TOGETHER

    def __init__(self, weights: LlamaWeights, config: LlamaConfig, forms: Sequence[Form] = ()) -> None:
        """`forms`: what was prepared of the model, the best one last; float32 is always there."""
        self._config = config
        self._weights: LlamaWeights | None = weights
        self._forms: dict[str, Form] = {}
        self.preparing: Preparing | None = None
        self.vocabulary_size = config.vocabulary
        self._rope = rope_table(config)
        self.adopt([float32_form(weights, config), *forms])

    def adopt(self, forms: Sequence[Form]) -> None:
        """Take up forms, the best one last, for the caches that are made from now on. May be called from any thread."""
        if self._weights is not None:
            self._forms = {**self._forms, **{form.name: form for form in forms}}

    @property
    def size_bytes(self) -> int:
        """Memory of the weights in all their forms."""
        packed = {id(form.layers): form.nbytes for name, form in self._forms.items() if name != FLOAT32}
        return (0 if self._weights is None else self._weights.nbytes) + sum(packed.values())

    def prepare_adapter(self, weights: LoraWeights) -> LlamaAdapter:
        """The adapter's terms, fused as the layers are. Raises BadFileError when it is of another model."""
        return fuse_adapter(weights, self._config)

    def new_cache(self, adapter: LlamaAdapter | None = None, path: Mapping[str, Any] | None = None) -> LlamaCache:
        """An empty cache, computed with `adapter`, in the form that `path` records where it is there."""
        forms = self._forms
        form = forms.get(str((path or {}).get("dtype"))) or [*forms.values()][-1]
        return LlamaCache([GrowingLayer() for _ in range(self._config.layers)], adapter, form)

    def facts(self, cache: LlamaCache) -> Mapping[str, Any]:
        """What a path records of this cache's arithmetic."""
        return {
            "engine": "llama",
            "engine_version": VERSION,
            "torch": torch.__version__,
            "dtype": cache.form.name,
            "device": "cpu",
        }

    def is_row_by_row(self, cache: LlamaCache) -> bool:
        """Whether `step_together` gives this cache the very logits that `step` would: not with an adapter, whose float32 terms
        round differently.
        """
        return cache.form.is_row_by_row and cache.adapter is None

    def adapter_of(self, cache: LlamaCache) -> str:
        """The sha256 of the very weights that are added for this cache, or "base"."""
        return BASE if cache.adapter is None else str(cache.adapter.sha256)

    def prefill(self, cache: LlamaCache, ids: Sequence[int]) -> None:
        """Append `ids` to the cache in one pass; the head is not computed."""
        with torch.inference_mode():
            self._read(cache, ids)

    def step(self, cache: LlamaCache, token: int) -> torch.Tensor:
        """Append one token; logits float32, [vocabulary]."""
        return self.step_together((cache,), (token,))[0]

    def step_together(self, caches: Sequence[LlamaCache], ids: Sequence[int]) -> torch.Tensor:
        """Append one token to each cache; linear layers over all rows at once, attention row by row. [rows, vocabulary].

        A cache that is given several times gets its tokens one behind the other.
        """
        with torch.inference_mode():
            logits = torch.empty(len(ids), self.vocabulary_size)
            for form in {id(cache.form): cache.form for cache in caches}.values():
                rows = [row for row, cache in enumerate(caches) if cache.form is form]
                logits[rows] = self._write(form, [caches[row] for row in rows], [ids[row] for row in rows])
            return logits

    def log_probabilities(self, cache: LlamaCache, ids: Sequence[int], targets: Sequence[int]) -> torch.Tensor:
        """Append `ids` in one pass; log-probability of each target behind its token, [tokens]. Always in float32."""
        with torch.inference_mode():
            shares = F.linear(self._read(cache, ids), self._loaded.head).log_softmax(-1)
            return shares.gather(-1, torch.tensor(targets)[:, None])[:, 0]

    def fork(self, cache: LlamaCache, length: int) -> LlamaCache:
        """A cache of its own with the first `length` tokens; copies nothing."""
        return cache.fork(length)

    def shorten(self, cache: LlamaCache, length: int) -> None:
        """Forget what lies behind the first `length` tokens."""
        cache.shorten(length)

    def close(self) -> None:
        """Let go of the weights."""
        if self.preparing is not None:
            self.preparing.close()
        self._weights = None
        self._forms = {}

    @property
    def _loaded(self) -> LlamaWeights:
        if self._weights is None:
            raise RuntimeError("the backend is closed")
        return self._weights

    def _read(self, cache: LlamaCache, ids: Sequence[int]) -> torch.Tensor:
        """Append `ids` in float32; the normed hidden states, [tokens, hidden]."""
        config, weights = self._config, self._loaded
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

    def _write(self, form: Form, caches: Sequence[LlamaCache], ids: Sequence[int]) -> torch.Tensor:
        """Append one token to each row in this form; logits [rows, vocabulary]."""
        config = self._config
        order, parts = grouped([cache.adapter for cache in caches])
        caches, ids = [caches[row] for row in order], [ids[row] for row in order]
        adapters: Adapters = [(span, caches[span.start].adapter) for span in parts]
        places = torch.tensor(_places(caches))
        cos, sin = self._rope[0][places], self._rope[1][places]
        x = F.embedding(torch.tensor(ids, dtype=torch.long), self._loaded.embedding)
        turned, fresh = before_attention(x, form.layers[0], cos, sin, config, spans_at(adapters, 0))
        last = config.layers - 1
        for number in range(config.layers):
            seen = []
            for row, cache in enumerate(caches):
                own = turned[row, :, None]
                keys, values = cache.layers[number].append(own[None, config.heads :], fresh[row, None, :, None])
                seen.append(attend(own[: config.heads], keys, values, None))
            all_seen = torch.cat(seen) if len(seen) > 1 else seen[0]
            if number < last:
                x, turned, fresh = form.between(number, x, all_seen, cos, sin, adapters)
            else:
                x = after_attention(x, all_seen, form.layers[last], config, spans_at(adapters, last))
        logits = apply(form.head, self._normed(x))
        return logits if len(caches) == 1 else logits[torch.tensor(order).argsort()]

    def _normed(self, x: torch.Tensor) -> torch.Tensor:
        return F.rms_norm(x, (self._config.hidden,), self._loaded.norm, self._config.rms_norm_eps)


def _places(caches: Sequence[LlamaCache]) -> list[int]:
    """The position of each row's token: behind what its cache holds, and behind the tokens that the same cache gets before."""
    places: dict[int, int] = {}
    found = []
    for cache in caches:
        place = places.get(id(cache), cache.length)
        found.append(place)
        places[id(cache)] = place + 1
    return found


def load_llama(
    folder: Path, config: LlamaConfig, prepared: Path | None = None, threads: int = 1, arbiter: Arbiter | None = None
) -> LlamaBackend:
    """Read the weights of a checked folder, and what was prepared of them in the folder `prepared`; None = float32 only.

    Where nothing is prepared yet, that begins in a child process, if the arbiter has room for one. Raises BadFileError when
    weights do not fit the config.
    """
    try:
        weights = read_weights(folder, config)
    except (SafetensorError, OSError, ValueError) as error:
        raise BadFileError(
            f"{folder.name} cannot be loaded: {str(error).splitlines()[0][:200]}.", key="error.model_load", name=folder.name
        ) from error
    backend = LlamaBackend(weights, config)
    if prepared is not None:
        forms = _prepared_forms(weights, config, folder, prepared)
        if forms is None:
            preparing = Preparing(
                folder,
                prepared,
                threads,
                lambda: backend.adopt(_prepared_forms(weights, config, folder, prepared) or []),
                need_bytes=weights.nbytes,
                arbiter=arbiter or Machine(Device("cpu", "float32", threads)),
            )
            backend.preparing = preparing
        else:
            backend.adopt(forms)
    return backend


def _prepared_forms(weights: LlamaWeights, config: LlamaConfig, folder: Path, prepared: Path) -> list[Form] | None:
    """Prepared forms, the best one last; None when nothing is prepared. Damaged files are only a loss of speed."""
    try:
        return read_forms(weights, config, folder, prepared)
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        logger.warning("the prepared form of %s cannot be used: %s", folder.name, error)
        return []
