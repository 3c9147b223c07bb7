"""The backend for any causal language model that transformers knows: float32 on a CPU, bfloat16 on CUDA, fewer bits when asked.

On CUDA rows step at desks (engine/text/desk.py). Elsewhere each row is stepped alone, so that its arithmetic never depends on its
neighbours, unless it is asked to step some together.
Adapters are low-rank terms that hooks add to the linear layers while a row of theirs is computed (engine/text/lora.py). Knows
torch and transformers; knows no chat, no sampling and no threads.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from transformers import AutoModelForCausalLM, BitsAndBytesConfig
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from engine.arrays import Floats
from engine.device import Device, use_threads
from engine.errors import BadFileError
from engine.models.adapters import BASE, LoraWeights
from engine.text.desk import Desk, Desks, recorder
from engine.text.kv import GrowingCache, GrowingLayer
from engine.text.lora import does_not_fit, grouped
from engine.text.low_rank import fuse
from engine.text.torch_term import TorchTerm, torch_term

MAX_TOGETHER = 16
"""Rows of one pass."""
_ROUNDED: Final = {8: "int8", 4: "nf4"}
"""What weights of so many bits are called."""
_CLOSE = 0.05
"""Mean difference of logits, in their standard deviations, that rounding alone may make."""

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
        self.desk: Desk | None = None
        self.pending = 0
        """Tokens that are at the desk only."""

    @property
    def length(self) -> int:
        """Tokens in it."""
        return super().length + self.pending


class TransformersBackend:
    """One loaded model; implements engine.text.backend.TextBackend."""

    max_together = MAX_TOGETHER

    def __init__(self, folder: Path, device: Device, free_bytes: Callable[[], int], weight_bits: int | None = None) -> None:
        """Load the weights of a checked folder (safetensors only, no code, no network).

        `free_bytes` is asked before desks are made. `weight_bits`: 8 or 4 for the linear layers, rounded while they are read
        (LLM.int8, arXiv:2208.07339; NF4, arXiv:2305.14314); None = the device's own numbers.

        Raises BadFileError when they do not fit together or the model keeps something else than keys and values.
        """
        transformers.utils.logging.disable_progress_bar()
        dtype = getattr(torch, device.dtype)
        try:
            model = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=dtype,
                quantization_config=None if weight_bits is None else _quantised(weight_bits, dtype),
                device_map={"": device.name},
                attn_implementation="sdpa",
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
            )
        except (ValueError, KeyError, AttributeError, ImportError, OSError) as error:
            raise BadFileError(
                f"{folder.name} cannot be loaded: {str(error).splitlines()[0][:200]}.", key="error.model_load", name=folder.name
            ) from error
        self._model = model.eval().requires_grad_(False)
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
        self._like = torch.empty(0, dtype=dtype, device=self._device)
        """Numbers of the kind that it computes with."""
        self._linears = {name: part for name, part in self._model.named_modules() if isinstance(part, torch.nn.Linear)}
        self._terms: list[tuple[slice, Mapping[str, TorchTerm]]] = []
        """Those of the rows that are being computed."""
        for name, part in self._linears.items():
            part.register_forward_hook(self._adding(name))
        self.vocabulary_size = int(config.vocab_size)
        tensors = {tensor.data_ptr(): tensor.nbytes for tensor in [*self._model.parameters(), *self._model.buffers()]}
        self._weights_bytes: int = sum(tensors.values())
        record = recorder(device)
        sees_all = all(type(layer) is DynamicLayer for layer in kinds)
        self._desks = None if record is None or not sees_all else Desks(self._at_desk, record, free_bytes)
        if self._desks is not None and not self._desks_agree():
            self._desks = None
        self._facts: Mapping[str, Any] = {
            "engine": "transformers",
            "engine_version": transformers.__version__,
            "torch": torch.__version__,
            "dtype": device.dtype if weight_bits is None else _ROUNDED[weight_bits],
            "device": device.name,
            "steps": "alone" if self._desks is None else "recorded",
        }

    @property
    def size_bytes(self) -> int:
        """Memory of the weights, and of the desks."""
        return self._weights_bytes + (0 if self._desks is None else self._desks.size_bytes)

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
                terms[name] = torch_term(term, self._like)
        return TransformersAdapter(weights.sha256, terms)

    def facts(self, cache: TransformersCache) -> Mapping[str, Any]:  # noqa: ARG002  # all caches are computed in one way
        """What a path records."""
        return self._facts

    def is_row_by_row(self, cache: TransformersCache) -> bool:  # noqa: ARG002
        """At a desk every pass has the same shapes; elsewhere rows of one pass round differently from rows alone."""
        return self._desks is not None

    def can_guess(self, cache: TransformersCache) -> bool:  # noqa: ARG002
        """A row has one seat."""
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
        self._leave(cache)
        self._compute(self._model.base_model, cache, ids)

    def step(self, cache: TransformersCache, token: int) -> Floats:
        """Append one token; logits [vocabulary]."""
        desk = self._desk(cache)
        if desk is not None:
            with torch.inference_mode():
                return _floats(desk.step([cache], [token])[0])
        self._leave(cache)
        return _floats(self._compute(self._model, cache, (token,), logits_to_keep=1).logits[0, -1])

    def step_together(self, caches: Sequence[TransformersCache], ids: Sequence[int]) -> Floats:
        """Append one token to each cache in one pass, or at each desk in one for each adapter; logits [rows, vocabulary]."""
        if self._desks is None:
            return self._padded(caches, ids)
        order, spans = grouped([cache.adapter for cache in caches])
        logits = np.empty((len(caches), self.vocabulary_size), np.float32)
        for span in spans:
            waiting = order[span]
            while waiting:
                desk = self._desk(caches[waiting[0]])
                if desk is None:
                    row = waiting.pop(0)
                    logits[row] = self.step(caches[row], ids[row])
                    continue
                rows = [row for row in waiting if self._desk(caches[row]) is desk][: desk.seats]
                waiting = [row for row in waiting if row not in rows]
                with torch.inference_mode():
                    logits[rows] = _floats(desk.step([caches[row] for row in rows], [ids[row] for row in rows]))
        return logits

    def log_probabilities(self, cache: TransformersCache, ids: Sequence[int], targets: Sequence[int]) -> Floats:
        """Append `ids` in one pass; log-probability of each target behind its token, [tokens]."""
        self._leave(cache)
        shares: torch.Tensor = self._compute(self._model, cache, ids).logits[0].float().log_softmax(-1)
        return shares.gather(-1, self._tensor(targets)[0, :, None])[:, 0].cpu().numpy()

    def fork(self, cache: TransformersCache, length: int) -> TransformersCache:
        """A cache of its own with the first `length` tokens; copies nothing but what was at a desk."""
        self._leave(cache)
        return cache.fork(length)

    def shorten(self, cache: TransformersCache, length: int) -> None:
        """Forget what lies behind the first `length` tokens."""
        self._leave(cache)
        cache.shorten(length)

    def close(self) -> None:
        """Let go of the weights."""
        self._model = self._desks = None
        self._linears, self._terms = {}, []

    def _desk(self, cache: TransformersCache) -> Desk | None:
        """Where the next token of this row is computed; None = alone."""
        return None if self._desks is None else self._desks.desk(cache)

    def _leave(self, cache: TransformersCache) -> None:
        """Have all tokens of this row in its own cache."""
        if cache.desk is not None:
            with torch.inference_mode():
                cache.desk.leave(cache)

    def _at_desk(
        self, ids: torch.Tensor, positions: torch.Tensor, shown: torch.Tensor, cache: Cache, adapter: TransformersAdapter | None
    ) -> torch.Tensor:
        """Implements engine.text.desk.Compute."""
        self._terms = [(slice(None), _terms(adapter))]
        output = self._model(
            input_ids=ids, position_ids=positions, attention_mask=shown, cache=cache, use_cache=True, logits_to_keep=1
        )
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    def _desks_agree(self) -> bool:
        """Whether a step at a desk is recorded without an error, computes what a step alone does, and to the bit the same
        in company.
        """
        prompt, token = range(1, 9), 0
        try:
            cache = self.new_cache()
            self.prefill(cache, prompt)
            there, beside, alone = (self.fork(cache, len(prompt)) for _ in range(3))
            recorded = self.step(there, token)
            _, in_company = self.step_together([there, beside], [token, token])
            expected = _floats(self._compute(self._model, alone, (token,), logits_to_keep=1).logits[0, -1])
        except Exception:  # whatever a graph cannot hold: every model still works without
            logger.exception("steps of this model are not recorded")
            return False
        differ = float(np.abs(recorded - expected).mean())
        agree = differ <= _CLOSE * float(expected.std()) and np.array_equal(recorded, in_company)
        if not agree:
            logger.warning("recorded steps compute something else (%s); they are not used", differ)
        return agree

    def _padded(self, caches: Sequence[TransformersCache], ids: Sequence[int]) -> Floats:
        """One token for each cache in one pass, shorter rows padded."""
        order, spans = grouped([cache.adapter for cache in caches])
        caches, ids = [caches[row] for row in order], [ids[row] for row in order]
        lengths = self._tensor([cache.length for cache in caches])[0]
        # Rows end at the same place; what lies before a shorter one's first token is hidden.
        shown = torch.arange(int(lengths.max()), -1, -1, device=self._device) <= lengths[:, None]
        self._terms = [(span, _terms(caches[span.start].adapter)) for span in spans]
        with torch.inference_mode():
            output = self._model(
                input_ids=self._tensor(ids).T,
                attention_mask=shown.long(),
                position_ids=lengths[:, None],
                cache=Cache(layers=[_TogetherLayer(rows) for rows in zip(*(c.layers for c in caches), strict=True)]),
                use_cache=True,
                logits_to_keep=1,
            )
            return _floats(output.logits[torch.tensor(order).argsort(), -1])

    def _compute(self, part: Any, cache: TransformersCache, ids: Sequence[int], **options: Any) -> Any:
        """One pass of one row, with its adapter's terms and nobody else's."""
        self._terms = [(slice(None), _terms(cache.adapter))]
        with torch.inference_mode():
            return part(input_ids=self._tensor(ids), cache=cache.view, use_cache=True, **options)

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


def _quantised(bits: int, dtype: torch.dtype) -> BitsAndBytesConfig:
    if bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)


def _floats(logits: torch.Tensor) -> Floats:
    """For the sampler, which computes on the CPU."""
    values: Floats = logits.float().cpu().numpy()
    return values


def _terms(adapter: TransformersAdapter | None) -> Mapping[str, TorchTerm]:
    """What it adds, by layer."""
    return {} if adapter is None else adapter.terms
