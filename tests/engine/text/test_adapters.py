"""Adapters in both backends: PEFT's own logits, rows of their own, replay, and a path that says what computed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.errors import BadFileError, BadOptionError, StudioError
from engine.jobs.job import CancelToken
from engine.models.adapters import AdapterRef, LoraWeights, load_lora
from engine.text.local import LocalTextModel
from engine.text.lora import AdapterPool
from engine.text.model import GenerateRequest, Message, Sampling, TextEvent
from tests.tiny import desks, load_tiny, make_adapter, make_model

SAMPLING = Sampling(temperature=1.0, max_new_tokens=20)
IDS = [5, 9, 200, 31, 7, 7, 120, 64, 3, 18, 77, 250]


@pytest.fixture(scope="module", params=["llama", "transformers", "desks"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    is_plain = request.param == "llama"
    with desks(wanted=request.param == "desks"):
        yield make_model(tmp_path_factory.mktemp("tiny"), context_length=1024, attention_bias=not is_plain)


@pytest.fixture(scope="module")
def adapters(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[AdapterRef]:
    root = tmp_path_factory.mktemp("adapters")
    return [
        make_adapter(folder, root / "all", seed=1),
        make_adapter(folder, root / "some", seed=2, rank=2, targets=("q_proj", "v_proj", "up_proj")),
        make_adapter(folder, root / "other", seed=3),
    ]


@pytest.fixture(scope="module")
def model(folder: Path) -> Iterator[LocalTextModel]:
    loaded = load_tiny(folder, context_length=1024)
    loaded.chat.stop_ids = frozenset()
    yield loaded
    loaded.close()


def ask(content: str = "Hello", sampling: Sampling = SAMPLING, **fields: Any) -> GenerateRequest:
    return GenerateRequest((Message("user", content),), sampling, **fields)


def run(model: LocalTextModel, request: GenerateRequest) -> tuple[str, TextEvent]:
    events = list(model.generate(request, CancelToken()))
    return "".join(event.delta for event in events), events[-1]


def by_peft(folder: Path, adapter: AdapterRef) -> torch.Tensor:
    """Logits after each of IDS, by PEFT on transformers' model."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.inference_mode():
        logits: torch.Tensor = PeftModel.from_pretrained(plain, adapter.folder).eval()(torch.tensor([IDS])).logits[0]
    return logits


@pytest.mark.parametrize("which", [0, 1])
def test_logits_are_those_of_peft(model: LocalTextModel, folder: Path, adapters: list[AdapterRef], which: int) -> None:
    backend = model._scheduler._backend
    expected = by_peft(folder, adapters[which])
    cache = backend.new_cache(backend.prepare_adapter(load_lora(adapters[which].folder)))
    backend.prefill(cache, IDS[:5])
    stepped = np.stack([backend.step(cache, token) for token in IDS[5:]])
    np.testing.assert_allclose(stepped, expected[5:], rtol=1e-4, atol=1e-4)
    base = backend.new_cache()
    backend.prefill(base, IDS[:-1])
    assert not np.allclose(backend.step(base, IDS[-1]), expected[-1], atol=0.1)


def test_the_path_says_what_computed_and_each_version_has_its_own_answer(
    model: LocalTextModel, adapters: list[AdapterRef]
) -> None:
    answers = {}
    for adapter in (None, *adapters):
        text, last = run(model, ask(adapter=adapter))
        assert last.path is not None and last.path["adapter"] == (adapter.sha256 if adapter else "base")
        answers[text] = adapter
    assert len(answers) == 4
    assert run(model, ask())[0] in answers  # taking an adapter off leaves no trace


def test_nothing_one_version_computed_is_reused_by_another(model: LocalTextModel, adapters: list[AdapterRef]) -> None:
    prompt = "A prompt that is long enough to be kept for the next turn. " * 4
    for adapter in (None, adapters[0], adapters[1]):
        _, first = run(model, ask(prompt, adapter=adapter, seeds=(3,)))
        assert first.path is not None and len(first.path["segments"]) == 2  # computed from its beginning
    _, again = run(model, ask(prompt + "More.", adapter=adapters[0]))
    assert again.path is not None and again.path["adapter"] == adapters[0].sha256


