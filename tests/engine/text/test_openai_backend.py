"""Models behind an OpenAI-compatible server, against a real HTTP server in this process."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import BadOptionError, BusyError, NoModelError, StudioError, TooLongError
from engine.jobs.job import CancelToken
from engine.models.adapters import AdapterRef
from engine.models.catalog import ModelSpec, ServerSource
from engine.models.host import ModelHost
from engine.models.store import ModelStore
from engine.text.model import GenerateRequest, Message, Sampling, TextEvent
from engine.text.openai_backend import OpenAITextModel, estimate_tokens
from engine.text.sampling import DRY_ALLOWED_LENGTH
from tests.openai_server import KEY, OpenAIServer
from tests.tiny import CPU


@pytest.fixture(scope="module")
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as running:
        yield running


def connect(
    server: OpenAIServer, model: str, *, key: str | None = KEY, context_length: int = 0, url: str = ""
) -> OpenAITextModel:
    source = ServerSource(url or server.url, model)
    spec = ModelSpec("mine", "Mine", "text", "openai", f"openai:{source.url}#{model}", context_length=context_length)
    return OpenAITextModel(spec, source, key)


def ask(content: str = "one two three", **fields: object) -> GenerateRequest:
    fields = {"sampling": Sampling(max_new_tokens=50, stop=("END",)), **fields}
    return GenerateRequest((Message("system", "Be kind."), Message("user", content)), **fields)  # type: ignore[arg-type]


def run(model: OpenAITextModel, request: GenerateRequest) -> list[TextEvent]:
    try:
        return list(model.generate(request, CancelToken()))
    finally:
        model.close()


def test_streams_words_and_ends_with_what_the_server_counted(server: OpenAIServer) -> None:
    events = run(connect(server, "echo"), ask())
    assert [event.delta for event in events] == ["one ", "two ", "three ", ""]
    last = events[-1]
    assert (last.finish_reason, last.tokens, last.prompt_tokens) == ("stop", 3, 11)
    assert last.ttft_s is not None and last.path is not None
    assert (last.path["engine"], last.path["model"]) == ("openai", "echo") and KEY not in str(last.path)


def test_sends_what_was_asked(server: OpenAIServer) -> None:
    run(connect(server, "echo"), ask(seeds=(7,)))
    body = server.requests[-1]
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert body["seed"] == 7 and body["max_tokens"] == 50 and body["stop"] == ["END"] and body["top_k"] == 50
    assert "dry_multiplier" not in body
    run(connect(server, "echo"), ask(sampling=Sampling(dry_multiplier=2.0)))
    assert server.requests[-1]["dry_multiplier"] == 2.0 and server.requests[-1]["dry_allowed_length"] == DRY_ALLOWED_LENGTH
    run(connect(server, "echo"), ask(continue_text="So far"))
    assert server.requests[-1]["messages"][-1] == {"role": "assistant", "content": "So far"}


def test_candidates_stream_at_once(server: OpenAIServer) -> None:
    events = run(connect(server, "counting"), ask(seeds=(1, 2, 3)))
    first_end = next(number for number, event in enumerate(events) if event.finish_reason)
    assert {event.row for event in events[:first_end]} == {0, 1, 2}
    assert [event.finish_reason for event in events if event.finish_reason] == ["length"] * 3
    assert len({body["seed"] for body in server.requests[-3:]}) == 3


def test_a_server_that_refuses_extra_options_is_asked_again_without(server: OpenAIServer) -> None:
    model = connect(server, "strict")
    events = list(model.generate(ask(), CancelToken()))
    assert "".join(event.delta for event in events) == "one two three "
    before = len(server.requests)
    list(model.generate(ask(), CancelToken()))
    model.close()
    assert len(server.requests) == before + 1 and "top_k" not in server.requests[-1]


def test_cancel_is_quick_and_the_server_hears_of_it(server: OpenAIServer) -> None:
    model = connect(server, "counting")
    cancel = CancelToken()
    request = GenerateRequest((Message("user", "count"),), Sampling(max_new_tokens=100_000), (1, 2))
    events: list[TextEvent] = []
    cancelled_at = 0.0
    for event in model.generate(request, cancel):
        events.append(event)
        if len(events) == 6:
            cancel.cancel()
            cancelled_at = time.monotonic()
    assert time.monotonic() - cancelled_at < 1
    assert [event.finish_reason for event in events[-2:]] == ["cancelled"] * 2
    assert sum(event.tokens for event in events[-2:]) >= 6
    wait_until(lambda: server.open_streams == 0)
    model.close()


def test_closing_the_iterator_closes_the_connection(server: OpenAIServer) -> None:
    model = connect(server, "counting")
    stream = model.generate(GenerateRequest((Message("user", "count"),), Sampling(max_new_tokens=100_000)), CancelToken())
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    wait_until(lambda: server.open_streams == 0)
    model.close()


def wait_until(condition: object) -> None:
    deadline = time.monotonic() + 10
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("model", "kind", "words"),
    [
        ("unknown", NoModelError, 'has no model "unknown"'),
        ("fails", StudioError, "failed: Out of cheese"),
        ("busy", BusyError, "busy"),
        ("hot", BadOptionError, "refused the request: Too hot"),
        ("breaks", StudioError, "broke off in the middle"),
        ("nonsense", StudioError, "broke off|something else"),
    ],
)
def test_errors_are_one_sentence(server: OpenAIServer, model: str, kind: type[StudioError], words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        run(connect(server, model), ask())
    assert "\n" not in caught.value.message and caught.value.message_key.startswith("error.server_")


@pytest.mark.parametrize("key", ["sk-wrong", None])
def test_a_wrong_key_is_said_and_not_repeated(server: OpenAIServer, key: str | None) -> None:
    with pytest.raises(NoModelError, match="refused the key") as caught:
        run(connect(server, "echo", key=key), ask())
    assert "sk-wrong" not in f"{caught.value} {caught.value.values}"


def test_a_server_that_is_not_there(server: OpenAIServer) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
        started = time.monotonic()
        with pytest.raises(NoModelError, match="cannot be reached"):
            run(connect(server, "echo", url=url), ask())
        assert time.monotonic() - started < 5


def test_a_known_context_length_drops_old_turns_and_says_how_many(server: OpenAIServer) -> None:
    model = connect(server, "echo", context_length=100)
    messages = tuple(Message(("user", "assistant")[number % 2], "word " * 8) for number in range(13))  # type: ignore[arg-type]
    kept, omitted, tokens = model.fit((Message("system", "s"), *messages), 20)
    assert omitted > 0 and kept[0].role == "system" and kept[1].role == "user" and tokens == 20
    assert model.count_tokens(kept) <= 80
    with pytest.raises(TooLongError, match="about"):
        model.fit((Message("user", "word " * 200),), 20)
    unknown = connect(server, "echo")
    assert unknown.fit(messages, 20) == (messages, 0, 20)


def test_adapters_and_scores_are_refused_in_one_sentence(server: OpenAIServer, tmp_path: Path) -> None:
    model, adapter = connect(server, "echo"), AdapterRef("mine", "0" * 64, tmp_path)
    before = len(server.requests)
    with pytest.raises(BadOptionError, match="takes no adapters trained here"):
        model.generate(ask(adapter=adapter), CancelToken())
    with pytest.raises(BadOptionError, match="cannot score"):
        model.score((Message("user", "Hello"),), "An answer.")
    assert len(server.requests) == before  # nobody was asked to answer as something else
    assert run(model, ask(batched=True))[-1].path["adapter"] == "base"  # type: ignore[index]


def test_estimates_count_wide_characters_one_each() -> None:
    assert (estimate_tokens("四个汉字"), estimate_tokens("abcdefgh"), estimate_tokens("")) == (4, 2, 0)


def test_the_host_gives_it_its_key_and_counts_no_memory(server: OpenAIServer, tmp_path: Path) -> None:
    spec = ModelSpec("mine", "Mine", "text", "openai", f"openai:{server.url}#echo")
    host = ModelHost(ModelStore(tmp_path), lambda model_id: spec, CPU, 0, key_lookup={"mine": KEY}.get)
    with host.use("mine") as model:
        assert "".join(event.delta for event in model.generate(ask(), CancelToken())) == "one two three "
    assert host.loaded() == ()
    host.close()
