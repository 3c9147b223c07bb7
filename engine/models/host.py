"""Loaded models: each once, shared by everybody, counted in bytes, dropped when memory is wanted for another.

    with host.use(model_id) as model:      # loads it when needed; it stays in memory afterwards, idle
        ...
    with host.use_encoder() as encoder:    # the same for the model that turns texts into vectors
        ...
    with host.use_image(model_id) as model:    # and for one that draws
        ...
    with host.child(name, need_bytes, resident):    # a process of its own is counted too
        ...

The one place that decides what is resident; models and child processes ask it through engine.memory.Arbiter. Knows specs, bytes
and who is using what; knows no prompts, no jobs and no database. Thread-safe.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias, cast

from engine.device import Device, Memory, free_memory, is_out_of_memory, memory
from engine.errors import BadFileError, BusyError, NoMemoryError, NoModelError, StudioError
from engine.jobs.job import CancelToken
from engine.models.catalog import STARTER_ENCODER_ID, ModelSpec, ServerSource, Task, parse_source
from engine.models.ledger import Ledger, Place, Share
from engine.models.loading import Loaded, ModelLoader
from engine.models.needs import Need, need_of
from engine.models.store import ModelStore, gigabytes
from engine.text.model import GenerateRequest, Message, Sampling, TextModel

if TYPE_CHECKING:
    from engine.image.model import ImageModel
    from engine.text.encoder import TextEncoder

logger = logging.getLogger(__name__)

CLOSE_WAIT_S = 5.0
"""Longest wait for a load under way when the studio closes."""


class LoadedTextModel(Loaded, TextModel, Protocol):
    """A text model that can be let go of."""


Loader: TypeAlias = Callable[[ModelSpec, Need], Loaded]


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
    share: Share | None
    """None for a model on a server."""
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
        measure: Callable[[Device], Memory] = memory,
    ) -> None:
        """`memory_limit_bytes` bounds what is promised to all (None: whatever the machine has free).

        `key_lookup` gives a server's key by model id; `loader` replaces how a spec becomes a model, and `measure` what the
        machine says of its memory (tests).
        """
        self._store = store
        self._lookup = catalog_lookup
        self.device = device
        self._ledger = Ledger(device, measure, memory_limit_bytes)
        self._loader = loader or ModelLoader(store, device, key_lookup, self, self)
        self._entries: dict[str, _Entry] = {}
        self._is_closed = False
        self._lock = threading.Lock()
        self._loading = threading.Lock()
        """Held while weights are read: one at a time, so that their bytes are counted before the next asks."""
        self._relieving = threading.Lock()
        """Held by the one model that has others let go of: two that did it to each other would wait for ever."""

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
                LoadedModel(model_id, entry.model.size_bytes, entry.in_use, self.device.name, self.device.dtype)
                for model_id, entry in self._entries.items()
                if entry.share is not None
            )

    def need_bytes(self, spec: ModelSpec) -> int:
        """What an installed model must have to be loaded, as `use` counts it; 0 on a server. Raises BadFileError."""
        return self._need(spec).least_bytes

    def most_bytes(self) -> int:
        """Bytes of the device's memory that would be free if everything of this studio was let go of."""
        return self._ledger.most_bytes()

    def free_bytes(self) -> int:
        """See engine.memory.Arbiter."""
        return self._ledger.free_bytes()

    def let_go(self) -> int:
        """See engine.memory.Arbiter. While somebody else has others let go of, only the figure."""
        if self._relieving.acquire(blocking=False):
            try:
                for share in self._yielding("device") + self._yielding("main"):
                    self._end(share)
                for model_id, _ in self._idle():
                    self._evict(model_id)
            finally:
                self._relieving.release()
        free_memory(self.device)
        return self.free_bytes()

    @contextmanager
    def child(
        self,
        name: str,
        need_bytes: int,
        resident: Callable[[], int],
        *,
        is_running: bool = False,
        give_way: Callable[[], None] | None = None,
    ) -> Iterator[None]:
        """See engine.memory.Arbiter."""
        share = Share(need_bytes, resident, name=name, give_way=give_way)
        if is_running:
            self._ledger.add(share)
        elif give_way is not None:
            left = self._ledger.left_bytes()
            if left < need_bytes:
                raise self._too_little(name, need_bytes, left, "device")
            self._ledger.add(share)
        else:
            with self._loading:
                self._make_room(name, need_bytes, "device")
                self._ledger.add(share)
        try:
            yield
        finally:
            self._ledger.remove(share)

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
        if isinstance(parse_source(spec.source), ServerSource):
            return self._enter(model_id, _Entry(self._loader(spec, Need(0)), task, None, in_use=1))
        if self._store.state(spec) != "installed":
            text = f"{spec.name} is not installed. Get it on the Models page."
            raise NoModelError(text, key="error.model_missing_load", name=spec.name)
        need = self._need(spec)
        need = need.within(self._make_room(spec.name, need.least_bytes, need.place))
        before = self._ledger.measured_bytes(need.place)
        # While it is read, what the machine has less is what it has taken. Caches are promised nothing: they take what is there.
        share = Share(need.least_bytes, lambda: max(0, before - self._ledger.measured_bytes(need.place)), need.place)
        self._ledger.add(share)
        try:
            model = self._load(spec, need)
        except BaseException:
            self._ledger.remove(share)
            raise
        share.resident = lambda: model.size_bytes
        return self._enter(model_id, _Entry(model, task, share, in_use=1))

    def _enter(self, model_id: str, entry: _Entry) -> _Entry:
        with self._lock:
            if not self._is_closed:
                self._entries[model_id] = entry
                return entry
        self._drop(entry)
        raise BusyError("The studio is closing; what you wrote is kept.", key="error.closing")

    def _load(self, spec: ModelSpec, need: Need) -> Loaded:
        """Load; when memory runs out all the same, once more with everything idle let go of and without room for caches."""
        try:
            return self._loader(spec, need)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise self._damaged(spec) from error
            logger.warning("memory ran out while %s was loaded: %s", spec.id, error)
        self.let_go()
        try:
            return self._loader(spec, self._need(spec, 0).within(0))
        except (MemoryError, RuntimeError) as error:
            free_memory(self.device)
            if not is_out_of_memory(error):
                raise self._damaged(spec) from error
            left = self._ledger.measured_bytes(need.place)
            raise self._too_little(spec.name, need.least_bytes, left, need.place) from error

    def _need(self, spec: ModelSpec, have_bytes: int | None = None) -> Need:
        """What a model takes, placed into `have_bytes` (None: into what is left and can be let go of)."""
        if isinstance(parse_source(spec.source), ServerSource):
            return Need(0)
        if have_bytes is None:
            have_bytes = self._ledger.left_bytes() + sum(share.size_bytes for share in self._evictable("device"))
        return need_of(spec, self._store.path(spec), self.device, self._store.prepared_path(spec), have_bytes)

    def _idle(self) -> list[tuple[str, _Entry]]:
        """Models that nobody uses, the least recently used first."""
        with self._lock:
            idle = [(name, entry) for name, entry in self._entries.items() if not entry.in_use and entry.share is not None]
        return sorted(idle, key=lambda pair: pair[1].used_at)

    def _yielding(self, place: Place) -> list[Share]:
        """Child processes whose work can be done later."""
        return [share for share in self._ledger.shares(place) if share.give_way is not None]

    def _evictable(self, place: Place) -> list[Share]:
        """What can be let go of there, first what is missed least."""
        there = self._ledger.shares(place)
        return self._yielding(place) + [entry.share for _, entry in self._idle() if entry.share in there and entry.share]

    def _make_room(self, name: str, need: int, place: Place) -> int:
        """Let go of what is missed least until `need` bytes are there, of nothing when that would not be enough; bytes left."""
        left = self._ledger.left_bytes(place)
        evictable = self._evictable(place)
        if left + sum(share.size_bytes for share in evictable) < need:
            raise self._too_little(name, need, left + sum(share.size_bytes for share in evictable), place)
        names = {id(entry.share): model_id for model_id, entry in self._idle()}
        for share in evictable:
            if left >= need:
                break
            size = share.size_bytes
            if self._end(share) if share.give_way else self._evict(names.get(id(share), "")):
                left += size
        if left < need:
            raise self._too_little(name, need, left, place)
        return left

    def _end(self, share: Share) -> bool:
        if share.give_way is not None:
            share.give_way()
            self._ledger.remove(share)
        return True

    def _evict(self, model_id: str) -> bool:
        try:
            return self.unload(model_id)
        except BusyError:  # somebody began to use it in the meantime
            return False

    def _too_little(self, name: str, need: int, have: int, place: Place) -> NoMemoryError:
        needs, has = gigabytes(need), gigabytes(max(0, have))
        passes = self._ledger.most_bytes(place) >= need
        text, key = "Close other programs or choose a smaller model.", "error.model_memory"
        beside = ""
        if passes:
            text, key = "Wait for that, or choose a smaller model.", "error.model_memory_now"
            beside = " beside what is at work now"
        return NoMemoryError(
            f"{name} needs {needs} of memory, have {has}{beside}. {text}",
            key=key,
            needs_bytes=need,
            have_bytes=have,
            passes=passes,
            name=name,
            needs=needs,
            have=has,
        )

    def _damaged(self, spec: ModelSpec) -> BadFileError:
        text = f"{spec.name} cannot be loaded: its weights do not fit together. Get it again."
        return BadFileError(text, key="error.model_damaged_load", name=spec.name)

    def _drop(self, entry: _Entry) -> None:
        entry.model.close()
        if entry.share is not None:
            self._ledger.remove(entry.share)
        free_memory(self.device)


def _wrong_task(spec: ModelSpec, task: Task) -> NoModelError:
    if task == "text":
        return NoModelError(f"{spec.name} does not write text.", key="error.model_not_text", name=spec.name)
    return NoModelError(f"{spec.name} cannot do that task.", key="error.model_task", name=spec.name)
