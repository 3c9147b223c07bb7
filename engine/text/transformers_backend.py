"""The backend for any causal language model that transformers knows: float32 on a CPU, bfloat16 on CUDA.

Each row is stepped alone, so that its arithmetic never depends on its neighbours, unless it is asked to step some together.
Adapters are low-rank terms that hooks add to the linear layers while a row of theirs is computed (engine/text/lora.py). Knows
torch and transformers; knows no chat, no sampling and no threads.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from transformers import AutoModelForCausalLM
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from engine.arrays import Floats
from engine.device import Device, use_threads
from engine.errors import BadFileError
from engine.models.adapters import BASE, LoraWeights
from engine.text.kv import GrowingCache, GrowingLayer
from engine.text.lora import does_not_fit, grouped
from engine.text.low_rank import fuse
from engine.text.torch_term import TorchTerm, torch_term

MAX_TOGETHER = 16
"""Rows of one pass."""

logger = logging.getLogger(__name__)


class _CacheLayer(DynamicLayer):  # type: ignore[misc]
    """One growing layer behind transformers' cache interface; its own dynamic layer copies everything at each token."""

    def __init__(self, layer: GrowingLayer) -> None:
        super().__init__()
        self.layer = layer
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append and return all keys and values, as views."""
        return self.layer.append(key_states, value_states)

    def get_seq_length(self) -> int:
        """Tokens in it."""
        return self.layer.length


class _TogetherLayer(DynamicLayer):  # type: ignore[misc]
    """One layer of several rows as one: shorter rows are padded on the left, where the attention mask hides them."""

    def __init__(self, rows: Sequence[GrowingLayer]) -> None:
        super().__init__()
        self.rows = rows
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append [rows, heads, 1, width] each; return all keys and values, padded to the longest row."""
        longest = self.get_seq_length() + 1
        shape = (*key_states.shape[:2], longest)
        keys = key_states.new_zeros((*shape, key_states.shape[3]))
        values = value_states.new_zeros((*shape, value_states.shape[3]))
        for number, row in enumerate(self.rows):
            own_keys, own_values = row.append(key_states[number, None], value_states[number, None])
            keys[number, :, longest - row.length :] = own_keys[0]
            values[number, :, longest - row.length :] = own_values[0]
        return keys, values

    def get_seq_length(self) -> int:
        """Tokens of the longest row."""
        return max(row.length for row in self.rows)


@dataclass(frozen=True, slots=True)
class TransformersAdapter:
    """A LoRA adapter as this backend computes it; implements engine.text.lora.LoadedAdapter."""

    sha256: str
    terms: Mapping[str, TorchTerm]
    """By the linear layer's name."""

    @property
    def size_bytes(self) -> int:
        """Memory of its terms."""
        return sum(term.size_bytes for term in self.terms.values())


class TransformersCache(GrowingCache):
    """A row's cache that transformers' models can write to as `view`."""

    def __init__(self, layers: Sequence[GrowingLayer], adapter: TransformersAdapter | None = None) -> None:
        super().__init__(layers, adapter)
        self.view = Cache(layers=[_CacheLayer(layer) for layer in layers])


