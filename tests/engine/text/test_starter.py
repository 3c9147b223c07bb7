"""The real starter model: reproducible through reuse and company, quick at a tenth turn, honest at its edges."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from engine.jobs.job import CancelToken
from engine.text.local import LocalTextModel
from engine.text.model import GenerateRequest, Message, Sampling, TextEvent
from tests.starter import starter_text_model

pytestmark = pytest.mark.integration

SAMPLING = Sampling(max_new_tokens=16)
PROMPTS = ["Write a tagline for a bakery.", "Make it shorter.", "Now one with the word 'warm' and a 🍞.", "Explain your choice."]


@pytest.fixture(scope="module")
def model() -> Iterator[LocalTextModel]:
    loaded = starter_text_model()
    yield loaded
    loaded.close()


def run(model: LocalTextModel, request: GenerateRequest) -> tuple[str, TextEvent]:
    events = list(model.generate(request, CancelToken()))
    return "".join(event.delta for event in events), events[-1]


def user(text: str) -> tuple[Message, ...]:
    return (Message("user", text),)


def test_writes_english_that_answers(model: LocalTextModel) -> None:
    text, last = run(model, GenerateRequest(user("What is the capital of France?"), Sampling(temperature=0, max_new_tokens=16)))
    assert "Paris" in text and last.finish_reason in ("stop", "length") and "<|im_end|>" not in text
    assert model.languages == ("en",) and model.context_length == 8192


def test_a_chat_beside_another_is_replayed_identically(model: LocalTextModel) -> None:
    stop = threading.Event()

    def other_chat() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            run(
                model,
                GenerateRequest(user(f"Tell me about the number {number}."), Sampling(max_new_tokens=8), (number,)),
            )

    beside = threading.Thread(target=other_chat)
    beside.start()
    made: list[tuple[GenerateRequest, str, TextEvent]] = []
    try:
        messages: list[Message] = [Message("system", "You help a small bakery with its words.")]
        for number, prompt in enumerate(PROMPTS):
            messages.append(Message("user", prompt))
            request = GenerateRequest(tuple(messages), SAMPLING, (1000 + number,))
            text, last = run(model, request)
            made.append((request, text, last))
            messages.append(Message("assistant", text))
        for request, text, last in made:
            assert run(model, GenerateRequest(request.messages, SAMPLING, request.seeds, replay=last.path))[0] == text
    finally:
        stop.set()
        beside.join(timeout=120)
    path = made[-1][2].path
    assert path is not None and sum(kind == "prefill" for kind, _ in path["segments"]) >= len(PROMPTS)


def test_a_tenth_turn_starts_from_what_was_computed(model: LocalTextModel) -> None:
    story = "The lighthouse keeper counted the ships that passed, and wrote each name into a book with a blue cover. " * 5
    messages: list[Message] = []
    for number in range(9):
        messages += [Message("user", f"Chapter {number}. {story}"), Message("assistant", "Noted.")]
    list(model.generate(GenerateRequest((*messages, Message("user", "Go on.")), Sampling(max_new_tokens=4)), CancelToken()))
    messages += [Message("user", "Go on."), Message("assistant", "And then?")]
    request = GenerateRequest((*messages, Message("user", "Go on.")), Sampling(max_new_tokens=1))
    started = time.monotonic()
    _, reused = run(model, request)
    reused_s = time.monotonic() - started
    assert reused.path is not None and reused.prompt_tokens > 900
    computed_new = sum(count for _, count in reused.path["segments"][-2:])
    assert computed_new < 40
    started = time.monotonic()
    run(
        model, GenerateRequest(request.messages, request.sampling, replay=reused.path | {"segments": whole(reused.prompt_tokens)})
    )
    # A ratio in one process: absolute times mean nothing on a busy machine.
    assert time.monotonic() - started > 3 * reused_s


def whole(tokens: int) -> list[list[object]]:
    """A schedule that reuses nothing."""
    return [["prefill", tokens - 1], ["decode", 1]]


def test_emoji_and_chinese_go_through_unbroken(model: LocalTextModel) -> None:
    prompt = user("Repeat exactly: 你好，世界 🎉👩‍👩‍👧")
    events = list(model.generate(GenerateRequest(prompt, Sampling(temperature=0, max_new_tokens=16)), CancelToken()))
    assert all("\ufffd" not in event.delta for event in events)


def test_stop_within_two_tokens(model: LocalTextModel) -> None:
    cancel = CancelToken()
    for event in model.generate(GenerateRequest(user("Tell a long story."), Sampling(max_new_tokens=400)), cancel):
        if event.tokens == 4:
            cancel.cancel()
        last = event
    assert last.finish_reason == "cancelled" and last.tokens <= 6
