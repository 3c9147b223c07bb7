"""A text model whose weights are on this machine: chat format, scheduler and backend put together.

Knows nothing of who asks, of other models, or of the database.
"""

from __future__ import annotations

import queue
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.device import Device
from engine.errors import StudioError, TooLongError
from engine.jobs.job import CancelToken
from engine.memory import Arbiter, Machine
from engine.models.adapters import AdapterRef, sha256_of
from engine.models.catalog import ModelSpec
from engine.models.folder import context_length as config_context_length
from engine.models.folder import inspect_folder, read_json
from engine.models.needs import CACHE_LIMIT_BYTES, text_footprint
from engine.text.backend import TextBackend
from engine.text.chat import ChatFormat
from engine.text.footprint import UNKNOWN, Footprint
from engine.text.generation import Generation
from engine.text.lora import AdapterPool, LoadedAdapter
from engine.text.model import GenerateRequest, Message, Scored, TextEvent
from engine.text.reuse import matched
from engine.text.scheduler import Scheduler
from engine.text.scoring import Scoring
from engine.text.spare import Spare

MAX_CONTEXT = 32_768
"""Tokens beyond which a conversation's cache would take more memory than most machines have to spare."""
_WAIT_S = 1.0
_POLL_S = 0.1


class LocalTextModel:
    """Implements engine.text.model.TextModel."""

    def __init__(
        self,
        spec: ModelSpec,
        chat: ChatFormat,
        backend: TextBackend,
        *,
        device: Device,
        context_length: int,
        footprint: Footprint = UNKNOWN,
        arbiter: Arbiter | None = None,
        cache_bytes: int | None = None,
    ) -> None:
        """`cache_bytes`: most memory for caches of finished rows (None: what is usual for the device). `arbiter` is asked for
        what conversations take (None: the machine).
        """
        self.id = spec.id
        self.languages = spec.languages
        self.context_length = context_length
        self.chat = chat
        self._backend = backend
        self._adapters: AdapterPool[LoadedAdapter] = AdapterPool(backend.prepare_adapter)
        self._arbiter = arbiter or Machine(device)
        self._scheduler = Scheduler(
            backend,
            threads=device.threads,
            cache_limit_bytes=CACHE_LIMIT_BYTES[device.kind] if cache_bytes is None else cache_bytes,
            name=spec.id,
            spare=Spare(footprint, self._arbiter.free_bytes, self._let_go),
        )

    @property
    def size_bytes(self) -> int:
        """Memory of the weights, of the adapters that were used lately, and of what was computed of conversations."""
        return self._backend.size_bytes + self._adapters.size_bytes + self._scheduler.cache_bytes

    def generate(self, request: GenerateRequest, cancel: CancelToken) -> Iterator[TextEvent]:
        """See TextModel. Prompt ids are made and adapters are read in the caller's thread; the scheduler's only computes."""
        ids = self.chat.encode(request.messages, request.continue_text)
        room = self._room(len(ids))
        asked = request.sampling
        limit, stop = min(asked.max_new_tokens, room), (*asked.stop, *self.chat.extra_stops)
        generation = Generation(
            ids,
            replace(request, sampling=replace(asked, max_new_tokens=limit, stop=stop)),
            cancel,
            decode=self._decode,
            stop_ids=self.chat.stop_ids,
            adapter=self._adapters.get(request.adapter),
            common=self.chat.common_length(request.messages, ids),
        )
        return self._events(generation)

    def score(
        self,
        messages: tuple[Message, ...],
        answer: str,
        *,
        adapter: AdapterRef | None = None,
        cancel: CancelToken | None = None,
    ) -> Scored:
        """See TextModel. The answer is read as it would have been written: without the token that ends a turn."""
        prompt, whole = self.chat.encode(messages), self.chat.encode(messages, answer)
        # Where the answer's first characters make one token with the prompt's last, that token is the answer's.
        start = matched(prompt, whole)
        self._room(len(whole) - 1)
        if not whole[start:] or start < 1:
            return Scored((), ())
        cancel = cancel or CancelToken()
        loaded = self._adapters.get(adapter)
        scoring = Scoring(whole, start, cancel, adapter=loaded, adapter_sha256=sha256_of(adapter))
        return Scored(self._values(scoring), tuple(self.chat.tokenizer.decode([number]) for number in whole[start:]))

    def count_tokens(self, messages: tuple[Message, ...]) -> int:
        """Tokens of the whole prompt, the template's own included."""
        return len(self.chat.encode(messages))

    def fit(self, messages: tuple[Message, ...], max_new_tokens: int) -> tuple[tuple[Message, ...], int, int]:
        """See TextModel and ChatFormat.fit."""
        return self.chat.fit(messages, max_new_tokens, self.context_length)

    def close(self) -> None:
        """End what is being written as cancelled and let go of the weights."""
        self._scheduler.close()
        self._adapters.clear()

    def _let_go(self) -> int:
        self._adapters.clear()
        return self._arbiter.let_go()

    def _room(self, tokens: int) -> int:
        """Tokens that may follow so many; raises TooLongError when there is no room for one."""
        room = self.context_length - tokens
        if room < 1:
            raise TooLongError(
                f"This prompt has {tokens} tokens; the model takes {self.context_length - 1}. Shorten it.",
                key="error.prompt_tokens_all",
                tokens=tokens,
                limit=self.context_length - 1,
            )
        return room

    def _values(self, scoring: Scoring) -> tuple[float, ...]:
        self._scheduler.submit(scoring)
        try:
            while True:
                try:
                    result = scoring.result.get(timeout=_POLL_S)
                except queue.Empty:
                    scoring.cancel.check()
                    if not self._scheduler.is_alive and scoring.result.empty():
                        raise _unloaded() from None
                    continue
                if isinstance(result, StudioError):
                    raise result
                return result
        finally:
            scoring.abandoned = True

    def _events(self, generation: Generation) -> Iterator[TextEvent]:
        self._scheduler.submit(generation)
        open_rows = len(generation.rows)
        try:
            while open_rows:
                try:
                    event = generation.events.get(timeout=_WAIT_S)
                except queue.Empty:
                    if not self._scheduler.is_alive and generation.events.empty():
                        raise _unloaded() from None
                    continue
                if isinstance(event, StudioError):
                    raise event
                open_rows -= event.finish_reason is not None
                yield event
        finally:
            generation.abandoned = True

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self.chat.tokenizer.decode(list(ids), skip_special_tokens=True))


