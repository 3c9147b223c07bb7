"""Memory that runs out while a text is written: less at a time, then one sentence; others go on, and nothing is left behind."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.arrays import Floats
from engine.errors import BusyError
from engine.jobs.job import CancelToken
from engine.memory import Machine
from engine.models.folder import read_json
from engine.text.chat import ChatFormat
from engine.text.footprint import UNKNOWN, Footprint
from engine.text.llama.backend import LlamaBackend
from engine.text.local import LocalTextModel, _backend
from engine.text.model import GenerateRequest, Message, Sampling, TextEvent
from engine.text.spare import CHUNK_SHORT
from tests.engine.room import Room
from tests.engine.services.fakes import wait_for
from tests.tiny import CPU, make_model, tiny_spec

OUT = RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to allocate 3 GB")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("tiny"), context_length=2048)


class Short:
    """A backend in front of a real one, with memory for so many tokens, or rows, at once."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self.most_tokens = self.most_rows = 10**6
        self.caches: weakref.WeakSet[Any] = weakref.WeakSet()
        self.passes: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def is_row_by_row(self, cache: Any) -> bool:
        return True

    def new_cache(self, *given: Any) -> Any:
        cache = self._backend.new_cache(*given)
        self.caches.add(cache)
        return cache

    def fork(self, cache: Any, length: int) -> Any:
        fork = self._backend.fork(cache, length)
        self.caches.add(fork)
        return fork

    def prefill(self, cache: Any, ids: Sequence[int]) -> None:
        self.passes.append(len(ids))
        self._backend.prefill(cache, ids)
        if len(ids) > self.most_tokens:  # found out late: half of it is in the cache
            cache.layers[1].shorten(cache.layers[1].length - len(ids))
            raise OUT

    def step_together(self, caches: Sequence[Any], ids: Sequence[int]) -> Floats:
        logits: Floats = self._backend.step_together(caches, ids)
        if len(caches) > self.most_rows:
            raise OUT
        return logits


Load = Callable[..., tuple[LocalTextModel, Short, Room]]


@pytest.fixture
def load(folder: Path) -> Iterator[Load]:
    models: list[LocalTextModel] = []

    def build(room: Room | None = None, footprint: Footprint = UNKNOWN) -> tuple[LocalTextModel, Short, Room]:
        backend = Short(_backend(folder, read_json(folder / "config.json"), CPU, None, Machine(CPU)))
        assert isinstance(backend._backend, LlamaBackend)
        room = room or Room()
        spec = tiny_spec(folder, context_length=2048)
        model = LocalTextModel(
            spec, ChatFormat(folder), backend, device=CPU, context_length=2048, footprint=footprint, arbiter=room
        )
        model.chat.stop_ids = frozenset()
        models.append(model)
        return model, backend, room

    yield build
    for model in models:
        model.close()


def ask(prompt: str, tokens: int = 8, seeds: tuple[int, ...] = (0,)) -> GenerateRequest:
    return GenerateRequest((Message("user", prompt),), Sampling(max_new_tokens=tokens), seeds)


def text_of(events: list[TextEvent]) -> str:
    return "".join(event.delta for event in events)


def written(model: LocalTextModel, request: GenerateRequest) -> str:
    return text_of(list(model.generate(request, CancelToken())))


def test_a_prompt_is_read_in_smaller_pieces_and_the_answer_is_what_those_pieces_give(load: Load) -> None:
    model, backend, room = load()
    backend.most_tokens = CHUNK_SHORT
    events = list(model.generate(ask("x" * 600), CancelToken()))
    assert backend.passes[0] > CHUNK_SHORT and max(backend.passes[1:]) == CHUNK_SHORT and room.asked == 1
    path = events[-1].path
    assert path is not None and max(count for kind, count in path["segments"] if kind == "prefill") == CHUNK_SHORT
    backend.most_tokens = 10**6
    again = list(
        model.generate(GenerateRequest(ask("x" * 600).messages, Sampling(max_new_tokens=8), (0,), replay=path), CancelToken())
    )
    assert text_of(again) == text_of(events)


def test_when_that_does_not_help_it_is_said_and_nothing_stays_and_the_next_small_one_works(load: Load) -> None:
    model, backend, room = load(footprint=Footprint(token_bytes=1_000_000))
    assert written(model, ask("small"))
    size = model.size_bytes
    backend.most_tokens = CHUNK_SHORT - 1
    with pytest.raises(BusyError, match="needs up to 1.0 GB beside the model, .* are free") as caught:
        written(model, ask("x" * 600, tokens=300))
    assert caught.value.message_key == "error.out_of_memory" and room.asked == 1
    model.generate(ask("wait"), CancelToken()).close()
    backend.most_tokens = 10**6
    assert written(model, ask("small"))
    gc.collect()
    assert model.size_bytes == size and all(cache.length < 100 for cache in backend.caches)


def test_others_in_the_same_pass_go_on_when_each_must_go_alone(load: Load) -> None:
    alone, _, _ = load()
    requests = [ask(prompt, 40) for prompt in ("one", "two", "three")]
    expected = [written(alone, request) for request in requests]
    model, backend, room = load()
    backend.most_rows = 1
    streams = [model.generate(request, CancelToken()) for request in requests]
    found = ["", "", ""]
    for number, stream in enumerate(streams):
        found[number] += next(stream).delta
    for number, stream in enumerate(streams):
        found[number] += text_of(list(stream))
    assert found == expected and room.asked >= 1


def test_idle_things_are_let_go_of_before_memory_is_taken_that_is_not_there(load: Load) -> None:
    room = Room(free_bytes=1_000, idle_bytes=10**9)
    model, backend, _ = load(room, Footprint(token_bytes=1_000))
    assert written(model, ask("x" * 600)) and room.asked == 1 and max(backend.passes) == CHUNK_SHORT


def test_a_conversation_that_does_not_fit_ends_and_one_that_does_goes_on(load: Load) -> None:
    room = Room(free_bytes=300 * 1_000)
    model, backend, _ = load(room, Footprint(token_bytes=1_000))
    fine = model.generate(ask("small", 100), CancelToken())
    next(fine)
    with pytest.raises(BusyError, match="Memory ran out while writing"):
        written(model, ask("x" * 600, seeds=(1, 2, 3)))
    assert sum(event.finish_reason is not None for event in fine) == 1
    assert max(backend.passes) <= 64


def test_what_is_computed_of_conversations_is_counted_once(load: Load) -> None:
    model, _, _ = load()
    empty = model.size_bytes
    assert written(model, ask("x" * 600, seeds=(1,)))
    used = model.size_bytes - empty
    room_bytes = 2 * 2 * 2 * 8 * 4 * 768  # keys and values of 2 layers, 2 heads of 8, in rooms for 768 tokens
    assert used == room_bytes


def test_an_ended_generation_holds_no_caches(load: Load) -> None:
    """Without a garbage collection, which may be long in coming."""
    model, backend, _ = load()
    gc.collect()
    gc.disable()
    try:
        written(model, ask("one", seeds=(1, 2)))
        written(model, ask("two"))  # the first one has been dropped before this begins
        wait_for(lambda: not model._scheduler._generations)
        model._scheduler._pool.clear()
        wait_for(lambda: not backend.caches)
    finally:
        gc.enable()
