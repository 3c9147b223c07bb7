"""Who is counted: models, child processes, and what is left for the others. The machine's figures are made up."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from engine.device import Device, Memory
from engine.errors import NoMemoryError
from engine.models.catalog import ModelSpec
from engine.models.host import ModelHost
from engine.models.needs import Need, text_need
from engine.models.store import ModelStore
from tests.tiny import CPU, make_model, tiny_spec

MB = 10**6


class Machine:
    """Memory of which so much is free; what is taken is subtracted by whoever takes it."""

    def __init__(self, free_bytes: int) -> None:
        self.free_bytes = free_bytes

    def __call__(self, device: Device) -> Memory:
        return Memory(10**12, self.free_bytes)


class Weights:
    """A model that takes its need from the machine while it is loaded."""

    def __init__(self, machine: Machine, need: Need) -> None:
        self.machine = machine
        self.size_bytes = need.held_bytes
        machine.free_bytes -= self.size_bytes

    def close(self) -> None:
        self.machine.free_bytes += self.size_bytes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def one(folder: Path, tmp_path: Path) -> int:
    """Bytes of one model."""
    return text_need(folder, CPU, tmp_path, 512).least_bytes


Make = Callable[[int], tuple[ModelHost, Machine]]


@pytest.fixture
def make(folder: Path, tmp_path: Path) -> Make:
    def build(free_bytes: int) -> tuple[ModelHost, Machine]:
        machine = Machine(free_bytes)
        specs = {name: tiny_spec(folder, name) for name in ("a", "b", "c")}

        def load(spec: ModelSpec, need: Need) -> Weights:
            return Weights(machine, need)

        return ModelHost(ModelStore(tmp_path), specs.__getitem__, CPU, loader=load, measure=machine), machine

    return build


def names(host: ModelHost) -> set[str]:
    return {row.id for row in host.loaded()}


def test_a_loaded_model_keeps_the_room_that_it_will_need(make: Make, one: int) -> None:
    host, machine = make(one + one // 2)
    with host.use("a"):
        assert machine.free_bytes > one  # nearly all of it: nothing is written yet
        with pytest.raises(NoMemoryError, match="beside what is at work") as caught, host.use("b"):
            pass
        assert caught.value.passes and caught.value.have_bytes < one
    with host.use("b"):
        assert names(host) == {"b"}


def test_a_child_makes_idle_models_go_and_is_counted_against_those_that_come(make: Make, one: int) -> None:
    host, machine = make(3 * one)
    before = machine.free_bytes
    with host.use("a"), host.use("b"):
        pass
    with host.child("training", 2 * one, lambda: 0):
        assert names(host) == {"a"}  # the one that was used last
        with host.use("a"), pytest.raises(NoMemoryError), host.use("c"):
            pass
        with host.use("c"):
            assert names(host) == {"c"}
        assert host.free_bytes() < one
    with host.use("a"), host.use("b"), host.use("c"):
        assert names(host) == {"a", "b", "c"}
    host.close()
    assert machine.free_bytes == before and host.most_bytes() == before


def test_what_a_child_has_taken_is_not_counted_twice(make: Make, one: int) -> None:
    host, machine = make(4 * one)
    taken = [0]
    with host.child("training", 2 * one, lambda: taken[0]):
        assert host.free_bytes() == 2 * one
        for _ in range(2):
            taken[0] += one
            machine.free_bytes -= one
            assert host.free_bytes() == 2 * one and host.most_bytes() == 4 * one
        taken[0] += one  # more than it said
        machine.free_bytes -= one
        assert host.free_bytes() == one and host.most_bytes() == 4 * one


def test_a_child_that_can_never_fit_is_refused_and_one_that_can_later_says_so(make: Make, one: int) -> None:
    host, _ = make(2 * one)
    with host.use("a"):
        pass
    with pytest.raises(NoMemoryError, match="training needs .* of memory, have") as never, host.child("training", 3 * one, int):
        pass
    assert not never.value.passes and never.value.needs_bytes == 3 * one and names(host) == {"a"}
    with host.use("a"):
        with pytest.raises(NoMemoryError) as later, host.child("training", 2 * one, int):
            pass
        assert later.value.passes
    with host.child("training", 2 * one, int):
        assert names(host) == set()


def test_a_child_that_is_there_already_is_counted_whatever_there_is(make: Make, one: int) -> None:
    host, _ = make(one)
    with host.child("training", 5 * one, int, is_running=True):
        with pytest.raises(NoMemoryError), host.use("a"):
            pass
    with host.use("a"):
        assert names(host) == {"a"}


def test_a_child_is_forgotten_when_its_block_fails(make: Make, one: int) -> None:
    host, _ = make(2 * one)
    with pytest.raises(ZeroDivisionError), host.child("training", 2 * one, int):
        _ = 1 // 0
    assert host.free_bytes() == 2 * one


def test_work_that_can_be_done_later_takes_only_what_is_free_and_gives_way(make: Make, one: int) -> None:
    host, _ = make(3 * one)
    ended: list[str] = []
    with host.use("a"):
        pass
    with pytest.raises(NoMemoryError), host.child("forms", 3 * one, int, give_way=lambda: ended.append("never")):
        pass
    assert names(host) == {"a"}
    with ExitStack() as child:
        child.enter_context(host.child("forms", one, int, give_way=lambda: ended.append("forms")))
        with host.use("b"):
            assert ended == []
            with host.use("c"):
                assert ended == ["forms"] and names(host) == {"a", "b", "c"}
        assert host.free_bytes() > 2 * one


def test_letting_go_spares_what_is_used(make: Make, one: int) -> None:
    host, machine = make(10 * one)
    with host.use("a"):
        with host.use("b"):
            pass
        free = machine.free_bytes
        assert host.let_go() == machine.free_bytes > free
        assert names(host) == {"a"}


def test_caches_get_what_is_left_and_never_keep_a_model_out(folder: Path, tmp_path: Path) -> None:
    need = text_need(folder, CPU, tmp_path, 512)
    assert need.within(10**12) == need and need.cache_bytes > 0
    assert need.within(need.least_bytes + 5).cache_bytes == 5
    assert need.within(0).cache_bytes == 0 and need.within(0).least_bytes == need.least_bytes