class TransformersBackend:
    """One loaded model; implements engine.text.backend.TextBackend."""

    max_together = MAX_TOGETHER

    def __init__(self, folder: Path, device: Device) -> None:
        """Load the weights of a checked folder (safetensors only, no code, no network).

        Raises BadFileError when they do not fit together or the model keeps something else than keys and values.
        """
        transformers.utils.logging.disable_progress_bar()
        try:
            model = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=getattr(torch, device.dtype),
                attn_implementation="sdpa",
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
            )
        except (ValueError, KeyError, AttributeError, ImportError, OSError) as error:
            raise BadFileError(
                f"{folder.name} cannot be loaded: {str(error).splitlines()[0][:200]}.", key="error.model_load", name=folder.name
            ) from error
        self._model = model.to(device.name).eval().requires_grad_(False)
        config = self._model.config.get_text_config()
        kinds = DynamicCache(config=config).layers
        if any(type(layer) not in (DynamicLayer, DynamicSlidingWindowLayer) for layer in kinds):
            raise BadFileError(
                f"{folder.name} is of a kind ({config.model_type}) that this studio cannot run yet.",
                key="error.model_kind",
                name=folder.name,
                family=config.model_type,
            )
        self._layers = len(kinds) or int(config.num_hidden_layers)
        self._device = torch.device(device.name)
        self._linears = {name: part for name, part in self._model.named_modules() if isinstance(part, torch.nn.Linear)}
        self._terms: list[tuple[slice, Mapping[str, TorchTerm]]] = []
        """Those of the rows that are being computed."""
        for name, part in self._linears.items():
            part.register_forward_hook(self._adding(name))
        self.vocabulary_size = int(config.vocab_size)
        tensors = {tensor.data_ptr(): tensor.nbytes for tensor in [*self._model.parameters(), *self._model.buffers()]}
        self.size_bytes = sum(tensors.values())
        self._facts: Mapping[str, Any] = {
            "engine": "transformers",
            "engine_version": transformers.__version__,
            "torch": torch.__version__,
            "dtype": device.dtype,
            "device": device.name,
        }

    def use_threads(self, count: int) -> None:
        """See TextBackend."""
        use_threads(count)

    def prepare_adapter(self, weights: LoraWeights) -> TransformersAdapter:
        """The adapter's terms in the model's dtype and on its device. Raises BadFileError when it is of another model."""
        terms: dict[str, TorchTerm] = {}
        for name in weights.modules:
            part = self._linears.get(name)
            if part is None:
                raise does_not_fit(f"it has no layer {name}")
            term = fuse(weights, [(name, part.out_features)], part.in_features)
            if term is not None:
                terms[name] = torch_term(term, part.weight)
        return TransformersAdapter(weights.sha256, terms)

    def facts(self, cache: TransformersCache) -> Mapping[str, Any]:  # noqa: ARG002  # all caches are computed in one way
        """What a path records."""
        return self._facts

    def is_row_by_row(self, cache: TransformersCache) -> bool:  # noqa: ARG002
        """Rows of one pass round differently from rows alone."""
        return False

    def can_cut(self, cache: TransformersCache) -> bool:  # noqa: ARG002
        """A pass of many tokens rounds differently from one of few."""
        return False

    def is_current(self, cache: TransformersCache) -> bool:  # noqa: ARG002
        """There is one form only."""
        return True

    def new_cache(
        self,
        adapter: TransformersAdapter | None = None,
        path: Mapping[str, Any] | None = None,  # noqa: ARG002  # there is one form only
    ) -> TransformersCache:
        """An empty cache, computed with `adapter`."""
        return TransformersCache([GrowingLayer() for _ in range(self._layers)], adapter)

    def adapter_of(self, cache: TransformersCache) -> str:
        """The sha256 of the very weights that the hooks add for this cache, or "base"."""
        return BASE if cache.adapter is None else str(cache.adapter.sha256)

    def prefill(self, cache: TransformersCache, ids: Sequence[int]) -> None:
        """Append `ids` to the cache in one pass; the head is not computed."""
        self._compute(self._model.base_model, cache, ids)

    def step(self, cache: TransformersCache, token: int) -> Floats:
        """Append one token; logits [vocabulary]."""
        logits: torch.Tensor = self._compute(self._model, cache, (token,), logits_to_keep=1).logits
        return logits[0, -1].float().cpu().numpy()

    def step_together(self, caches: Sequence[TransformersCache], ids: Sequence[int]) -> Floats:
        """Append one token to each cache in one pass; logits [rows, vocabulary]."""
        order, spans = grouped([cache.adapter for cache in caches])
        caches, ids = [caches[row] for row in order], [ids[row] for row in order]
        lengths = self._tensor([cache.length for cache in caches])[0]
        # Rows end at the same place; what lies before a shorter one's first token is hidden.
        shown = torch.arange(int(lengths.max()), -1, -1, device=self._device) <= lengths[:, None]
        self._terms = [(span, _terms(caches[span.start])) for span in spans]
        with torch.inference_mode():
            output = self._model(
                input_ids=self._tensor(ids).T,
                attention_mask=shown.long(),
                position_ids=lengths[:, None],
                past_key_values=Cache(layers=[_TogetherLayer(rows) for rows in zip(*(c.layers for c in caches), strict=True)]),
                use_cache=True,
                logits_to_keep=1,
            )
            logits: torch.Tensor = output.logits[:, -1].float().cpu()
            return logits[torch.tensor(order).argsort()].numpy()

    def log_probabilities(self, cache: TransformersCache, ids: Sequence[int], targets: Sequence[int]) -> Floats:
        """Append `ids` in one pass; log-probability of each target behind its token, [tokens]."""
        shares: torch.Tensor = self._compute(self._model, cache, ids).logits[0].float().log_softmax(-1)
        return shares.gather(-1, self._tensor(targets)[0, :, None])[:, 0].cpu().numpy()

    def fork(self, cache: TransformersCache, length: int) -> TransformersCache:
        """A cache of its own with the first `length` tokens; copies nothing."""
        return cache.fork(length)

    def shorten(self, cache: TransformersCache, length: int) -> None:
        """Forget what lies behind the first `length` tokens."""
        cache.shorten(length)

    def close(self) -> None:
        """Let go of the weights."""
        self._model = None

    def _compute(self, part: Any, cache: TransformersCache, ids: Sequence[int], **options: Any) -> Any:
        """One pass of one row, with its adapter's terms and nobody else's."""
        self._terms = [(slice(None), _terms(cache))]
        with torch.inference_mode():
            return part(input_ids=self._tensor(ids), past_key_values=cache.view, use_cache=True, **options)

    def _adding(self, name: str) -> Callable[[torch.nn.Module, tuple[torch.Tensor, ...], torch.Tensor], None]:
        """The hook of one linear layer: adds each row's term, if its adapter has one for this layer."""

        def add(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            for span, terms in self._terms:
                term = terms.get(name)
                if term is not None:
                    output[span] += F.linear(inputs[0][span], term.down) @ term.up

        return add

    def _tensor(self, ids: Sequence[int]) -> torch.Tensor:
        return torch.tensor([list(ids)], dtype=torch.long, device=self._device)


def _terms(cache: TransformersCache) -> Mapping[str, TorchTerm]:
    """What this row's adapter adds, by layer."""
    adapter: TransformersAdapter | None = cache.adapter
    return {} if adapter is None else adapter.terms
