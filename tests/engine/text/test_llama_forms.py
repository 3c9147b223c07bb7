"""The faster forms of a model compute what its float32 weights do, and each writes the same text again."""

from __future__ import annotations

import gc
import json
import os
import shutil
import threading
import time
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.arrays import Floats
from engine.jobs.job import CancelToken
from engine.models.adapters import AdapterRef, load_lora
from engine.text.drafting import Drafter
from engine.text.llama import preparing
from engine.text.llama.backend import LlamaBackend, load_llama
from engine.text.llama.config import llama_config
from engine.text.llama.forms import FLOAT32, PACKED
from engine.text.llama.native import library
from engine.text.llama.packed import Packed4, apply, pack4, pack8
from engine.text.llama.prepare import prepare
from engine.text.llama.prepared import LIBRARY, WEIGHTS, key_of_machine, read_facts
from engine.text.local import LocalTextModel, load_local
from engine.text.model import GenerateRequest, Message, Sampling
from tests.tiny import CPU, make_adapter, make_model, make_packable, on_grid, tiny_spec

IDS = [5, 9, 200, 31, 7, 7, 120, 64, 3, 18, 77, 250]
TEXT = "The lamp burns. The lamp burns low. The lamp"


NATIVE4, NATIVE8 = "int4, native", "int8, native"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_packable(tmp_path_factory.mktemp("packable") / "model")


def forms() -> list[str]:
    """A form that is not there fails its tests, except for the one in C on a machine without a compiler."""
    return [PACKED, *([NATIVE4] if any(map(shutil.which, library.COMPILERS)) else [])]


@pytest.fixture(scope="module", params=forms())
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def prepared(folder: Path, form: str) -> Path:
    place = folder.parent / f"prepared-{form}"
    with pytest.MonkeyPatch.context() as patch:
        if form == PACKED:
            patch.setenv("CC", str(folder / "no-compiler"))
        assert preparing.prepare_in_child(folder, place, 1, threading.Event()), (place / "job" / "child.log").read_text()
    # Which form is fastest on so small a model is chance; here the prepared one is to be used.
    path = place / key_of_machine() / "facts.json"
    facts = json.loads(path.read_text())
    assert set(facts["tokens_per_s"]) == {FLOAT32, form}
    facts["tokens_per_s"] = dict.fromkeys(facts["tokens_per_s"], 1.0)
    path.write_text(json.dumps(facts))
    return place


@pytest.fixture(scope="module")
def backend(folder: Path, prepared: Path) -> LlamaBackend:
    config = llama_config(json.loads((folder / "config.json").read_text()), CPU)
    assert config is not None
    return load_llama(folder, config, prepared)


@pytest.fixture
def model(folder: Path, prepared: Path) -> Iterator[LocalTextModel]:
    loaded = load_local(tiny_spec(folder), folder, CPU, prepared)
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def adapter(folder: Path) -> AdapterRef:
    return make_adapter(folder, folder.parent / "adapter", targets=("q_proj", "v_proj", "down_proj"))


def logits(backend: LlamaBackend, form: str, adapter: AdapterRef | None = None) -> Floats:
    loaded = None if adapter is None else backend.prepare_adapter(load_lora(adapter.folder))
    cache = backend.new_cache(loaded, {"dtype": form})
    assert backend.facts(cache)["dtype"] == form
    backend.prefill(cache, IDS[:4])
    return np.stack([backend.step(cache, token) for token in IDS[4:]])


def write(model: LocalTextModel, request: GenerateRequest) -> tuple[str, dict[str, object]]:
    events = list(model.generate(request, CancelToken()))
    path = events[-1].path
    assert path is not None
    return "".join(event.delta for event in events), dict(path)


def request(**sampling: float) -> GenerateRequest:
    settings = {"temperature": 0.0, "repetition_penalty": 1.0, "max_new_tokens": 60, **sampling}
    return GenerateRequest((Message("user", TEXT),), Sampling(**settings), (3,))  # type: ignore[arg-type]


