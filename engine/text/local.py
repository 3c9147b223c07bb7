"""A text model whose weights are on this machine: chat format, scheduler and backend put together.

Knows nothing of who asks, of other models, or of the database.
"""

from __future__ import annotations

import queue
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.device import Device
from engine.errors import StudioError, TooLongError
from engine.jobs.job import CancelToken
from engine.models.catalog import ModelSpec
from engine.models.folder import context_length as config_context_length
from engine.models.folder import inspect_folder, read_json
from engine.text.backend import TextBackend
from engine.text.chat import ChatFormat
from engine.text.generation import Generation
from engine.text.model import GenerateRequest, Message, Sampling, TextEvent
from engine.text.scheduler import Scheduler

CACHE_LIMIT_BYTES = {"cpu": 192 * 2**20, "cuda": 4 * 2**30, "mps": 2**30}
"""Memory for caches of finished rows, so that a next turn starts at once."""
MAX_CONTEXT = 32_768
"""Tokens beyond which a conversation's cache would take more memory than most machines have to spare."""
_WAIT_S = 1.0


class LocalTextModel:
    """Implements engine.text.model.TextModel."""

    def __init__(self, spec: ModelSpec, chat: ChatFormat, backend: TextBackend, *, device: Device, context_length: int) -> None:
        self.id = spec.id
        self.languages = spec.languages
        self.context_length = context_length
        self.size_bytes = backend.size_bytes
        self.chat = chat
        limit = CACHE_LIMIT_BYTES[device.kind]
        self._scheduler = Scheduler(backend, threads=device.threads, cache_limit_bytes=limit, name=spec.id)

    def generate(self, request: GenerateRequest, cancel: CancelToken) -> Iterator[TextEvent]:
        """See TextModel. Prompt ids are made in the caller's thread; only computing happens in the scheduler's."""
        ids = self.chat.encode(request.messages, request.continue_text)
        room = self.context_length - len(ids)
        if room < 1:
            raise TooLongError(
                f"This prompt has {len(ids)} tokens; the model takes {self.context_length - 1}. Shorten it.",
                key="error.prompt_tokens_all",
                tokens=len(ids),
                limit=self.context_length - 1,
            )
        asked = request.sampling
        sampling = Sampling(
            asked.temperature,
            asked.top_p,
            asked.top_k,
            asked.repetition_penalty,
            min(asked.max_new_tokens, room),
            (*asked.stop, *self.chat.extra_stops),
        )
        generation = Generation(
            ids,
            sampling,
            request.seeds,
            cancel,
            decode=self._decode,
            stop_ids=self.chat.stop_ids,
            replay=request.replay,
            goes_on=bool(request.continue_text),
        )
        return self._events(generation)

    def count_tokens(self, messages: tuple[Message, ...]) -> int:
        """Tokens of the whole prompt, the template's own included."""
        return len(self.chat.encode(messages))

    def fit(self, messages: tuple[Message, ...], max_new_tokens: int) -> tuple[tuple[Message, ...], int, int]:
        """See TextModel and ChatFormat.fit."""
        return self.chat.fit(messages, max_new_tokens, self.context_length)

    def close(self) -> None:
        """End what is being written as cancelled and let go of the weights."""
        self._scheduler.close()

    def _events(self, generation: Generation) -> Iterator[TextEvent]:
        self._scheduler.submit(generation)
        open_rows = len(generation.rows)
        try:
            while open_rows:
                try:
                    event = generation.events.get(timeout=_WAIT_S)
                except queue.Empty:
                    if not self._scheduler.is_alive and generation.events.empty():
                        raise StudioError("The model was unloaded while writing.", key="error.model_unloading") from None
                    continue
                if isinstance(event, StudioError):
                    raise event
                open_rows -= event.finish_reason is not None
                yield event
        finally:
            generation.abandoned = True

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self.chat.tokenizer.decode(list(ids), skip_special_tokens=True))


def load_local(spec: ModelSpec, folder: Path, device: Device) -> LocalTextModel:
    """Load a model folder after the same checks that users' own folders get; raises BadFileError."""
    inspect_folder(folder)
    chat = ChatFormat(folder)
    config = read_json(folder / "config.json")
    backend = _backend(folder, config, device)
    context = spec.context_length or config_context_length(config) or MAX_CONTEXT
    return LocalTextModel(spec, chat, backend, device=device, context_length=min(context, MAX_CONTEXT))


def _backend(folder: Path, config: Mapping[str, Any], device: Device) -> TextBackend:
    """The lightest backend that computes this model."""
    from engine.text.llama_backend import LlamaBackend, llama_config

    plain = llama_config(config, device)
    if plain is not None:
        return LlamaBackend(folder, plain)
    from engine.text.transformers_backend import TransformersBackend

    return TransformersBackend(folder, device)
