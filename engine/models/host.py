"""Loaded models: each once, shared by everybody, counted in bytes, dropped when memory is wanted for another.

    with host.use(model_id) as model:      # loads it when needed; it stays in memory afterwards, idle
        ...
    with host.use_encoder() as encoder:    # the same for the model that turns texts into vectors
        ...
    with host.use_image(model_id) as model:    # and for one that draws
        ...

Knows specs, bytes and who is using what; knows no prompts, no jobs and no database. Thread-safe.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

from engine.device import Device, free_memory, is_out_of_memory, memory
from engine.errors import BadFileError, BusyError, NoModelError, StudioError
from engine.image.libraries import quiet
from engine.image.placement import Placement, place
from engine.jobs.job import CancelToken
from engine.models.catalog import STARTER_ENCODER_ID, ModelSpec, ServerSource, Task, parse_source
from engine.models.folder import read_weights
from engine.models.pipeline_folder import STICKER_FAMILY, PipelineFacts, inspect_pipeline, inspect_sticker
from engine.models.store import ModelStore, gigabytes
from engine.text.model import GenerateRequest, Message, Sampling, TextModel

if TYPE_CHECKING:
    from torch import Tensor

    from engine.image.model import ImageModel
    from engine.text.encoder import TextEncoder

logger = logging.getLogger(__name__)

_FLOAT32_BYTES = 4
_ENCODER_WIDTH = 384
"""Of the starter encoder's vectors; what works with it was taught with it."""
WORK_BYTES = 200_000_000
"""Memory that a model needs beside its weights to write anything: activations and the caches of a few conversations."""
CLOSE_WAIT_S = 5.0
"""Longest wait for a load under way when the studio closes."""


class Loaded(Protocol):
    """What the host keeps, whatever it does."""

    @property
    def size_bytes(self) -> int:
        """Memory that it occupies on this machine."""

    def close(self) -> None:
        """End what it does and free its memory."""


class LoadedTextModel(Loaded, TextModel, Protocol):
    """A text model that can be let go of."""


Loader = Callable[[ModelSpec], Loaded]
L = TypeVar("L", bound=Loaded)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """One model in memory, for the Models page. `in_use` counts who is inside `use` now."""

    id: str
    size_bytes: int
    in_use: int
    device: str
    dtype: str


@dataclass(slots=True)
class _Entry:
    model: Loaded
    task: Task
    is_remote: bool
    in_use: int = 0
    used_at: float = field(default_factory=time.monotonic)