def test_weights_on_a_grid_lose_only_its_rounding_and_others_are_left_alone() -> None:
    torch.manual_seed(0)
    weight = torch.randn(64, 96)
    assert pack4(weight) is None
    assert pack4(torch.randn(64, 100)) is None
    packed = pack4(on_grid(weight).bfloat16())
    assert isinstance(packed, Packed4)
    torch.testing.assert_close(apply(packed, torch.eye(96)).T, on_grid(weight), rtol=0.02, atol=0.02)
    torch.testing.assert_close(apply(pack8(weight), torch.eye(96)).T, weight, rtol=0.02, atol=0.02)


def test_logits_are_near_those_of_float32(backend: LlamaBackend, form: str, adapter: AdapterRef) -> None:
    plain = logits(backend, FLOAT32)
    assert np.abs(logits(backend, form) - plain).mean() < 0.06 * np.abs(plain).mean()
    adapted = logits(backend, FLOAT32, adapter)
    assert (
        np.abs(logits(backend, form, adapter) - adapted).mean()
        < 0.06 * np.abs(adapted).mean()
        < 0.2 * np.abs(adapted - plain).mean()
    )


def test_scores_are_near_those_of_float32(backend: LlamaBackend, form: str, adapter: AdapterRef) -> None:
    for ref in (None, adapter):
        loaded = None if ref is None else backend.prepare_adapter(load_lora(ref.folder))
        found = []
        for name in (form, FLOAT32):
            cache = backend.new_cache(loaded, {"dtype": name})
            backend.prefill(cache, IDS[:3])
            found.append(backend.log_probabilities(cache, IDS[3:-1], IDS[4:]))
        np.testing.assert_allclose(*found, rtol=0.1, atol=0.1)


def test_rows_come_out_the_same_alone_and_beside_others(backend: LlamaBackend, form: str, adapter: AdapterRef) -> None:
    loaded = backend.prepare_adapter(load_lora(adapter.folder))
    adapters = (None, loaded, None)
    alone, together = ([backend.new_cache(which, {"dtype": form}) for which in adapters] for _ in range(2))
    for number, pair in enumerate(zip(alone, together, strict=True)):
        for cache in pair:
            backend.prefill(cache, IDS[: 2 + number])
    assert [backend.is_row_by_row(cache) for cache in together] == [True, form != PACKED, True]
    for token in IDS[6:9]:
        expected = [backend.step(cache, token) for cache in alone]
        for row, other, cache in zip(backend.step_together(together, [token] * 3), expected, together, strict=True):
            if backend.is_row_by_row(cache):
                assert np.array_equal(row, other)
            else:
                np.testing.assert_allclose(row, other, rtol=1e-3, atol=1e-3)
    plain = [backend.new_cache(None, {"dtype": form}) for _ in range(21)]
    ids = [number * 11 % 256 for number in range(21)]
    rows = backend.step_together(plain, ids)
    expected = [backend.step(backend.new_cache(None, {"dtype": form}), token) for token in ids]
    assert np.array_equal(rows, np.stack(expected))


def test_tokens_of_one_row_at_once_are_those_of_one_by_one(backend: LlamaBackend, form: str) -> None:
    one, several = (backend.new_cache(None, {"dtype": form}) for _ in range(2))
    expected = np.stack([backend.step(one, token) for token in IDS])
    backend.step_together([several] * 5, IDS[:5])
    backend.shorten(several, 3)
    assert np.array_equal(backend.step_together([several] * len(IDS[3:]), IDS[3:]), expected[3:])


