"""The real starter models: an adapter is what PEFT computes, in a batch too; scores and embeddings that mean something."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.device import Device
from engine.jobs.job import CancelToken
from engine.models.adapters import AdapterRef, load_lora
from engine.models.catalog import STARTER_ENCODER_ID, STARTER_TEXT_ID
from engine.models.store import ModelStore
from engine.text.encoder import TextEncoder
from engine.text.local import LocalTextModel, load_local
from engine.text.model import GenerateRequest, Message, Sampling
from tests.starter import starter_catalog, starter_models
from tests.tiny import make_adapter

pytestmark = pytest.mark.integration

PROMPT = (Message("user", "Write a tagline for a bakery."),)


def folder_of(model_id: str) -> Path:
    return ModelStore(starter_models()).path(starter_catalog().get(model_id))


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> AdapterRef:
    return make_adapter(folder_of(STARTER_TEXT_ID), tmp_path_factory.mktemp("adapters") / "random", rank=16)


@pytest.fixture(scope="module")
def model() -> Iterator[LocalTextModel]:
    spec = starter_catalog().get(STARTER_TEXT_ID)
    loaded = load_local(spec, folder_of(STARTER_TEXT_ID), Device("cpu", "float32", 1))
    yield loaded
    loaded.close()


def test_an_adapter_on_the_starter_is_pefts(model: LocalTextModel, adapter: AdapterRef) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    ids = model.chat.encode(PROMPT)
    plain = AutoModelForCausalLM.from_pretrained(folder_of(STARTER_TEXT_ID), dtype=torch.float32)
    with torch.inference_mode():
        expected = PeftModel.from_pretrained(plain, adapter.folder).eval()(torch.tensor([ids])).logits[0, -1]
    backend = model._scheduler._backend
    loaded = backend.prepare_adapter(load_lora(adapter.folder, adapter.sha256))
    caches = [backend.new_cache(one) for one in (loaded, None, loaded)]
    for cache in caches:
        backend.prefill(cache, ids[:-1])
    alone = backend.step(backend.fork(caches[0], len(ids) - 1), ids[-1])
    np.testing.assert_allclose(alone, expected, rtol=1e-3, atol=2e-3)
    together = backend.step_together(caches, [ids[-1]] * 3)
    np.testing.assert_allclose(together[0], alone, rtol=1e-3, atol=2e-3)
    np.testing.assert_allclose(together[2], alone, rtol=1e-3, atol=2e-3)
    assert not np.allclose(together[1], alone, atol=0.5)


def test_an_answer_of_an_adapter_is_reproduced_after_others(model: LocalTextModel, adapter: AdapterRef) -> None:
    def write(**fields: object) -> tuple[str, object]:
        request = GenerateRequest(PROMPT, Sampling(max_new_tokens=12), (11,), **fields)  # type: ignore[arg-type]
        events = list(model.generate(request, CancelToken()))
        return "".join(event.delta for event in events), events[-1].path

    text, path = write(adapter=adapter)
    base, _ = write()
    batched, batched_path = write(batched=True)
    assert isinstance(path, dict) and isinstance(batched_path, dict)
    assert path["adapter"] == adapter.sha256 and batched_path["adapter"] == "base" and batched_path["batched"]
    assert text != base and batched
    assert write(adapter=adapter, replay=path) == (text, path)


def test_a_sentence_is_likelier_than_its_words_in_disorder(model: LocalTextModel) -> None:
    good = model.score(PROMPT, "Fresh bread, baked with love every morning.")
    bad = model.score(PROMPT, "Love every, with bread morning fresh baked.")
    assert "".join(good.tokens) == "Fresh bread, baked with love every morning."
    assert good.perplexity is not None and bad.perplexity is not None and good.perplexity * 3 < bad.perplexity


def test_texts_about_the_same_are_near_each_other() -> None:
    encoder = TextEncoder(starter_catalog().get(STARTER_ENCODER_ID), folder_of(STARTER_ENCODER_ID))
    cat, kitten, rates = encoder.encode(["A cat sits on the mat.", "A kitten is on a rug.", "The bank raised interest rates."])
    assert cat.shape == (384,) and cat @ kitten > 0.5 > 0.2 > abs(cat @ rates)
    encoder.close()
