"""The backend for any causal language model that transformers knows: float32 on a CPU, bfloat16 on CUDA.

Each row is stepped alone, so that its arithmetic never depends on its neighbours. Knows torch and transformers; knows no
chat, no sampling and no threads.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from engine.device import Device
from engine.errors import BadFileError
from engine.text.kv import GrowingCache, GrowingLayer

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


class TransformersCache(GrowingCache):
    """A row's cache that transformers' models can write to as `view`."""

    def __init__(self, layers: Sequence[GrowingLayer]) -> None:
        super().__init__(layers)
        self.view = Cache(layers=[_CacheLayer(layer) for layer in layers])


class TransformersBackend:
    """One loaded model; implements engine.text.backend.TextBackend."""

    max_rows = 1

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
        self.vocabulary_size = int(config.vocab_size)
        tensors = {tensor.data_ptr(): tensor.nbytes for tensor in [*self._model.parameters(), *self._model.buffers()]}
        self.size_bytes = sum(tensors.values())
        self.facts: Mapping[str, Any] = {
            "engine": "transformers",
            "engine_version": transformers.__version__,
            "torch": torch.__version__,
            "dtype": device.dtype,
            "device": device.name,
            "batched": False,
        }

    def new_cache(self) -> TransformersCache:
        """An empty cache."""
        return TransformersCache([GrowingLayer() for _ in range(self._layers)])

    def prefill(self, cache: TransformersCache, ids: Sequence[int]) -> None:
        """Append `ids` to the cache in one pass; the head is not computed."""
        with torch.inference_mode():
            self._model.base_model(input_ids=self._tensor(ids), past_key_values=cache.view, use_cache=True)

    def step(self, caches: Sequence[TransformersCache], ids: Sequence[int]) -> torch.Tensor:
        """Append one token to each cache; logits float32 on the CPU, [rows, vocabulary]."""
        rows = []
        with torch.inference_mode():
            for cache, token in zip(caches, ids, strict=True):
                output = self._model(
                    input_ids=self._tensor((token,)), past_key_values=cache.view, use_cache=True, logits_to_keep=1
                )
                rows.append(output.logits[0, -1].float().cpu())
        return torch.stack(rows)

    def fork(self, cache: TransformersCache, length: int) -> TransformersCache:
        """A cache of its own with the first `length` tokens; copies nothing."""
        return cache.fork(length)

    def close(self) -> None:
        """Let go of the weights."""
        self._model = None

    def _tensor(self, ids: Sequence[int]) -> torch.Tensor:
        return torch.tensor([list(ids)], dtype=torch.long, device=self._device)
