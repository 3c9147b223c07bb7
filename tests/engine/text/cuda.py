"""Recorded steps, fewer bits and rows in company on a real GPU: `pytest tests/engine/text/cuda.py`, with bitsandbytes installed.

Not among the tests that everybody runs, of which none may be skipped. What those say of desks, adapters and the scheduler is
asked here once more, of models on the GPU.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.device import Device, free_memory
from engine.models.adapters import AdapterRef, load_lora
from engine.text import desk, transformers_backend
from engine.text.local import LocalTextModel, load_local
from engine.text.transformers_backend import TransformersBackend
from tests import gpu
from tests.engine.text import test_adapters, test_batched, test_desk, test_local
from tests.engine.text.test_desk import KINDS, PLENTY, begun, written
from tests.gpu import held
from tests.tiny import make_adapter, make_model, tiny_spec

CONTEXT = 2048

device = gpu.device

test_company = test_desk.test_a_row_is_the_same_to_the_bit_in_any_company
test_kept_by_the_row = test_desk.test_what_was_written_at_a_desk_is_kept_by_the_row
test_adapters_never_mix = test_desk.test_adapters_share_a_desk_and_never_mix
test_seats = test_desk.test_rows_that_are_gone_leave_their_seats
test_each_version_has_its_answer = test_adapters.test_the_path_says_what_computed_and_each_version_has_its_own_answer
test_nothing_is_reused_by_another = test_adapters.test_nothing_one_version_computed_is_reused_by_another
test_reproduced = test_adapters.test_an_answer_of_an_adapter_is_reproduced
test_rows_of_adapters = test_adapters.test_rows_of_one_step_with_different_adapters_are_what_each_is_alone
test_a_batched_answer_leaves_nothing = test_batched.test_a_batched_answer_leaves_nothing_that_a_reproducible_one_could_stand_on
test_a_person_is_served_first = test_batched.test_a_person_is_served_first
test_events = test_local.test_events_say_what_happened
test_seeds = test_local.test_same_seed_same_text_and_greedy_needs_no_seed
test_candidates = test_local.test_candidates_are_what_each_seed_writes_alone
test_two_chats = test_local.test_two_chats_stream_at_once
test_cancel = test_local.test_cancel_stops_within_two_tokens_and_keeps_what_was_written
test_shared_system_message = test_local.test_conversations_with_the_same_system_message_share_what_was_computed_of_it
test_replay_beside_another_chat = test_local.test_replay_of_a_chat_with_reuse_beside_another_chat_is_identical


@pytest.fixture(scope="module")
def engine() -> str:
    """What test_local calls a model whose steps are recorded."""
    return "desks"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = {"hidden_size": 128, "intermediate_size": 256, "initializer_range": 0.1}
    return make_model(tmp_path_factory.mktemp("tiny"), context_length=CONTEXT, **config)


@pytest.fixture(scope="module")
def adapters(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[AdapterRef]:
    return [make_adapter(folder, tmp_path_factory.mktemp("adapters") / str(seed), seed=seed) for seed in range(3)]


@pytest.fixture(scope="module")
def model(folder: Path, device: Device) -> Iterator[LocalTextModel]:
    loaded = load_local(tiny_spec(folder, context_length=CONTEXT), folder, device)
    loaded.chat.stop_ids = frozenset()
    yield loaded
    loaded.close()


@pytest.fixture
def small_desks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "LEAST_PLACES", 32)
    monkeypatch.setattr(desk, "DESK_TOKENS", 128)


@pytest.fixture
def backend(folder: Path, device: Device, small_desks: None) -> Iterator[TransformersBackend]:
    """As test_desk has it: with desks of few places, so that rows outgrow them soon."""
    loaded = TransformersBackend(folder, device, lambda: PLENTY)
    yield loaded
    loaded.close()


def is_own_stream(device: Device) -> bool:
    return device.kind != "cuda" or torch.cuda.current_stream() == torch.cuda.default_stream()


@pytest.mark.parametrize("bits", [None, 8, 4])
def test_steps_on_a_gpu(folder: Path, device: Device, bits: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = TransformersBackend(folder, device, lambda: 2**40, bits)
    assert is_own_stream(device)  # a recording that failed leaves nothing behind
    monkeypatch.setattr(transformers_backend, "recorder", lambda device: None)
    alone = TransformersBackend(folder, device, lambda: 2**40, bits)
    caches = [backend.new_cache() for backend in (recorded, alone, recorded, recorded)]
    for number, cache in enumerate(caches):
        (alone if number == 1 else recorded).prefill(cache, range(2, 40 if number < 3 else 20))
    if bits != 8:  # its outliers are looked for by the processor, which a graph cannot wait for
        assert recorded.facts(caches[0])["steps"] == "recorded"
    for token in range(2, 30):
        ours, theirs = recorded.step(caches[0], token), alone.step(caches[1], token)
        assert np.abs(ours - theirs).mean() < 0.05 * theirs.std()
        if recorded.is_row_by_row(caches[0]):
            together = recorded.step_together([caches[3], caches[2]], [token, token])
            assert np.array_equal(together[1], ours)


@pytest.mark.usefixtures("small_desks")
@pytest.mark.parametrize("kind", KINDS)
def test_steps_of_every_kind_are_recorded(kind: str, device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"OPT": {"ffn_dim": 64, "word_embed_proj_dim": 32}, "Mistral": {"sliding_window": None}}
    make_model(tmp_path, kind=kind, **config.get(kind, {}))
    recorded = TransformersBackend(tmp_path, device, lambda: PLENTY)
    assert recorded.facts(recorded.new_cache())["steps"] == "recorded"
    monkeypatch.setattr(transformers_backend, "recorder", lambda device: None)
    alone = TransformersBackend(tmp_path, device, lambda: PLENTY)
    ours, theirs, beside = (begun(backend, 20) for backend in (recorded, alone, recorded))
    for token in range(2, 72):  # from the desk of 32 places to those of 64 and 128
        logits, expected = recorded.step(ours, token), alone.step(theirs, token)
        assert np.abs(logits - expected).mean() < 0.05 * expected.std()
        together = recorded.step_together([begun(recorded, token % 20 + 1, seed=token), beside], [token, token])
        assert np.array_equal(together[1], logits)


def test_a_long_row_goes_on_at_a_larger_desk(folder: Path, device: Device) -> None:
    loaded = TransformersBackend(folder, device, lambda: PLENTY)
    cache = begun(loaded, desk.LEAST_PLACES - 10)
    size = loaded.size_bytes
    assert np.isfinite(np.stack(written(loaded, cache, 20))).all()
    assert cache.length == desk.LEAST_PLACES + 10 and loaded.size_bytes > size
    loaded.close()


def test_memory_is_back_where_it_was_after_closing(folder: Path, device: Device, adapters: list[AdapterRef]) -> None:
    """The first time libraries take something for good."""
    after = []
    for _ in range(4):
        loaded = TransformersBackend(folder, device, lambda: PLENTY)
        for ref in (None, *adapters):
            adapter = None if ref is None else loaded.prepare_adapter(load_lora(ref.folder, ref.sha256))
            written(loaded, begun(loaded, 20, adapter=adapter), 3)
        loaded.close()
        adapter = None
        after.append(held(device))
    print("bytes held after each closing:", after)  # noqa: T201
    assert after[1:] == [after[1]] * 3


def test_several_models_record_at_once_beside_other_work(folder: Path, device: Device, small_desks: None) -> None:
    """Whoever records waits for the device, and other threads take and give back memory meanwhile."""
    said: list[object] = []
    stop, one_reads = threading.Event(), threading.Lock()

    def load() -> None:
        for seed in range(2):
            with one_reads:  # transformers reads one model at a time
                loaded = TransformersBackend(folder, device, lambda: PLENTY)
            said.append(loaded.facts(loaded.new_cache())["steps"])
            logits = written(loaded, begun(loaded, 20, seed), 60)
            said.append(bool(np.isfinite(np.stack(logits)).all()))
            loaded.close()

    def work() -> None:
        try:
            while not stop.wait(0.02):
                values = torch.ones((512, 512), device=device.name)
                said.append(bool((values @ values).cpu()[0, 0] == 512))
                del values
                free_memory(device)
        except RuntimeError as error:
            said.append(str(error))

    beside = threading.Thread(target=work)
    loading = [threading.Thread(target=load) for _ in range(3)]
    for thread in (beside, *loading):
        thread.start()
    for thread in loading:
        thread.join(timeout=120)
    stop.set()
    beside.join(timeout=60)
    assert {*said} == {"recorded", True} and said.count("recorded") == 6
