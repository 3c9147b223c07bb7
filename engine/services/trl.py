"""Training rows in TRL's documented formats, both ways: Creations → rows, and a line of JSON → a checked row.

Conversational formats of https://huggingface.co/docs/trl/dataset_formats: SFT {"messages"}, DPO {"prompt", "chosen",
"rejected"}, KTO {"prompt", "completion", "label"}. Turns before the prompt and the system prompt are part of it. What comes
in may also be in the standard (plain text) format. Knows records and JSON; knows no database, no file and no page.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from engine.errors import BadFileError, StudioError
from engine.safety.limits import PROMPT_MAX_CHARS, SYSTEM_MAX_CHARS, clean_text
from storage.records import CreationRecord

TrlFormat: TypeAlias = Literal["sft", "dpo", "kto"]
Message: TypeAlias = dict[str, str]

SFT_MIN_SCORE = 0.5
"""A rating from here on says "write like this"."""
MAX_TURNS = 1_000
_ROLES = ("system", "user", "assistant")


@dataclass(frozen=True, slots=True)
class ImportedRow:
    """One checked row: a prompt in its context, and what is said about one or two answers to it."""

    system: str
    context: tuple[tuple[str, str], ...]
    """Earlier turns: (prompt, answer)."""
    prompt: str
    chosen: str
    rejected: str | None
    """With it the row is a preference; without it, `score` rates `chosen`."""
    score: float | None


def prompt_messages(creation: CreationRecord, context: Sequence[CreationRecord]) -> list[Message]:
    """Return the messages the answer was written to: system prompt (if any), the turns before (root first), the prompt.

    Of a summary they are what its documents were asked for (see SummarizeJob), whichever way it was made.
    """
    asked = creation.params.get("asked")
    if asked:
        return [_message("system", str(asked["system"])), _message("user", str(asked["text"]))]
    messages: list[Message] = []
    system = creation.params.get("system")
    if system:
        messages.append(_message("system", str(system)))
    for turn in context:
        messages += [_message("user", turn.prompt), _message("assistant", turn.output)]
    messages.append(_message("user", creation.prompt))
    return messages


def sft_row(prompt: list[Message], answer: str) -> dict[str, Any]:
    """Return {"messages": the whole conversation, ending with the answer}."""
    return {"messages": [*prompt, _message("assistant", answer)]}


def dpo_row(prompt: list[Message], chosen: str, rejected: str) -> dict[str, Any]:
    """Return {"prompt", "chosen", "rejected"}, each a list of messages."""
    return {"prompt": prompt, "chosen": [_message("assistant", chosen)], "rejected": [_message("assistant", rejected)]}


def kto_row(prompt: list[Message], answer: str, score: float) -> dict[str, Any] | None:
    """Return {"prompt", "completion", "label"}: label is score > 0; None for a score of 0, which says neither."""
    if score == 0:
        return None
    return {"prompt": prompt, "completion": [_message("assistant", answer)], "label": score > 0}


def is_sft_example(creation: CreationRecord, score: float | None) -> bool:
    """Whether the answer shows what to write: rated SFT_MIN_SCORE or more, or edited by hand and not rated below 0."""
    if score is not None and score >= SFT_MIN_SCORE:
        return True
    return creation.origin == "edited" and (score is None or score >= 0)


def line_of(row: Mapping[str, Any]) -> bytes:
    """Return the row as one line of JSONL; the same row gives the same bytes."""
    return (json.dumps(row, ensure_ascii=False, separators=(", ", ": ")) + "\n").encode("utf-8")


def parse_line(line: bytes) -> ImportedRow:
    """Check one line and return its row. Raises BadFileError with what is wrong in it, without its number."""
    try:
        row = json.loads(line.decode("utf-8"), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise BadFileError("not UTF-8 text; save the file as UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise BadFileError("not JSON") from error
    if not isinstance(row, dict):
        raise BadFileError("not a JSON object")
    try:
        return _row(row)
    except BadFileError:
        raise
    except StudioError as error:
        raise BadFileError(str(error)) from error


def _row(row: dict[str, Any]) -> ImportedRow:
    if "messages" in row:
        messages = _messages(row["messages"], "messages")
        return _answered(messages[:-1], _answer(messages[-1:], "messages"), score=1.0)
    if "chosen" in row or "rejected" in row:
        _need(row, "chosen", "rejected")
        prompt, chosen, rejected = _pair(row)
        if chosen == rejected:
            raise BadFileError('"chosen" and "rejected" are the same text')
        return _answered(prompt, chosen, rejected=rejected)
    if "completion" in row:
        _need(row, "prompt")
        label = row.get("label", True)
        if not isinstance(label, bool):
            raise BadFileError('"label" must be true or false')
        answer = _answer(_messages(row["completion"], "completion", role="assistant"), "completion")
        return _answered(_messages(row["prompt"], "prompt"), answer, score=1.0 if label else -1.0)
    raise BadFileError('no "messages", no "chosen" and "rejected", and no "completion" in it')


def _pair(row: dict[str, Any]) -> tuple[list[Message], str, str]:
    """The prompt and both answers; without "prompt" it is what the two conversations begin with."""
    chosen, rejected = (_messages(row[name], name, role="assistant") for name in ("chosen", "rejected"))
    if "prompt" in row:
        return _messages(row["prompt"], "prompt"), _answer(chosen, "chosen"), _answer(rejected, "rejected")
    if len(chosen) < 2 or chosen[:-1] != rejected[:-1]:
        raise BadFileError('column "prompt" is missing')
    return chosen[:-1], _answer(chosen[-1:], "chosen"), _answer(rejected[-1:], "rejected")


def _answered(messages: list[Message], chosen: str, *, rejected: str | None = None, score: float | None = None) -> ImportedRow:
    """Split the prompt's messages into system, earlier turns and the last prompt."""
    system = ""
    if messages and messages[0]["role"] == "system":
        system = clean_text(messages[0]["content"], max_chars=SYSTEM_MAX_CHARS, what="The system prompt")
        messages = messages[1:]
    roles = [message["role"] for message in messages]
    if len(messages) % 2 == 0 or roles != ["user", "assistant"] * (len(messages) // 2) + ["user"]:
        raise BadFileError("the messages must go user, assistant, user … and the prompt must end with user")
    texts = [message["content"] for message in messages]
    return ImportedRow(system, tuple(zip(texts[:-1:2], texts[1::2], strict=True)), texts[-1], chosen, rejected, score)


def _messages(value: object, name: str, *, role: str = "user") -> list[Message]:
    """Return a list of checked messages; plain text is one message of `role`."""
    if isinstance(value, str):
        value = [_message(role, value)]
    if not isinstance(value, list) or not value:
        raise BadFileError(f'"{name}" must be text or a list of messages')
    if len(value) > MAX_TURNS:
        raise BadFileError(f'"{name}" has more than {MAX_TURNS:,} messages')
    return [_checked(message, name) for message in value]


def _checked(message: object, name: str) -> Message:
    if not isinstance(message, dict) or message.get("role") not in _ROLES:
        raise BadFileError(f'each message of "{name}" needs a "role": system, user or assistant')
    if not isinstance(message.get("content"), str):
        raise BadFileError(f'each message of "{name}" needs a text "content"')
    return _message(message["role"], clean_text(message["content"], max_chars=PROMPT_MAX_CHARS, what=f'"{name}"'))


def _answer(messages: list[Message], name: str) -> str:
    if len(messages) != 1 or messages[0]["role"] != "assistant" or not messages[0]["content"]:
        raise BadFileError(f'"{name}" must end with one answer of the assistant')
    return messages[0]["content"]


def _need(row: dict[str, Any], *names: str) -> None:
    for name in names:
        if name not in row:
            raise BadFileError(f'column "{name}" is missing')


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _message(role: str, content: str) -> Message:
    return {"role": role, "content": content}
