"""Loaded models: shared, counted, evicted, refused, dropped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import engine.models.host as host_module
from engine.errors import BadFileError, BusyError, NoMemoryError, NoModelError
from engine.jobs.job import CancelToken
from engine.models.catalog import ModelSpec
from engine.models.folder import read_weights
from engine.models.host import ModelHost
from engine.models.needs import Need, text_need
from engine.models.store import ModelStore
from engine.text.model import GenerateRequest, Message, Sampling, TextEvent
from tests.tiny import CPU, make_model, tiny_spec


class FakeModel:
    """Costs bytes, says nothing."""

    languages: tuple[str, ...] = ()
    context_length = 10

    def __init__(self, spec: ModelSpec, size_bytes: int) -> None:
        self.id = spec.id
        self.size_bytes = size_bytes
        self.closed = False

    def generate(self, request: GenerateRequest, cancel: CancelToken) -> Iterator[TextEvent]:
        yield TextEvent(0, "", 0, "stop")

    def count_tokens(self, messages: tuple[Message, ...]) -> int:
        return 0

    def fit(self, messages: tuple[Message, ...], max_new_tokens: int) -> tuple[tuple[Message, ...], int, int]:
        return messages, 0, max_new_tokens

    def close(self) -> None:
        self.closed = True


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def made() -> list[FakeModel]:
    return []


MakeHost = Callable[..., ModelHost]


@pytest.fixture
def make_host(tmp_path: Path, folder: Path, made: list[FakeModel]) -> MakeHost:
    """A host over copies of the tiny folder named a, b, c, with room for so many of them."""
    size = read_weights(folder).parameters * 4

    def load(spec: ModelSpec, need: Need) -> FakeModel:
        made.append(FakeModel(spec, size))
        return made[-1]

    def build(room_for: float = 10, loader: Callable[[ModelSpec, Need], FakeModel] = load) -> ModelHost:
        specs = {name: tiny_spec(folder, name) for name in ("a", "b", "c")}
        limit = int(text_need(folder, CPU, tmp_path, 512).least_bytes * room_for)
        return ModelHost(ModelStore(tmp_path), lambda model_id: specs[model_id], CPU, limit, loader=loader)

    return build


def loaded(host: ModelHost) -> dict[str, int]:
    return {row.id: row.in_use for row in host.loaded()}


def test_loads_once_and_shares(make_host: MakeHost, made: list[FakeModel]) -> None:
    host = make_host()
    with host.use("a") as one, host.use("a") as two:
        assert one is two and loaded(host) == {"a": 2}
    assert loaded(host) == {"a": 0} and len(made) == 1
    row = host.loaded()[0]
    assert (row.device, row.dtype) == ("cpu", "float32") and row.size_bytes == made[0].size_bytes


def test_many_threads_get_the_same_one(make_host: MakeHost, made: list[FakeModel]) -> None:
    host = make_host()
    barrier = threading.Barrier(8)

    def use() -> None:
        barrier.wait()
        with host.use("a"):
            pass

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert len(made) == 1 and loaded(host) == {"a": 0}


def test_evicts_the_least_recently_used_idle_one(make_host: MakeHost, made: list[FakeModel]) -> None:
    host = make_host(room_for=2)
    for name in ("a", "b", "a", "c"):
        with host.use(name):
            pass
    assert loaded(host) == {"a": 0, "c": 0}
    assert [model.closed for model in made] == [False, True, False]


def test_refuses_with_both_figures_and_evicts_nobody_for_nothing(make_host: MakeHost) -> None:
    host = make_host(room_for=1)
    with host.use("a"):
        with pytest.raises(NoModelError, match="needs .* of memory, have .* beside what is at work"), host.use("b"):
            pass
        assert loaded(host) == {"a": 1}
    with host.use("b"):
        assert loaded(host) == {"b": 1}
    with pytest.raises(NoModelError, match="needs"), make_host(room_for=-1000).use("a"):
        pass


def test_an_error_inside_the_block_gives_the_model_back(make_host: MakeHost) -> None:
    host = make_host()
    with pytest.raises(ZeroDivisionError), host.use("a"):
        _ = 1 // 0
    assert loaded(host) == {"a": 0}
    assert host.unload("a") and loaded(host) == {}


def test_unload_refuses_while_in_use_and_says_whether_there_was_one(make_host: MakeHost, made: list[FakeModel]) -> None:
    host = make_host()
    assert host.unload("a") is False
    with host.use("a"), pytest.raises(BusyError):
        host.unload("a")
    assert host.unload("a") is True and made[0].closed
    with host.use("a"):
        assert len(made) == 2


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (RuntimeError("size mismatch for lm_head"), BadFileError, "do not fit together"),
        (BadFileError("Damaged."), BadFileError, "Damaged"),
    ],
)
def test_a_failed_load_leaves_nothing_and_the_next_try_works(
    make_host: MakeHost, error: Exception, kind: type[Exception], words: str
) -> None:
    tries: list[int] = []

    def load(spec: ModelSpec, need: Need) -> FakeModel:
        tries.append(1)
        if len(tries) == 1:
            raise error
        return FakeModel(spec, 10)

    host = make_host(loader=load)
    with pytest.raises(kind, match=words), host.use("a"):
        pass
    assert loaded(host) == {}
    with host.use("a"):
        assert loaded(host) == {"a": 1}


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
@pytest.mark.parametrize("failures", [1, 2])
def test_memory_that_runs_out_while_loading_is_tried_once_more_without_what_is_idle(
    make_host: MakeHost, error: Exception, failures: int
) -> None:
    tries: list[Need] = []

    def load(spec: ModelSpec, need: Need) -> FakeModel:
        if spec.id == "a":
            return FakeModel(spec, 10)
        tries.append(need)
        if len(tries) <= failures:
            raise error
        return FakeModel(spec, 10)

    host = make_host(loader=load)
    with host.use("a"):
        pass
    if failures == 1:
        with host.use("b"):
            assert loaded(host) == {"b": 1}
    else:
        with pytest.raises(NoMemoryError, match="needs"), host.use("b"):
            pass
        assert loaded(host) == {}
    assert tries[0].cache_bytes > tries[1].cache_bytes == 0
    with host.use("c"):
        assert loaded(host)["c"] == 1


def test_warm_loads_in_the_background_and_survives_failure(make_host: MakeHost, made: list[FakeModel]) -> None:
    host = make_host()
    host.warm("a").join(timeout=30)
    assert loaded(host) == {"a": 0}
    small = make_host(room_for=-1000)
    small.warm("a").join(timeout=30)
    assert loaded(small) == {}


def test_close_lets_go_of_everything(make_host: MakeHost, made: list[FakeModel]) -> None:
    host = make_host()
    with host.use("a"):
        host.close()
        assert made[0].closed
    assert loaded(host) == {}


def test_what_comes_after_close_is_let_go_of(make_host: MakeHost, made: list[FakeModel], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_module, "CLOSE_WAIT_S", 0.01)
    may_load, began = threading.Event(), threading.Event()

    def slow(spec: ModelSpec, need: Need) -> FakeModel:
        began.set()
        assert may_load.wait(10)
        made.append(FakeModel(spec, 1))
        return made[-1]

    host = make_host(loader=slow)
    warming = host.warm("a")
    assert began.wait(10)
    host.close()
    may_load.set()
    warming.join(10)
    assert made[0].closed and host.loaded() == ()
    with pytest.raises(BusyError, match="closing"), host.use("a"):
        pass


def test_what_is_not_installed_or_not_for_text_is_said(tmp_path: Path, folder: Path) -> None:
    specs = {
        "gone": tiny_spec(tmp_path / "gone", "gone"),
        "encoder": ModelSpec("encoder", "Encoder", "embedding", "bert", f"local:{folder}"),
    }
    host = ModelHost(ModelStore(tmp_path), lambda model_id: specs[model_id], CPU)
    with pytest.raises(NoModelError, match="not installed"), host.use("gone"):
        pass
    with pytest.raises(NoModelError, match="does not write text"), host.use("encoder"):
        pass


def install(store: ModelStore, folder: Path) -> ModelSpec:
    import shutil

    spec = ModelSpec("stored", "Stored", "text", "llama", "wheel:a==1:b", context_length=512)
    partial = store.partial_path(spec) / "files"
    shutil.copytree(folder, partial)
    store.install(spec, partial)
    return spec


def test_a_stored_model_writes_and_is_dropped(tmp_path: Path, folder: Path) -> None:
    store = ModelStore(tmp_path / "models")
    spec = install(store, folder)
    host = ModelHost(store, lambda model_id: spec, CPU)
    threads = threading.active_count()
    with host.use("stored") as model:
        request = GenerateRequest((Message("user", "hi"),), Sampling(max_new_tokens=3))
        assert list(model.generate(request, CancelToken()))[-1].finish_reason is not None
    assert host.unload("stored")
    deadline = time.monotonic() + 10
    while threading.active_count() > threads and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= threads


def test_one_flipped_bit_in_the_weights_is_refused(tmp_path: Path, folder: Path) -> None:
    store = ModelStore(tmp_path / "models")
    spec = install(store, folder)
    weights = store.path(spec) / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-10] ^= 1
    weights.write_bytes(data)
    host = ModelHost(store, lambda model_id: spec, CPU)
    threads = threading.active_count()
    with pytest.raises(BadFileError, match="differs"), host.use("stored"):
        pass
    assert host.loaded() == () and threading.active_count() <= threads