def test_a_row_given_between_others_gets_its_own_logits(backend: LlamaBackend, form: str) -> None:
    one, other = (backend.new_cache(None, {"dtype": form}) for _ in range(2))
    rows = backend.step_together([one, other, one], [5, 6, 7])
    alone = backend.new_cache(None, {"dtype": form})
    assert np.array_equal(rows[[0, 2]], np.stack([backend.step(alone, token) for token in (5, 7)]))
    assert np.array_equal(rows[1], backend.step(backend.new_cache(None, {"dtype": form}), 6))


@pytest.mark.parametrize("cut", [1, 15, 16, 17, 255, 256, 257])
def test_a_fork_goes_its_own_way_and_the_original_does_not_notice(backend: LlamaBackend, form: str, cut: int) -> None:
    ids = [number * 7 % 256 for number in range(300)]
    whole, plain, cache = (backend.new_cache(None, {"dtype": form}) for _ in range(3))
    backend.prefill(whole, ids[:280])
    expected = backend.step(whole, ids[280])
    backend.prefill(plain, ids[:cut])
    expected_fork = backend.step(plain, 99)
    backend.prefill(cache, ids[:cut])
    if form != PACKED:  # there a prompt's bits depend on how it was cut
        backend.prefill(cache, ids[cut:280])
        fork = backend.fork(cache, cut)
        assert np.array_equal(backend.step(fork, 99), expected_fork)
        assert np.array_equal(backend.step(cache, ids[280]), expected)
    else:
        fork = backend.fork(cache, cut)
        assert np.array_equal(backend.step(fork, 99), expected_fork)
        assert np.array_equal(backend.step(cache, 99), expected_fork)


@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.6}, {"repetition_penalty": 1.3}, {"max_new_tokens": 7}])
def test_guessed_tokens_change_no_text(
    model: LocalTextModel, monkeypatch: pytest.MonkeyPatch, sampling: dict[str, float]
) -> None:
    guessed: list[int] = []
    draft = Drafter.draft

    def counted(self: Drafter) -> object:
        found = draft(self) or [7, 7, 7]  # wrong ones too
        guessed.append(len(found))
        return found

    monkeypatch.setattr(Drafter, "draft", counted)
    text, path = write(model, request(**sampling))
    assert path["dtype"] in forms()
    assert sum(guessed) > 0
    monkeypatch.setattr(Drafter, "draft", lambda self: ())
    assert write(model, request(**sampling))[0] == text


def test_an_answer_is_written_again_in_its_own_form(folder: Path, prepared: Path, model: LocalTextModel) -> None:
    again = {}
    plain = load_local(tiny_spec(folder), folder, CPU)
    try:
        again[FLOAT32] = write(plain, request(temperature=0.8))
    finally:
        plain.close()
    again["packed"] = write(model, request(temperature=0.8))
    assert again[FLOAT32][1]["dtype"] == FLOAT32 != again["packed"][1]["dtype"]
    for text, path in again.values():
        asked = request(temperature=0.8)
        assert write(model, GenerateRequest(asked.messages, asked.sampling, asked.seeds, replay=path)) == (text, path)


def test_a_question_changed_at_its_end_is_read_from_there(model: LocalTextModel, form: str) -> None:
    questions = [f"{TEXT} burns and the tide comes in. {end}" for end in ("Who lit it?", "Who put it out?")]
    first, second = (replace(request(max_new_tokens=5), messages=(Message("user", text),)) for text in questions)
    whole, (text, path) = write(model, first)[1]["segments"], write(model, second)
    segments = path["segments"]
    assert isinstance(whole, list)
    assert isinstance(segments, list)
    assert (len(segments) > len(whole)) == (form != PACKED)  # in torch a prompt's bits depend on where it is cut
    model._scheduler._pool.clear()
    assert write(model, second)[0] == text
    assert write(model, replace(second, replay=path)) == (text, path)


