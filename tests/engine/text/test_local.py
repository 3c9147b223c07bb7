"""A local model through the scheduler: determinism, rows, cancelling, reuse and replay, on a tiny random Llama."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.arrays import Floats
from engine.errors import BadOptionError, BusyError, TooLongError
from engine.jobs.job import CancelToken
from engine.text.generation import Row
from engine.text.llama.backend import LlamaBackend
from engine.text.local import LocalTextModel
from engine.text.model import GenerateRequest, Message, Sampling, TextEvent
from engine.text.reuse import length
from tests.tiny import desks, load_tiny, make_model

SAMPLING = Sampling(temperature=1.0, top_p=0.95, top_k=50, repetition_penalty=1.1, max_new_tokens=24)


@pytest.fixture(scope="module", params=["llama", "transformers", "desks"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, engine: str) -> Iterator[Path]:
    # The plain backend computes no biases, so a model with them goes through transformers.
    with desks(wanted=engine == "desks"):
        yield make_model(tmp_path_factory.mktemp("tiny"), context_length=2048, attention_bias=engine != "llama")


@pytest.fixture(scope="module")
def model(folder: Path) -> Iterator[LocalTextModel]:
    loaded = load_tiny(folder, context_length=2048)
    # Random weights end an answer by chance; these tests want full lengths.
    loaded.chat.stop_ids = frozenset()
    yield loaded
    loaded.close()


def ask(*contents: str, sampling: Sampling = SAMPLING, **fields: Any) -> GenerateRequest:
    roles = ("user", "assistant")
    messages = tuple(Message(roles[number % 2], content) for number, content in enumerate(contents))  # type: ignore[arg-type]
    return GenerateRequest(messages, sampling, **fields)


def run(model: LocalTextModel, request: GenerateRequest) -> tuple[str, TextEvent]:
    events = list(model.generate(request, CancelToken()))
    return "".join(event.delta for event in events), events[-1]


def rows_of(events: list[TextEvent]) -> dict[int, str]:
    texts: dict[int, str] = {}
    for event in events:
        texts[event.row] = texts.get(event.row, "") + event.delta
    return texts


def many(**changes: Any) -> Sampling:
    return Sampling(**{"max_new_tokens": 600, "temperature": 1.0, **changes})


def test_events_say_what_happened(model: LocalTextModel, engine: str) -> None:
    request = ask("Hello")
    events = list(model.generate(request, CancelToken()))
    assert [event.tokens for event in events] == list(range(1, 25))
    assert [event.finish_reason for event in events] == [None] * 23 + ["length"]
    last = events[-1]
    assert last.prompt_tokens == model.count_tokens(request.messages) and last.ttft_s is not None and last.ttft_s > 0
    assert last.path is not None and last.path["batched"] is False
    assert last.path["engine"] == ("llama" if engine == "llama" else "transformers")
    assert last.path.get("steps") == {"llama": None, "transformers": "alone", "desks": "recorded"}[engine]
    assert length([(kind, count) for kind, count in last.path["segments"]]) == last.prompt_tokens


def test_same_seed_same_text_and_greedy_needs_no_seed(model: LocalTextModel) -> None:
    assert run(model, ask("One", seeds=(5,)))[0] == run(model, ask("One", seeds=(5,)))[0]
    assert run(model, ask("One", seeds=(5,)))[0] != run(model, ask("One", seeds=(6,)))[0]
    greedy = Sampling(temperature=0.0, max_new_tokens=24)
    assert run(model, ask("One", sampling=greedy, seeds=(1,)))[0] == run(model, ask("One", sampling=greedy, seeds=(2,)))[0]


def test_candidates_are_what_each_seed_writes_alone(model: LocalTextModel) -> None:
    events = list(model.generate(ask("Several", seeds=(7, 8, 9)), CancelToken()))
    together = rows_of(events)
    alone = {number: run(model, ask("Several", seeds=(seed,)))[0] for number, seed in enumerate((7, 8, 9))}
    assert together == alone and len(set(together.values())) == 3
    order = [event.row for event in events]
    assert order[:6] == [0, 1, 2, 0, 1, 2]
    assert sum(event.finish_reason == "length" for event in events) == 3


def test_two_chats_stream_at_once(model: LocalTextModel) -> None:
    log: list[str] = []
    barrier = threading.Barrier(2)

    def write(name: str) -> None:
        barrier.wait()
        for _ in model.generate(ask(name, sampling=many(max_new_tokens=150)), CancelToken()):
            log.append(name)

    threads = [threading.Thread(target=write, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(log) == 300
    first_end = min(len(log) - 1 - log[::-1].index(name) for name in ("a", "b"))
    # Whoever ends first, the other has written nearly as much by then: neither waited for the other's end.
    assert min(log[:first_end].count("a"), log[:first_end].count("b")) > 100


def test_a_long_prompt_does_not_stop_a_running_stream(model: LocalTextModel) -> None:
    stream = model.generate(ask("a", sampling=many(max_new_tokens=400)), CancelToken())
    next(stream)
    done = threading.Event()
    long_one = threading.Thread(target=lambda: (run(model, ask("x" * 1200, sampling=many(max_new_tokens=1))), done.set()))
    long_one.start()
    during = 0
    while not done.is_set() and during < 399:
        next(stream)
        during += 1
    long_one.join(timeout=60)
    stream.close()
    assert during >= 5  # 1200 tokens are read in chunks of 64, with a token of the stream between two


def test_cancel_stops_within_two_tokens_and_keeps_what_was_written(
    model: LocalTextModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancel, take, taken = CancelToken(), Row.take, [0]

    def counted(row: Row, logits: Floats) -> None:
        taken[0] += row.generation.cancel is cancel
        if taken[0] == 5:  # with the fifth token: from here on the model knows
            cancel.cancel()
        take(row, logits)

    monkeypatch.setattr(Row, "take", counted)
    events = list(model.generate(ask("Go on", sampling=many()), cancel))
    last = events[-1]
    assert last.finish_reason == "cancelled" and last.path is not None
    assert 5 <= last.tokens <= 7 and last.tokens == sum(event.finish_reason is None for event in events)


def test_cancel_before_the_first_token(model: LocalTextModel) -> None:
    cancel = CancelToken()
    cancel.cancel()
    events = list(model.generate(ask("x" * 1500, seeds=(1, 2)), cancel))
    assert [(event.row, event.finish_reason, event.tokens) for event in events] == [(0, "cancelled", 0), (1, "cancelled", 0)]


def test_closing_the_iterator_frees_the_model(model: LocalTextModel) -> None:
    stream = model.generate(ask("Endless", sampling=many(max_new_tokens=1500)), CancelToken())
    next(stream)
    stream.close()
    started = time.monotonic()
    run(model, ask("Next", sampling=many(max_new_tokens=1)))
    assert time.monotonic() - started < 5
    while model._scheduler._generations and time.monotonic() - started < 5:
        time.sleep(0.01)
    assert not model._scheduler._generations


def test_stop_texts_end_the_answer_and_are_not_part_of_it(model: LocalTextModel) -> None:
    whole, _ = run(model, ask("Stop", seeds=(3,)))
    stop = whole[6:9]
    text, last = run(model, ask("Stop", seeds=(3,), sampling=Sampling(temperature=1.0, max_new_tokens=24, stop=(stop,))))
    assert text == whole[: whole.find(stop)] and last.finish_reason == "stop_text"


def test_going_on_from_a_text_says_only_what_is_new(model: LocalTextModel) -> None:
    text, last = run(model, ask("Story", continue_text="Once upon"))
    assert text and not text.startswith("Once")
    assert last.prompt_tokens == model.count_tokens(ask("Story").messages) + len("Once upon")


def test_a_prompt_past_the_context_is_said(model: LocalTextModel) -> None:
    with pytest.raises(TooLongError, match="2047"):
        model.generate(ask("x" * 3000), CancelToken())


def test_the_answer_ends_where_the_context_ends(folder: Path) -> None:
    small = load_tiny(folder, context_length=100)
    small.chat.stop_ids = frozenset()
    try:
        text, last = run(small, ask("abc", sampling=many()))
        assert last.finish_reason == "length" and last.prompt_tokens + last.tokens == 100
    finally:
        small.close()


def test_a_next_turn_computes_only_what_is_new(model: LocalTextModel) -> None:
    turns = ["A first prompt that is long enough to be worth keeping. " * 4]
    answer, first = run(model, ask(*turns))
    turns += [answer, "And now?"]
    _, second = run(model, ask(*turns))
    assert first.path is not None and second.path is not None
    before, after = first.path["segments"], second.path["segments"]
    assert after[0] == before[0]
    new = sum(count for _, count in after[2:])
    assert new < second.prompt_tokens / 3


def test_conversations_with_the_same_system_message_share_what_was_computed_of_it(
    model: LocalTextModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, computed = model._scheduler._backend, [0]
    prefill = backend.prefill

    def counted(cache: Any, ids: Any) -> None:
        computed[0] += len(ids)
        prefill(cache, ids)

    monkeypatch.setattr(backend, "prefill", counted)
    system = Message("system", "You answer in one short sentence and never use the letter e. " * 3)
    found = []
    for prompt in ("What is rain?", "Where do ships go at night?"):
        request = GenerateRequest((system, Message("user", prompt)), Sampling(max_new_tokens=4), (1,))
        computed[0] = 0
        _, end = run(model, request)
        found.append((computed[0], end))
    (first, one), (second, other) = found
    assert first > other.prompt_tokens - 100 > 100
    assert second < 100
    assert one.path is not None and other.path is not None
    assert other.path["segments"][0] == one.path["segments"][0]
    assert run(model, GenerateRequest(request.messages, request.sampling, (1,), replay=other.path))[0] == run(model, request)[0]


def test_replay_of_a_chat_with_reuse_beside_another_chat_is_identical(model: LocalTextModel) -> None:
    stop = threading.Event()

    def disturb() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            run(model, ask(f"Noise {number} " * 9, sampling=many(max_new_tokens=40), seeds=(number, number + 1)))

    other = threading.Thread(target=disturb)
    other.start()
    try:
        turns: list[str] = []
        answers = []
        for number in range(5):
            turns.append(f"Turn {number}: " + "please go on " * 6)
            request = ask(*turns, seeds=(100 + number,))
            text, last = run(model, request)
            answers.append((request, text, last.path))
            turns.append(text)
        for request, text, path in answers:
            again = GenerateRequest(request.messages, request.sampling, request.seeds, replay=path)
            assert run(model, again)[0] == text
    finally:
        stop.set()
        other.join(timeout=60)
    kinds = [segment[0] for segment in answers[-1][2]["segments"]]  # type: ignore[index]
    assert kinds.count("prefill") >= 5  # the last turn stood on the earlier ones


def test_replay_computes_the_recorded_schedule(model: LocalTextModel) -> None:
    request = ask("Scheduled", seeds=(4,))
    text, last = run(model, request)
    assert last.path is not None
    one_by_one = {**last.path, "segments": [["decode", last.prompt_tokens]]}
    again, replayed = run(model, ask("Scheduled", seeds=(4,), replay=one_by_one))
    assert replayed.path is not None and replayed.path["segments"] == one_by_one["segments"]
    assert len(again) > 0


@pytest.mark.parametrize("segments", [[], [["prefill", 3]], [["decode", 2]], [["dance", 5]], [["prefill", -1]], None])
def test_a_path_of_another_prompt_is_refused(model: LocalTextModel, segments: Any) -> None:
    with pytest.raises(BadOptionError, match="cannot be computed again"):
        model.generate(ask("abc", replay={"segments": segments}), CancelToken())


def test_logits_of_the_growing_cache_are_those_of_one_pass(model: LocalTextModel) -> None:
    backend = model._scheduler._backend
    ids = model.chat.encode(ask("The quick brown fox " * 30).messages)
    cache = backend.new_cache()
    backend.prefill(cache, ids[:100])
    backend.prefill(cache, ids[100:-1])
    fork = backend.fork(cache, cache.length)
    logits = backend.step(cache, ids[-1])
    assert np.array_equal(backend.step(fork, ids[-1]), logits)
    whole = backend.new_cache()
    backend.prefill(whole, ids[:-1])
    assert np.allclose(backend.step(whole, ids[-1]), logits, atol=1e-4)
    cut = backend.fork(cache, 100)
    backend.prefill(cut, ids[100:-1])
    assert np.array_equal(backend.step(cut, ids[-1]), logits)


def test_closing_ends_what_is_written_as_cancelled_and_drops_the_weights(folder: Path) -> None:
    model = load_tiny(folder, context_length=2048)
    model.chat.stop_ids = frozenset()
    backend = model._scheduler._backend
    stream = model.generate(ask("Endless", sampling=many(max_new_tokens=1900)), CancelToken())
    next(stream)
    model.close()
    assert list(stream)[-1].finish_reason == "cancelled"
    assert backend._plain is None if isinstance(backend, LlamaBackend) else backend._model is None  # type: ignore[attr-defined]
    with pytest.raises(BusyError):
        next(model.generate(ask("Late"), CancelToken()))
