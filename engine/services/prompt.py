"""From a Creation's place in its conversation to the messages a model gets, and to what its parameters record.

Knows records and messages; knows no database, no model and no page. The same rows always give the same messages: that is
what makes reproducing possible.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from engine.text.model import Message, Sampling
from engine.types import WriteOptions
from storage.records import CreationRecord, Json

TITLE_CHARS = 60
ADDED_PARAMS = ("notices", "kept_messages", "continued_chars", "taste")
"""What running a request adds to its parameters."""


def messages_for(system: str, context: Sequence[CreationRecord], prompt: str) -> tuple[Message, ...]:
    """The system prompt, the turns before (those without an answer left out), and the prompt."""
    messages = [Message("system", system)] if system.strip() else []
    for creation in context:
        if creation.kind == "text" and creation.output.strip():
            messages += [Message("user", creation.prompt), Message("assistant", creation.output)]
    return (*messages, Message("user", prompt))


def keep_last(messages: tuple[Message, ...], count: int) -> tuple[Message, ...]:
    """The `count` messages that a model kept when it left out the oldest turns: the system prompt, if any, and the last ones."""
    if count >= len(messages):
        return messages
    system = messages[:1] if messages[0].role == "system" else ()
    return (*system, *messages[len(messages) - (count - len(system)) :])


def params_of(options: WriteOptions, system: str, stop: tuple[str, ...]) -> dict[str, Any]:
    """Every resolved parameter of a request, as the row records it."""
    return {
        "system": system,
        "temperature": options.temperature,
        "top_p": options.top_p,
        "top_k": options.top_k,
        "repetition_penalty": options.repetition_penalty,
        "max_new_tokens": options.max_new_tokens,
        "stop": list(stop),
        "n": options.n,
    }


def asked_params(params: Json) -> dict[str, Any]:
    """What was asked for, without what running it added: for a version that no model wrote."""
    return {name: value for name, value in params.items() if name not in ADDED_PARAMS}


def ranking_of(written: Iterable[tuple[str, Json]]) -> tuple[str, ...]:
    """Ids best first, from (id, params) of answers that were sorted by taste; () when they were not."""
    ranks = {id: params["taste"]["rank"] for id, params in written if "taste" in params}
    return tuple(sorted(ranks, key=ranks.__getitem__))


def sampling_of(params: Json) -> Sampling:
    """The other way, for the model."""
    return Sampling(
        temperature=params["temperature"],
        top_p=params["top_p"],
        top_k=params["top_k"],
        repetition_penalty=params["repetition_penalty"],
        max_new_tokens=params["max_new_tokens"],
        stop=tuple(params["stop"]),
    )


def title_of(prompt: str) -> str:
    """A conversation's title: the beginning of its first prompt, cut at a word where there is one."""
    text = " ".join(prompt.split())
    if len(text) <= TITLE_CHARS:
        return text
    cut = text[: TITLE_CHARS - 1]
    at_word = cut.rsplit(" ", 1)[0]
    return (at_word if len(at_word) >= TITLE_CHARS // 2 else cut).rstrip() + "…"