class ModelHost:
    """See the module's docstring."""

    def __init__(
        self,
        store: ModelStore,
        catalog_lookup: Callable[[str], ModelSpec],
        device: Device,
        memory_limit_bytes: int | None = None,
        *,
        key_lookup: Callable[[str], str | None] = lambda model_id: None,
        loader: Loader | None = None,
    ) -> None:
        """`memory_limit_bytes` bounds the weights in memory (None: whatever the machine has free).

        `key_lookup` gives a server's key by model id; `loader` replaces how a spec becomes a model (tests).
        """
        self._store = store
        self._lookup = catalog_lookup
        self._device = device
        self._limit_bytes = memory_limit_bytes
        self._key_lookup = key_lookup
        self._loader = loader or self._load
        self._entries: dict[str, _Entry] = {}
        self._is_closed = False
        self._lock = threading.Lock()
        self._loading = threading.Lock()
        """Held while weights are read: one at a time, so that their bytes are counted before the next asks."""

    @contextmanager
    def use(self, model_id: str) -> Iterator[TextModel]:
        """Give the loaded model for the length of a `with` block; it is not evicted meanwhile.

        Raises NoModelError when it is unknown, not installed, or does not fit ("needs X, have Y"), BadFileError when its files
        are damaged.
        """
        with self._kept(model_id, "text") as model:
            yield cast(LoadedTextModel, model)

    @contextmanager
    def use_encoder(self, model_id: str = STARTER_ENCODER_ID) -> Iterator[TextEncoder]:
        """Give the encoder (engine.text.encoder) in the same way; raises what `use` raises."""
        with self._kept(model_id, "embedding") as model:
            yield cast("TextEncoder", model)

    @contextmanager
    def use_image(self, model_id: str) -> Iterator[ImageModel]:
        """Give a model that draws in the same way; raises what `use` raises."""
        with self._kept(model_id, "image") as model:
            yield cast("ImageModel", model)

    def loaded(self) -> tuple[LoadedModel, ...]:
        """What is in memory; models on servers take none and are left out."""
        with self._lock:
            return tuple(
                LoadedModel(model_id, entry.model.size_bytes, entry.in_use, self._device.name, self._device.dtype)
                for model_id, entry in self._entries.items()
                if not entry.is_remote
            )

    def unload(self, model_id: str) -> bool:
        """Let go of an idle model; False when it is not loaded. Raises BusyError while somebody uses it."""
        with self._lock:
            entry = self._entries.get(model_id)
            if entry is None:
                return False
            if entry.in_use:
                raise BusyError("This model is writing just now. Stop that first.", key="error.model_in_use", model=model_id)
            del self._entries[model_id]
        self._drop(entry)
        return True

    def warm(self, model_id: str) -> threading.Thread:
        """Load in the background, and write one token; what goes wrong is logged and said again by the next `use`.

        Models on servers are left alone: nobody asked for anything yet.
        """
        thread = threading.Thread(target=self._warm, args=(model_id,), name=f"warm-{model_id}", daemon=True)
        thread.start()
        return thread

    def close(self) -> None:
        """Let go of everything, in use or not; what is being written ends as cancelled. A load under way gets a few seconds;
        what comes later is let go of as soon as it is there.
        """
        if self._loading.acquire(timeout=CLOSE_WAIT_S):
            self._loading.release()
        with self._lock:
            self._is_closed = True
            entries = list(self._entries.values())
            self._entries.clear()
        for entry in entries:
            self._drop(entry)

    @contextmanager
    def _kept(self, model_id: str, task: Task) -> Iterator[Loaded]:
        entry = self._claim(model_id, task)
        if entry is None:
            with self._loading:
                entry = self._claim(model_id, task) or self._admit(model_id, task)
        try:
            yield entry.model
        finally:
            with self._lock:
                entry.in_use -= 1
                entry.used_at = time.monotonic()

    def _warm(self, model_id: str) -> None:
        try:
            spec = self._lookup(model_id)
            if isinstance(parse_source(spec.source), ServerSource):
                return
            if spec.task == "image":
                with self.use_image(model_id):
                    return
            with self.use(model_id) as model:
                # One token touches every weight, so that the first real one comes at once.
                request = GenerateRequest((Message("user", "Hello"),), Sampling(max_new_tokens=1))
                for _ in model.generate(request, CancelToken()):
                    pass
        except StudioError as error:
            logger.warning("warming %s: %s", model_id, error)

    def _claim(self, model_id: str, task: Task) -> _Entry | None:
        with self._lock:
            entry = self._entries.get(model_id)
            if entry is None or entry.task != task:
                return None
            entry.in_use += 1
            return entry

    def _admit(self, model_id: str, task: Task) -> _Entry:
        """Load a model and count its first user. The caller holds `_loading`."""
        spec = self._lookup(model_id)
        if spec.task != task:
            raise _wrong_task(spec, task)
        is_remote = isinstance(parse_source(spec.source), ServerSource)
        if not is_remote:
            if self._store.state(spec) != "installed":
                text = f"{spec.name} is not installed. Get it on the Models page."
                raise NoModelError(text, key="error.model_missing_load", name=spec.name)
            self._make_room(spec, self._need_bytes(spec))
        try:
            model = self._loader(spec)
        except (MemoryError, RuntimeError) as error:
            free_memory(self._device)
            if not is_out_of_memory(error):
                text = f"{spec.name} cannot be loaded: its weights do not fit together. Get it again."
                raise BadFileError(text, key="error.model_damaged_load", name=spec.name) from error
            raise self._too_big(spec, self._need_bytes(spec), memory(self._device).available_bytes) from error
        entry = _Entry(model, task, is_remote, in_use=1)
        with self._lock:
            if not self._is_closed:
                self._entries[model_id] = entry
                return entry
        self._drop(entry)
        raise BusyError("The studio is closing; what you wrote is kept.", key="error.closing")

    def _need_bytes(self, spec: ModelSpec) -> int:
        """Bytes of the weights on this device, by their headers, and what writing or drawing takes."""
        width = 4 if self._device.dtype == "float32" else 2
        if spec.task != "image":
            return read_weights(self._store.path(spec)).parameters * width + WORK_BYTES
        if spec.family == STICKER_FAMILY:
            return inspect_sticker(self._store.path(spec)).parameters * _FLOAT32_BYTES + WORK_BYTES
        with self._lock:
            idle = sum(e.model.size_bytes for e in self._entries.values() if not e.in_use and not e.is_remote)
            held = sum(e.model.size_bytes for e in self._entries.values() if not e.is_remote)
        return self._placement(inspect_pipeline(self._store.path(spec)), self._free_bytes(held) + idle).need_bytes

    def _placement(self, facts: PipelineFacts, have_bytes: int) -> Placement:
        width = 4 if self._device.dtype == "float32" else 2
        return place({name: count * width for name, count in facts.parts.items()}, have_bytes, self._device.kind)

    def _make_room(self, spec: ModelSpec, need: int) -> None:
        """Evict idle models, least recently used first, until `need` bytes are there; none when that would not be enough."""
        with self._lock:
            idle = sorted(
                ((model_id, entry) for model_id, entry in self._entries.items() if not entry.in_use and not entry.is_remote),
                key=lambda pair: pair[1].used_at,
            )
            held = sum(entry.model.size_bytes for entry in self._entries.values() if not entry.is_remote)
        have = self._free_bytes(held)
        evictable = sum(entry.model.size_bytes for _, entry in idle)
        if have + evictable < need:
            raise self._too_big(spec, need, have + evictable)
        for model_id, entry in idle:
            if have >= need:
                return
            size = entry.model.size_bytes
            try:
                if self.unload(model_id):
                    have += size
            except BusyError:  # somebody began to use it in the meantime
                continue
        if have < need:
            raise self._too_big(spec, need, have)

    def _free_bytes(self, held: int) -> int:
        free = memory(self._device).available_bytes
        return free if self._limit_bytes is None else min(free, self._limit_bytes - held)

    def _too_big(self, spec: ModelSpec, need: int, have: int) -> NoModelError:
        needs, has = gigabytes(need), gigabytes(max(0, have))
        return NoModelError(
            f"{spec.name} needs {needs} of memory, have {has}. Close other programs or choose a smaller model.",
            key="error.model_memory",
            name=spec.name,
            needs=needs,
            have=has,
        )

    def _load(self, spec: ModelSpec) -> Loaded:
        source = parse_source(spec.source)
        if isinstance(source, ServerSource):
            from engine.text.openai_backend import OpenAITextModel

            return OpenAITextModel(spec, source, self._key_lookup(spec.id))
        if spec.task == "embedding":
            from engine.text.encoder import TextEncoder

            return self._load_verified(spec, lambda: TextEncoder(spec, self._store.path(spec)))
        if spec.task == "image":
            return self._load_verified(spec, lambda: self._load_image(spec))
        from engine.text.local import load_local

        folder, prepared = self._store.path(spec), self._store.prepared_path(spec)
        return self._load_verified(spec, lambda: load_local(spec, folder, self._device, prepared))

    def _load_image(self, spec: ModelSpec) -> Loaded:
        quiet()
        folder = self._store.path(spec)
        if spec.family == STICKER_FAMILY:
            from engine.image.sticker import StickerModel

            try:
                return StickerModel(spec.id, folder, HostedWords(self), self._device.name)
            except (OSError, ValueError, KeyError, TypeError) as error:
                text = f"{spec.name} cannot be read: {str(error).splitlines()[0][:200]}."
                raise BadFileError(text, key="error.model_read", name=spec.name, reason=str(error)[:200]) from error
        from engine.image.pipelines import PipelineModel

        facts = inspect_pipeline(folder)
        return PipelineModel(spec.id, facts, self._device, self._placement(facts, memory(self._device).available_bytes))

    def _load_verified(self, spec: ModelSpec, load: Callable[[], L]) -> L:
        """Load while another thread compares every file with its sha256; damaged weights are never handed out."""
        problems: list[StudioError | OSError] = []

        def verify() -> None:
            try:
                self._store.verify(spec)
            except (StudioError, OSError) as error:
                problems.append(error)

        checking = threading.Thread(target=verify, name=f"verify-{spec.id}", daemon=True)
        checking.start()
        model: L | None = None
        try:
            model = load()
        except BadFileError:
            # Damaged files fail here too; what the hashes say is the better reason.
            checking.join()
            if not problems:
                raise
        checking.join()
        if model is not None and not problems:
            return model
        if model is not None:
            model.close()
        if isinstance(problems[0], StudioError):
            raise problems[0]
        text = f"{spec.name} cannot be read: {problems[0]}."
        raise BadFileError(text, key="error.model_read", name=spec.name, reason=str(problems[0])) from problems[0]

    def _drop(self, entry: _Entry) -> None:
        entry.model.close()
        free_memory(self._device)


class HostedWords:
    """The encoder for models that work with it: loaded when it is asked, counted and let go of like every model."""

    def __init__(self, host: ModelHost) -> None:
        self._host = host
        self.width = _ENCODER_WIDTH

    def states(self, texts: Sequence[str], max_tokens: int, *, together: bool = False) -> Tensor:
        """See engine.image.prompts.WordEncoder. Raises NoModelError when the encoder is not installed."""
        with self._host.use_encoder() as encoder:
            return encoder.states(texts, max_tokens, together=together)


def _wrong_task(spec: ModelSpec, task: Task) -> NoModelError:
    if task == "text":
        return NoModelError(f"{spec.name} does not write text.", key="error.model_not_text", name=spec.name)
    return NoModelError(f"{spec.name} cannot do that task.", key="error.model_task", name=spec.name)
