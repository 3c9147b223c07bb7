"""Conversations to token ids and back: chat template, tokenizer, special tokens, what fits the context.

The template is the model's own, rendered in jinja2's immutable sandbox: it can reach no file, no network and no attribute
that starts with an underscore. Knows `tokenizers` and token ids; knows no torch, no cache and no sampling.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import BadFileError, TooLongError
from engine.models.folder import read_json
from engine.text.model import Message
from engine.text.reuse import matched

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MAX_TEMPLATE_CHARS = 200_000
_MARK = "\ue000"
"""Private-use character that marks control tokens a person typed; it cannot be typed itself (it is taken out first)."""
_PLAIN_TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}\n\n"
    "{% else %}{{ 'User' if m.role == 'user' else 'Assistant' }}: {{ m.content }}\n{% endif %}{% endfor %}Assistant:"
)
"""For models without a chat template (base models)."""


class TemplateError(BadFileError):
    """The model's chat template cannot render these messages."""


class ChatFormat:
    """One model's way to write a conversation down."""

    def __init__(self, folder: Path) -> None:
        """Read tokenizer.json, the chat template and the special tokens; raises BadFileError when they are damaged."""
        from tokenizers import Tokenizer

        try:
            self.tokenizer: Tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # noqa: BLE001  # tokenizers raises plain Exception for a damaged file
            raise BadFileError(f"tokenizer.json of {folder.name} is damaged.", key="error.tokenizer", name=folder.name) from error
        settings = read_json(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").is_file() else {}
        self._specials = {name: _token_text(settings.get(name)) for name in ("bos_token", "eos_token")}
        self.stop_ids = self._stop_ids(folder)
        added = self.tokenizer.get_added_tokens_decoder().values()
        controls = sorted((re.escape(token.content) for token in added if token.special), key=len, reverse=True)
        self._controls = re.compile("|".join(controls)) if controls else None
        source = _template_source(folder, settings)
        self.has_template = source is not None
        self.extra_stops: tuple[str, ...] = () if self.has_template else ("\nUser:",)
        self._template = _compile(source or _PLAIN_TEMPLATE, folder.name)

    def encode(self, messages: Iterable[Message], continue_text: str = "") -> list[int]:
        """Token ids of the prompt up to where the answer starts, or goes on after `continue_text`."""
        rendered = self._render(messages) + self._guard(continue_text)
        ids: list[int] = []
        for number, piece in enumerate(rendered.split(_MARK)):
            # Guarded control tokens sit between two marks: every odd piece.
            tokenizer = self._typed if number % 2 else self.tokenizer
            if piece:
                ids.extend(tokenizer.encode(piece, add_special_tokens=False).ids)
        return ids

    def common_length(self, messages: tuple[Message, ...], ids: Sequence[int]) -> int:
        """How many of a prompt's `ids` belong to its system message alone: another conversation may begin with the same ones."""
        if len(messages) < 2 or messages[0].role != "system":
            return 0
        try:
            return matched(self.encode(messages[:1]), ids)
        except TemplateError:  # a template that wants a user's message
            return 0

    @cached_property
    def _typed(self) -> Tokenizer:
        """The tokenizer for which control tokens are only characters. Seldom needed, and a copy costs 20 MB."""
        from tokenizers import Tokenizer

        typed: Tokenizer = Tokenizer.from_str(self.tokenizer.to_str())
        typed.encode_special_tokens = True
        return typed

    def fit(
        self, messages: tuple[Message, ...], max_new_tokens: int, context_length: int
    ) -> tuple[tuple[Message, ...], int, int]:
        """Drop the oldest turns until prompt and answer fit; return (messages, left out, max_new_tokens).

        The answer keeps at least a quarter of the context (or what was asked, if that is less). Turns are dropped in strides,
        so that the following turns of a long conversation keep the same beginning and the model's cache of it stays good.
        Raises TooLongError when the system prompt and the last message alone do not fit.
        """
        head = messages[:1] if messages and messages[0].role == "system" else ()
        body = messages[len(head) :]
        answer = min(max_new_tokens, max(1, context_length // 4))
        budget = context_length - answer
        total = len(self.encode(messages))
        if total <= budget:
            return messages, 0, min(max_new_tokens, context_length - total)
        stride = max(1, budget // 4)
        target = total - -(-(total - budget) // stride) * stride
        starts = [number for number, message in enumerate(body) if message.role == "user" and number > 0]
        kept, size = body, total
        for start in starts:
            if size <= target:
                break
            kept = body[start:]
            size = len(self.encode((*head, *kept)))
        if size > budget:
            last = body[-1:]
            kept, size = last, len(self.encode((*head, *last)))
        if size > budget:
            raise TooLongError(
                f"This prompt has {size} tokens; the model takes {budget} beside {answer} for the answer. Shorten it.",
                key="error.prompt_tokens",
                tokens=size,
                limit=budget,
            )
        return (*head, *kept), len(body) - len(kept), min(max_new_tokens, context_length - size)

    def _render(self, messages: Iterable[Message]) -> str:
        from jinja2 import TemplateError as JinjaError

        rows = [{"role": message.role, "content": self._guard(message.content)} for message in messages]
        try:
            # enable_thinking: models that can think aloud are asked to write at once. No clock is given to templates:
            # a prompt that changes from day to day could not be reproduced.
            return str(self._template.render(messages=rows, add_generation_prompt=True, enable_thinking=False, **self._specials))
        except (JinjaError, TypeError, ValueError, ArithmeticError, LookupError, RecursionError) as error:
            text = f"This model's chat template cannot write these messages down: {error}."
            raise TemplateError(text, key="error.chat_template", reason=str(error)) from error

    def _guard(self, text: str) -> str:
        """Mark control tokens such as <|im_end|> inside a message, so that nobody can end a turn by typing one."""
        text = text.replace(_MARK, "")
        if self._controls is None:
            return text
        return self._controls.sub(lambda match: f"{_MARK}{match.group()}{_MARK}", text)

    def _stop_ids(self, folder: Path) -> frozenset[int]:
        """Ids that end an answer: what the model's configs name, and the token that closes a turn in common templates."""
        ids: set[int] = set()
        for name in ("generation_config.json", "config.json"):
            if (folder / name).is_file():
                value = read_json(folder / name).get("eos_token_id")
                ids.update(number for number in (value if isinstance(value, list) else [value]) if isinstance(number, int))
        for token in (self._specials["eos_token"], "<|im_end|>", "<|eot_id|>", "<end_of_turn>"):
            number = self.tokenizer.token_to_id(token) if token else None
            if number is not None:
                ids.add(number)
        return frozenset(ids)


def _template_source(folder: Path, settings: Mapping[str, Any]) -> str | None:
    path = folder / "chat_template.jinja"
    template: object = path.read_text(encoding="utf-8") if path.is_file() else settings.get("chat_template")
    if isinstance(template, list):  # several named ones; the default is for chat
        named = {row.get("name"): row.get("template") for row in template if isinstance(row, dict)}
        template = named.get("default")
    if not isinstance(template, str) or not template.strip():
        return None
    if len(template) > MAX_TEMPLATE_CHARS:
        raise BadFileError(f"The chat template of {folder.name} is too large.", key="error.template_large", name=folder.name)
    return template


def _compile(source: str, name: str) -> Any:
    from jinja2 import TemplateError as JinjaError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    environment.filters["tojson"] = lambda value, indent=None: json.dumps(value, ensure_ascii=False, indent=indent)
    environment.globals["raise_exception"] = _raise_template_error
    try:
        return environment.from_string(source)
    except JinjaError as error:
        text = f"The chat template of {name} is damaged: {error}."
        raise TemplateError(text, key="error.template_damaged", name=name, reason=str(error)) from error


def _raise_template_error(message: str) -> None:
    raise ValueError(message)


def _token_text(value: object) -> str:
    if isinstance(value, Mapping):
        value = value.get("content")
    return value if isinstance(value, str) else ""
