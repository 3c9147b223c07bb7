"""Weights of 8 and 4 bits: less memory, nearly the same answers, and adapters on top; and when they are chosen.

test_few_bits.py runs this in a process of its own, with bitsandbytes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.arrays import Floats
from engine.device import Device
from engine.memory import Machine
from engine.models.adapters import load_lora
from engine.models.folder import read_weights
from engine.models.loading import HostedWords, ModelLoader
from engine.models.needs import LAYER_BYTES, Need, need_of, text_need
from engine.models.store import ModelStore
from engine.text.local import LocalTextModel
from engine.text.transformers_backend import TransformersBackend
from tests.tiny import CPU, desks, make_adapter, make_model, tiny_spec

CUDA = Device("cuda:0", "bfloat16", 1)
PROMPT = [*range(2, 40)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = {"hidden_size": 128, "intermediate_size": 256, "attention_bias": True, "initializer_range": 0.1}
    return make_model(tmp_path_factory.mktemp("tiny"), **config)


def logits(backend: TransformersBackend, adapter: object = None) -> Floats:
    cache = backend.new_cache(adapter)  # type: ignore[arg-type]
    backend.prefill(cache, PROMPT)
    return backend.step(cache, 50)


@pytest.mark.parametrize(("bits", "name", "alike"), [(8, "int8", 0.99), (4, "nf4", 0.85)])
def test_fewer_bits_take_less_and_say_nearly_the_same(folder: Path, tmp_path: Path, bits: int, name: str, alike: float) -> None:
    whole = TransformersBackend(folder, CPU, lambda: 0)
    with desks():
        few = TransformersBackend(folder, CPU, lambda: 2**40, bits)
    cache = few.new_cache()
    assert few.facts(cache)["dtype"] == name and few.facts(cache)["steps"] == "recorded"
    assert np.corrcoef(logits(whole), logits(few))[0, 1] > alike
    ref = make_adapter(folder, tmp_path / "adapter", seed=1)
    weights = load_lora(ref.folder, ref.sha256)
    changed = [logits(backend, backend.prepare_adapter(weights)) - logits(backend) for backend in (whole, few)]
    assert np.abs(changed[0]).mean() > 0.01
    assert np.corrcoef(*changed)[0, 1] > alike - 0.05
    facts = read_weights(folder)
    rest = (facts.parameters - facts.layer_parameters) * 4
    packed = sum(part.weight.nbytes for part in few._linears.values() if part is not few._model.lm_head)
    assert packed == facts.layer_parameters * bits // 8
    assert packed <= facts.layer_parameters * LAYER_BYTES[bits] and rest + packed < whole.size_bytes / 2


def test_as_many_bits_as_memory_has_room_for(folder: Path, tmp_path: Path) -> None:
    needs = {bits: text_need(folder, CUDA, tmp_path, 512, have) for bits, have in ((None, 10**12), (4, 0))}
    whole, least = needs[None], needs[4]
    assert whole == text_need(folder, CUDA, tmp_path, 512) and whole.weight_bits is None and least.weight_bits == 4
    half = text_need(folder, CUDA, tmp_path, 512, whole.least_bytes - 1)
    assert half.weight_bits == 8 and least.held_bytes < half.held_bytes < whole.held_bytes
    assert text_need(folder, CUDA, tmp_path, 512, half.least_bytes - 1) == least
    assert text_need(folder, CPU, tmp_path, 512, 0).weight_bits is None
    assert need_of(tiny_spec(folder), folder, CUDA, tmp_path, 0) == least


def test_the_loader_loads_as_many_bits_as_are_said(folder: Path, tmp_path: Path) -> None:
    loader = ModelLoader(ModelStore(tmp_path), CPU, lambda model_id: None, Machine(CPU), HostedWords)  # type: ignore[arg-type]
    model = loader(tiny_spec(folder), Need(0, weight_bits=8))
    assert isinstance(model, LocalTextModel)
    try:
        backend = model._backend
        assert backend.facts(backend.new_cache())["dtype"] == "int8"
    finally:
        model.close()