@pytest.mark.parametrize("with_adapter", [False, True])
def test_an_answer_is_the_same_to_the_letter_beside_other_chats(
    model: LocalTextModel, adapter: AdapterRef, with_adapter: bool
) -> None:
    asked = replace(request(temperature=0.8), adapter=adapter if with_adapter else None)
    text, path = write(model, asked)
    stop = threading.Event()

    def disturb(ref: AdapterRef | None) -> None:
        while not stop.is_set():
            write(model, replace(request(temperature=1.0, max_new_tokens=30), adapter=ref))

    others = [threading.Thread(target=disturb, args=(ref,)) for ref in (None, None, adapter)]
    for other in others:
        other.start()
    try:
        for _ in range(3):
            assert write(model, replace(asked, replay=path)) == (text, path)
    finally:
        stop.set()
        for other in others:
            other.join(60)


@pytest.mark.parametrize("name", [WEIGHTS, LIBRARY])
def test_damaged_files_cost_speed_only(folder: Path, prepared: Path, form: str, tmp_path: Path, name: str) -> None:
    copy = tmp_path / "prepared"
    shutil.copytree(prepared, copy)
    path = copy / key_of_machine() / name
    path.write_bytes(b"none of it" if name == WEIGHTS else path.read_bytes()[:4000] if path.is_file() else b"")
    model = load_local(tiny_spec(folder), folder, CPU, copy)
    try:
        assert write(model, request())[1]["dtype"] == (PACKED if (form, name) == (PACKED, LIBRARY) else FLOAT32)
    finally:
        model.close()


def test_other_weights_are_prepared_anew(folder: Path, prepared: Path, tmp_path: Path) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    os.utime(other / "model.safetensors", ns=(0, 0))
    assert read_facts(folder, prepared) is not None
    assert read_facts(other, prepared) is None


def test_a_model_is_prepared_while_it_writes_and_goes_on_in_the_faster_form(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_packable(tmp_path / "model", layers=2)
    if form == PACKED:
        monkeypatch.setenv("CC", str(tmp_path / "no-compiler"))
    monkeypatch.setattr(preparing, "DELAY_S", 0.0)
    monkeypatch.setattr("engine.text.llama.prepared.CLEARLY", 0.0)  # which is faster on so small a model is chance
    model = load_local(tiny_spec(folder), folder, CPU, tmp_path / "prepared")
    assert isinstance(model._backend, LlamaBackend)
    plain = weakref.ref(model._backend.float32())
    try:
        paths = [write(model, request())[1]["dtype"]]
        assert paths[0] == FLOAT32
        deadline = time.monotonic() + 180
        while paths[-1] != form and time.monotonic() < deadline:
            time.sleep(0.2)
            paths.append(write(model, request())[1]["dtype"])  # the same conversation, which is kept
        assert set(paths) == {FLOAT32, form}
        gc.collect()  # a generation and its rows hold each other
        assert (plain() is None) == (form != PACKED)  # nothing holds the float32 weights any more
    finally:
        model.close()


def test_what_cannot_be_packed_is_looked_at_once(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model")  # heads of 8: half a tile; and weights on no grid
    facts = prepare(folder, tmp_path / "prepared", 1)
    assert facts is not None
    assert set(facts["tokens_per_s"]) == {FLOAT32}
    assert read_facts(folder, tmp_path / "prepared") == facts
    model = load_local(tiny_spec(folder), folder, CPU, tmp_path / "prepared")
    try:
        assert model._backend.preparing is None  # type: ignore[attr-defined]
        assert write(model, request())[1]["dtype"] == FLOAT32
    finally:
        model.close()


def test_float32_weights_are_not_kept_beside_the_form_in_c(folder: Path, prepared: Path, form: str) -> None:
    model = load_local(tiny_spec(folder), folder, CPU, prepared)
    try:
        backend = model._backend
        assert isinstance(backend, LlamaBackend)
        light = backend.size_bytes
        assert (light < 0.5 * backend.float32().nbytes) == (form != PACKED)
        assert backend.size_bytes > light or form == PACKED
    finally:
        model.close()
