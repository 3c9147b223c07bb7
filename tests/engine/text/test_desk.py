"""Rows at a desk: what a step computes there is what it computes alone, to the bit whoever else sits there."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.arrays import Floats
from engine.device import Device
from engine.models.adapters import load_lora
from engine.text import desk, transformers_backend
from engine.text.transformers_backend import TransformersBackend, TransformersCache
from tests.tiny import CPU, desks, make_adapter, make_model

PLENTY = 2**40
KINDS = ("Llama", "Qwen2", "Qwen3", "Phi3", "OPT", "GPTNeoX", "Mistral")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Desks of few places, so that rows outgrow them soon; and one thread, as wherever bits are compared."""
    monkeypatch.setattr(desk, "LEAST_PLACES", 32)
    monkeypatch.setattr(desk, "DESK_TOKENS", 128)
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("tiny"), attention_bias=True)


@pytest.fixture
def backend(folder: Path) -> Iterator[TransformersBackend]:
    with desks():
        loaded = TransformersBackend(folder, CPU, lambda: PLENTY)
    yield loaded
    loaded.close()


def begun(backend: TransformersBackend, tokens: int, seed: int = 0, adapter: Any = None) -> TransformersCache:
    """A cache of so many random tokens."""
    cache = backend.new_cache(adapter)
    backend.prefill(cache, torch.randint(2, 258, (tokens,), generator=torch.Generator().manual_seed(seed)).tolist())
    return cache


def written(backend: TransformersBackend, cache: TransformersCache, count: int) -> list[Floats]:
    """The logits of so many steps, each with the likeliest token of the one before."""
    token, logits = 7, []
    for _ in range(count):
        logits.append(backend.step(cache, token).copy())
        token = int(logits[-1].argmax())
    return logits


@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_those_of_the_plain_way(kind: str, tmp_path: Path) -> None:
    config = {"OPT": {"ffn_dim": 64, "word_embed_proj_dim": 32}, "Mistral": {"sliding_window": None}}
    make_model(tmp_path, kind=kind, **config.get(kind, {}))
    alone = TransformersBackend(tmp_path, CPU, lambda: PLENTY)
    with desks():
        recorded = TransformersBackend(tmp_path, CPU, lambda: PLENTY)
    assert alone.facts(begun(alone, 2))["steps"] == "alone" and recorded.facts(begun(recorded, 2))["steps"] == "recorded"
    # 70 tokens: from the desk of 32 places to those of 64 and 128.
    ours, theirs = (np.stack(written(each, begun(each, 20), 70)) for each in (recorded, alone))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-4 * float(theirs.std()))


def test_a_row_is_the_same_to_the_bit_in_any_company(backend: TransformersBackend) -> None:
    alone = written(backend, begun(backend, 20), 40)
    cache = begun(backend, 20)
    others = [begun(backend, length, seed=length) for length in (3, 9, 17, 25, 40, 60)]
    token = 7
    for expected in alone:
        # More rows than seats, at several desks: everybody has to give up a seat now and then.
        together = backend.step_together([*others[:3], cache, *others[3:]], [11, 12, 13, token, 14, 15, 16])
        assert np.array_equal(together[3], expected)
        token = int(expected.argmax())
    assert cache.length == 60 and [other.length for other in others] == [43, 49, 57, 65, 80, 100]


def test_what_was_written_at_a_desk_is_kept_by_the_row(backend: TransformersBackend) -> None:
    """Forks, cuts, further prompts and scores stand on it as on what was computed alone."""
    cache = begun(backend, 10)
    logits = written(backend, cache, 12)
    assert cache.desk is not None and cache.pending == 12 and cache.length == 22
    fork = backend.fork(cache, 18)
    assert fork.length == 18 and cache.length == 22 and cache.desk is None
    token = int(logits[7].argmax())
    assert np.array_equal(backend.step(fork, token), logits[8])
    backend.shorten(cache, 14)
    backend.prefill(cache, [5, 6, 7])
    assert cache.length == 17
    again = begun(backend, 10)
    written(backend, again, 4)
    backend.prefill(again, [5, 6, 7])
    assert np.array_equal(backend.log_probabilities(cache, [8, 9], [9, 10]), backend.log_probabilities(again, [8, 9], [9, 10]))


def test_adapters_share_a_desk_and_never_mix(backend: TransformersBackend, folder: Path, tmp_path: Path) -> None:
    refs = [make_adapter(folder, tmp_path / str(seed), seed=seed) for seed in range(6)]
    adapters = [backend.prepare_adapter(load_lora(ref.folder, ref.sha256)) for ref in refs]
    alone = [written(backend, begun(backend, 5, adapter=adapter), 3) for adapter in [None, *adapters]]
    assert len({logits[0].tobytes() for logits in alone}) == 7
    caches = [begun(backend, 5, adapter=adapter) for adapter in [None, *adapters]]
    tokens = [7] * 7
    for step in range(3):
        together = backend.step_together(caches, tokens)
        for number, logits in enumerate(together):
            assert np.array_equal(logits, alone[number][step])
        tokens = [int(logits.argmax()) for logits in together]


def test_rows_that_are_gone_leave_their_seats(backend: TransformersBackend) -> None:
    before = backend.size_bytes
    for seed in range(20):
        written(backend, begun(backend, 5, seed), 2)
    gc.collect()
    assert backend.size_bytes == before


def test_where_memory_is_short_steps_are_computed_alone(folder: Path) -> None:
    free = [PLENTY]
    with desks():
        loaded = TransformersBackend(folder, CPU, lambda: free[0])
    free[0] = 0
    small, large = begun(loaded, 5), begun(loaded, 50)
    loaded.step_together([small, large], [7, 7])
    assert small.desk is not None and large.desk is None and large.length == 51
    plain = TransformersBackend(folder, CPU, lambda: 0)
    assert np.array_equal(written(loaded, large, 3)[0], written(plain, _with(plain, begun(plain, 50), 7), 3)[0])


def _with(backend: TransformersBackend, cache: TransformersCache, token: int) -> TransformersCache:
    backend.step(cache, token)
    return cache


def _failing(compute: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
    raise RuntimeError("operation not permitted when stream is capturing")


def _lying(compute: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
    result = compute()
    return lambda: torch.zeros_like(result)


def _drifting(compute: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
    drift = iter(range(100))
    return lambda: compute() + 1e-4 * next(drift)


@pytest.mark.parametrize("record", [_failing, _lying, _drifting])
def test_a_model_that_cannot_be_recorded_steps_alone(record: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformers_backend, "recorder", lambda device: record)
    loaded = TransformersBackend(folder, CPU, lambda: PLENTY)
    cache = begun(loaded, 5)
    assert loaded.facts(cache)["steps"] == "alone" and not loaded.is_row_by_row(cache)
    assert np.isfinite(written(loaded, cache, 3)).all()


def test_models_that_look_at_a_window_only_step_alone(tmp_path: Path) -> None:
    make_model(tmp_path, kind="Mistral", sliding_window=16)
    with desks():
        loaded = TransformersBackend(tmp_path, CPU, lambda: PLENTY)
    assert loaded.facts(begun(loaded, 5))["steps"] == "alone"


def test_only_cuda_records() -> None:
    assert desk.recorder(Device("cuda:0", "bfloat16", 1)) is desk.cuda_graph
    assert desk.recorder(CPU) is None and desk.recorder(Device("mps", "float16", 1)) is None
