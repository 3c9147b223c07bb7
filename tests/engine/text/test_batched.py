"""Batched rows through the scheduler: computed together, said so, giving way to people; and scores beside them."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.arrays import Floats
from engine.errors import BusyError, CancelledError, TooLongError
from engine.jobs.job import CancelToken
from engine.models.adapters import AdapterRef
from engine.text.local import LocalTextModel
from engine.text.model import GenerateRequest, Message, Sampling, Scored, TextEvent
from engine.text.scheduler import CHUNK_BESIDE
from engine.text.transformers_backend import TransformersBackend
from tests.tiny import CPU, desks, load_tiny, make_adapter, make_model

GREEDY = Sampling(temperature=0.0, repetition_penalty=1.0, max_new_tokens=12)


@pytest.fixture(scope="module", params=["llama", "transformers", "desks"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    is_plain = request.param == "llama"
    with desks(wanted=request.param == "desks"):
        yield make_model(tmp_path_factory.mktemp("tiny"), context_length=2048, attention_bias=not is_plain)


@pytest.fixture(scope="module")
def adapter(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> AdapterRef:
    return make_adapter(folder, tmp_path_factory.mktemp("adapters") / "one", seed=1)


@pytest.fixture
def model(folder: Path) -> Iterator[LocalTextModel]:
    loaded = load_tiny(folder, context_length=2048)
    loaded.chat.stop_ids = frozenset()
    yield loaded
    loaded.close()


def ask(content: str, sampling: Sampling = GREEDY, **fields: Any) -> GenerateRequest:
    return GenerateRequest((Message("user", content),), sampling, **fields)


def run(model: LocalTextModel, request: GenerateRequest) -> tuple[list[str], list[TextEvent]]:
    texts = [""] * len(request.seeds)
    ends = []
    for event in model.generate(request, CancelToken()):
        texts[event.row] += event.delta
        if event.finish_reason:
            ends.append(event)
    return texts, ends


def all_at_once(model: LocalTextModel, requests: list[GenerateRequest]) -> list[tuple[list[str], list[TextEvent]]]:
    answers: dict[int, tuple[list[str], list[TextEvent]]] = {}

    def write(number: int) -> None:
        answers[number] = run(model, requests[number])

    threads = [threading.Thread(target=write, args=(number,)) for number in range(len(requests))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return [answers[number] for number in range(len(requests))]


def test_batched_answers_are_what_each_is_alone(model: LocalTextModel, adapter: AdapterRef) -> None:
    # Greedy on random weights: the likeliest token is far ahead of the next, so the last bits do not matter.
    requests = [
        ask(f"Prompt number {number} " * (number % 4 + 1), seeds=(number, number + 50), adapter=adapter if number % 2 else None)
        for number in range(12)
    ]
    alone = [run(model, request) for request in requests]
    batched = [GenerateRequest(r.messages, r.sampling, r.seeds, adapter=r.adapter, batched=True) for r in requests]
    together = all_at_once(model, batched)
    assert [texts for texts, _ in together] == [texts for texts, _ in alone]
    is_possible = model._scheduler._backend.max_together > 1
    for request, (_, ends) in zip(requests, together, strict=True):
        for end in ends:
            assert end.path is not None and end.path["batched"] is is_possible
            assert end.path["adapter"] == (request.adapter.sha256 if request.adapter else "base")


def test_a_batched_answer_leaves_nothing_that_a_reproducible_one_could_stand_on(model: LocalTextModel) -> None:
    prompt = "A prompt that is long enough to be worth keeping for later. " * 3
    (text,), _ = run(model, ask(prompt, batched=True))
    follow_up = (Message("user", prompt), Message("assistant", text), Message("user", "More."))
    _, (end,) = run(model, GenerateRequest(follow_up, GREEDY))
    assert end.path is not None and end.path["batched"] is False
    if model._scheduler._backend.max_together > 1:
        assert [kind for kind, _ in end.path["segments"]] == ["prefill", "decode"]
    again, _ = run(model, GenerateRequest(follow_up, GREEDY, replay=end.path))
    assert again == run(model, GenerateRequest(follow_up, GREEDY))[0]


def test_a_person_is_served_first(model: LocalTextModel) -> None:
    if model._scheduler._backend.max_together == 1:
        return  # nothing is computed together, so nobody has to give way
    cancel = CancelToken()
    counts = [0]
    endless = ask("Endless", Sampling(max_new_tokens=1900), seeds=(1, 2, 3), batched=True)

    def write() -> None:
        for event in model.generate(endless, cancel):
            counts[0] += event.row == 0 and not event.finish_reason

    background = threading.Thread(target=write)
    background.start()
    while not counts[0]:
        pass
    stream = model.generate(ask("Quick", Sampling(max_new_tokens=200)), CancelToken())
    next(stream)
    backend, steps = model._scheduler._backend, [0, 0]
    step, together = backend.step, backend.step_together

    def counted(*values: Any) -> Floats:
        steps[0] += 1
        return step(*values)

    def counted_together(caches: Any, ids: Any) -> Floats:
        steps[len(caches) > 1] += 1
        return together(caches, ids)

    backend.step, backend.step_together = counted, counted_together  # type: ignore[method-assign]
    assert len(list(stream)) == 199
    single, batched = steps
    cancel.cancel()
    background.join(timeout=30)
    assert single > 100 and single >= 2 * (batched - 5)  # a few batched steps may come before and behind


@pytest.mark.parametrize("family", ["Qwen3", "Mistral", "Gemma3"])
def test_rows_of_other_families_are_computed_together_too(tmp_path: Path, family: str) -> None:
    import transformers

    # The last two see six tokens back only, and rows of different lengths lie side by side.
    sizes = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "head_dim": 8}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "initializer_range": 0.3}
    config = getattr(transformers, {"Gemma3": "Gemma3TextConfig"}.get(family, f"{family}Config"))
    torch.manual_seed(0)
    settings = config(**sizes, **heads, sliding_window=6 if family != "Qwen3" else None, eos_token_id=1, bos_token_id=0)
    getattr(transformers, f"{family}ForCausalLM")(settings).save_pretrained(tmp_path)
    backend = TransformersBackend(tmp_path, CPU, lambda: 0)
    prompts = [list(range(10, 10 + length)) for length in (3, 14, 9, 20)]
    together, alone = ([backend.new_cache() for _ in prompts] for _ in range(2))
    for ids, one, other in zip(prompts, together, alone, strict=True):
        backend.prefill(one, ids)
        backend.prefill(other, ids)
    for token in (5, 6, 7):
        expected = np.stack([backend.step(cache, token) for cache in alone])
        np.testing.assert_allclose(backend.step_together(together, [token] * 4), expected, rtol=1e-4, atol=1e-4)


def by_transformers(folder: Path, ids: list[int], adapter: AdapterRef | None = None) -> torch.Tensor:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if adapter is not None:
        theirs = PeftModel.from_pretrained(theirs, adapter.folder)
    with torch.inference_mode():
        logits = theirs.eval()(torch.tensor([ids])).logits[0]
    shares = logits.log_softmax(-1)
    return shares[:-1].gather(-1, torch.tensor(ids[1:])[:, None])[:, 0]


@pytest.mark.parametrize("length", [1, 40, CHUNK_BESIDE, 3 * CHUNK_BESIDE + 7])
def test_scores_are_those_of_transformers(model: LocalTextModel, folder: Path, length: int) -> None:
    messages = (Message("user", "Say something."),)
    answer = ("abcdefg hijk. " * 20)[:length]
    scored = model.score(messages, answer)
    ids = model.chat.encode(messages, answer)
    expected = by_transformers(folder, ids)[len(model.chat.encode(messages)) - 1 :]
    np.testing.assert_allclose(torch.tensor(scored.token_logprobs), expected, rtol=1e-4, atol=1e-4)
    assert "".join(scored.tokens) == answer and len(scored.tokens) == length
    assert scored.perplexity == pytest.approx(math.exp(-float(expected.mean())), rel=1e-4)


def test_an_adapter_scores_for_itself(model: LocalTextModel, folder: Path, adapter: AdapterRef) -> None:
    messages = (Message("user", "Hello"),)
    base, trained, again = (model.score(messages, "An answer.", adapter=ref) for ref in (None, adapter, None))
    assert base == again and base.tokens == trained.tokens and base.token_logprobs != trained.token_logprobs
    expected = by_transformers(folder, model.chat.encode(messages, "An answer."), adapter)[-len(trained.tokens) :]
    np.testing.assert_allclose(torch.tensor(trained.token_logprobs), expected, rtol=1e-4, atol=1e-4)


def test_nothing_to_score_and_too_much(model: LocalTextModel) -> None:
    assert model.score((Message("user", "Hello"),), "") == Scored((), ()) and Scored((), ()).perplexity is None
    with pytest.raises(TooLongError):
        model.score((Message("user", "Hello"),), "x" * 2100)


def test_a_score_can_be_cancelled_and_ends_with_the_model(folder: Path) -> None:
    model = load_tiny(folder, context_length=2048)
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(CancelledError):
        model.score((Message("user", "Hello"),), "An answer.", cancel=cancel)
    assert model.score((Message("user", "Hello"),), "An answer.").tokens
    model.close()
    with pytest.raises(BusyError):
        model.score((Message("user", "Hello"),), "An answer.")


def test_scores_and_answers_go_on_beside_each_other(model: LocalTextModel) -> None:
    scores: list[Scored] = []
    alone = model.score((Message("user", "Long"),), "word " * 60)
    scoring = threading.Thread(target=lambda: scores.append(model.score((Message("user", "Long"),), "word " * 60)))
    scoring.start()
    answers = all_at_once(model, [ask("One", batched=True), ask("Two"), ask("Three", batched=True)])
    scoring.join(timeout=60)
    assert all(texts[0] for texts, _ in answers)
    np.testing.assert_allclose(torch.tensor(scores[0].token_logprobs), torch.tensor(alone.token_logprobs), rtol=1e-4, atol=1e-4)