def _unloaded() -> StudioError:
    return StudioError("The model was unloaded while writing.", key="error.model_unloading")


def load_local(
    spec: ModelSpec,
    folder: Path,
    device: Device,
    prepared: Path | None = None,
    *,
    arbiter: Arbiter | None = None,
    cache_bytes: int | None = None,
    weight_bits: int | None = None,
) -> LocalTextModel:
    """Load a model folder after the same checks that users' own folders get; raises BadFileError.

    `prepared`: where forms that write faster are kept, and made in the background; None = without. `weight_bits`: of the
    linear layers, where fewer than the device's own are wanted. The rest is LocalTextModel's.
    """
    arbiter = arbiter or Machine(device)
    inspect_folder(folder)
    chat = ChatFormat(folder)
    config = read_json(folder / "config.json")
    backend = _backend(folder, config, device, prepared, arbiter, weight_bits)
    context = spec.context_length or config_context_length(config) or MAX_CONTEXT
    return LocalTextModel(
        spec,
        chat,
        backend,
        device=device,
        context_length=min(context, MAX_CONTEXT),
        footprint=text_footprint(folder, config, device, prepared),
        arbiter=arbiter,
        cache_bytes=cache_bytes,
    )


def _backend(
    folder: Path,
    config: Mapping[str, Any],
    device: Device,
    prepared: Path | None,
    arbiter: Arbiter,
    weight_bits: int | None = None,
) -> TextBackend:
    """The lightest backend that computes this model."""
    from engine.text.llama.config import llama_config

    plain = llama_config(config, device)
    if plain is not None:
        from engine.text.llama.backend import load_llama

        return load_llama(folder, plain, prepared, device.threads, arbiter)
    from engine.text.transformers_backend import TransformersBackend

    return TransformersBackend(folder, device, arbiter.free_bytes, weight_bits)