def test_an_answer_of_an_adapter_is_reproduced(model: LocalTextModel, adapters: list[AdapterRef]) -> None:
    first = ask("One", adapter=adapters[0], seeds=(5,))
    text, _ = run(model, first)
    messages = (*first.messages, Message("assistant", text), Message("user", "And then?"))
    request = GenerateRequest(messages, SAMPLING, (6,), adapter=adapters[0])
    answer, last = run(model, request)
    again, replayed = run(model, GenerateRequest(messages, SAMPLING, (6,), adapter=adapters[0], replay=last.path))
    assert again == answer and replayed.path == last.path
    for other in (None, adapters[1]):
        with pytest.raises(BadOptionError, match="cannot be computed again"):
            model.generate(GenerateRequest(messages, SAMPLING, (6,), adapter=other, replay=last.path), CancelToken())


def test_rows_of_one_step_with_different_adapters_are_what_each_is_alone(
    model: LocalTextModel, adapters: list[AdapterRef]
) -> None:
    backend = model._scheduler._backend
    loaded = [None if ref is None else backend.prepare_adapter(load_lora(ref.folder)) for ref in (None, *adapters)]
    order = [2, 0, 1, 3, 0, 2, 1]
    together, alone = ([backend.new_cache(loaded[which]) for which in order] for _ in range(2))
    for number, (one, other) in enumerate(zip(together, alone, strict=True)):
        for cache in (one, other):
            backend.prefill(cache, IDS[: 2 + number])
    for step in range(5):
        tokens = [IDS[step + number % 3] for number in range(len(order))]
        expected = np.stack([backend.step(cache, token) for cache, token in zip(alone, tokens, strict=True)])
        np.testing.assert_allclose(backend.step_together(together, tokens), expected, rtol=1e-4, atol=1e-4)
    assert [backend.adapter_of(cache) for cache in together[:2]] == [adapters[1].sha256, "base"]


def test_a_backend_in_another_state_than_asked_is_caught(
    model: LocalTextModel, adapters: list[AdapterRef], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = model._scheduler._backend
    fresh = backend.new_cache
    monkeypatch.setattr(backend, "new_cache", lambda adapter=None, path=None: fresh(None))
    with pytest.raises(StudioError, match="another version of the model"):
        run(model, ask("Who are you?", adapter=adapters[0]))
    monkeypatch.undo()
    assert run(model, ask("Who are you?", adapter=adapters[0]))[1].finish_reason == "length"


def test_an_adapter_of_another_model_is_refused(model: LocalTextModel, tmp_path: Path) -> None:
    wider = make_model(tmp_path / "wider", intermediate_size=96)
    with pytest.raises(BadFileError, match="another model"):
        model.generate(ask(adapter=make_adapter(wider, tmp_path / "foreign")), CancelToken())
    deeper = make_model(tmp_path / "deeper", num_hidden_layers=3)
    with pytest.raises(BadFileError, match=r"has no layer model\.layers\.2"):
        model.generate(ask(adapter=make_adapter(deeper, tmp_path / "deep")), CancelToken())


def test_loaded_adapters_are_counted_and_read_once(folder: Path, adapters: list[AdapterRef]) -> None:
    loaded = load_tiny(folder)
    try:
        before = loaded.size_bytes
        run(loaded, ask(adapter=adapters[0]))
        run(loaded, ask(adapter=adapters[0]))
        # The fused form may hold zeros beside the adapter's own numbers, never less than them.
        assert loaded.size_bytes >= before + load_lora(adapters[0].folder).size_bytes
    finally:
        loaded.close()
    assert loaded._adapters.size_bytes == 0


def test_the_pool_forgets_the_least_recently_used(adapters: list[AdapterRef]) -> None:
    size = load_lora(adapters[0].folder).size_bytes
    read: list[str] = []

    def prepare(weights: LoraWeights) -> LoraWeights:
        read.append(weights.sha256)
        return weights

    pool = AdapterPool(prepare, limit_bytes=int(size * 2.1))  # two whole ones, or one and the small one beside it
    first, second, third = adapters[0], adapters[2], adapters[1]
    assert pool.get(None) is None
    for ref in (first, second, first, third, second, first):
        weights = pool.get(ref)
        assert weights is not None and weights.sha256 == ref.sha256
    assert read == [ref.sha256 for ref in (first, second, third, second, first)] and pool.size_bytes <= size * 2.1
