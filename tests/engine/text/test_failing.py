"""A backend that fails in the middle: one row's failure is that row's alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.arrays import Floats
from engine.errors import BusyError, StudioError
from engine.jobs.job import CancelToken
from engine.text.chat import ChatFormat
from engine.text.local import LocalTextModel
from engine.text.model import GenerateRequest, Message, Sampling
from tests.tiny import CPU, make_model, tiny_spec


def ask(content: str, max_new_tokens: int) -> GenerateRequest:
    return GenerateRequest((Message("user", content),), Sampling(temperature=1.0, max_new_tokens=max_new_tokens))


class FailingBackend:
    """Fails at the step where it is told to; otherwise says one token after another."""

    vocabulary_size, size_bytes, max_together = 300, 10, 4

    def __init__(self, error: Exception, *, joins: bool) -> None:
        self.error = error
        self.joins = joins
        self.closed = False

    class Cache:
        def __init__(self) -> None:
            self.length, self.size_bytes = 0, 10

    def use_threads(self, count: int) -> None:
        pass

    def prepare_adapter(self, weights: Any) -> Any:
        raise AssertionError("nobody asked for one")

    def facts(self, cache: Cache) -> dict[str, Any]:
        return {"engine": "failing"}

    def is_row_by_row(self, cache: Cache) -> bool:
        return self.joins

    def can_guess(self, cache: Cache) -> bool:
        return False

    def can_cut(self, cache: Cache) -> bool:
        return False

    def is_current(self, cache: Cache) -> bool:
        return True

    def new_cache(self, adapter: Any = None, path: Any = None) -> Cache:
        return self.Cache()

    def adapter_of(self, cache: Cache) -> str:
        return "base"

    def prefill(self, cache: Cache, ids: Any) -> None:
        cache.length += len(ids)

    def step(self, cache: Cache, token: int) -> Floats:
        if cache.length == 60:
            raise self.error
        cache.length += 1
        return np.eye(300, dtype=np.float32)[40]

    def step_together(self, caches: Any, ids: Any) -> Floats:
        return np.stack([self.step(cache, token) for cache, token in zip(caches, ids, strict=True)])

    def shorten(self, cache: Cache, length: int) -> None:
        cache.length = length

    def fork(self, cache: Cache, length: int) -> Cache:
        fork = self.Cache()
        fork.length = length
        return fork

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    ("error", "kind"),
    [(RuntimeError("CUDA out of memory. Tried"), BusyError), (MemoryError(), BusyError), (RuntimeError("shape"), StudioError)],
)
@pytest.mark.parametrize("joins", [False, True])
def test_one_failure_is_said_and_the_others_go_on(tmp_path: Path, error: Exception, kind: type[StudioError], joins: bool) -> None:
    folder, backend = make_model(tmp_path / "tiny"), FailingBackend(error, joins=joins)
    model = LocalTextModel(tiny_spec(folder), ChatFormat(folder), backend, device=CPU, context_length=512)
    try:
        fine = model.generate(ask("x" * 80, 300), CancelToken())
        next(fine)
        with pytest.raises(kind) as caught:
            list(model.generate(ask("abc", 300), CancelToken()))
        assert type(caught.value) is kind
        assert len(list(fine)) == 299
        assert list(model.generate(ask("x" * 90, 2), CancelToken()))[-1].finish_reason == "length"
    finally:
        model.close()
    assert backend.closed
