"""A frozen dataset's files → token ids, exactly as the text engine writes the same conversation down when it answers.

Rows are in TRL's formats (one JSON object a line); what comes out are the columns that TRL's collators read. Control tokens
inside a message stay plain characters here too, so that nobody can end a turn by typing one. Knows token ids; knows no torch.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from engine.errors import BadFileError, NotEnoughDataError
from engine.text.chat import ChatFormat
from engine.text.model import Message
from engine.training.args import TrainingSettings

Row: TypeAlias = Mapping[str, Any]
TRAIN = "train.jsonl"
_CUT_TOKENS = 32
"""An answer this long that ends in the middle of a sentence was cut off by the limit on its length."""
_GOES_ON = frozenset(",;:-–—，、；：")


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """Rows ready to be trained on, and what the guards want to know of them."""

    train: tuple[Row, ...]
    held_out: tuple[Row, ...]
    answer_tokens: float
    """Mean length of the answers that training moves towards."""
    texts: tuple[str, ...]
    """Prompts and answers, for the scripts they are written in."""
    dropped: int
    """Rows whose prompt alone fills max_length."""


def read_rows(path: Path) -> list[Row]:
    """Read one JSONL file; a missing one has no rows. Raises BadFileError for a line that is no JSON object."""
    if not path.is_file():
        return []
    rows: list[Row] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise _damaged(path, number) from error
        if not isinstance(row, dict):
            raise _damaged(path, number)
        rows.append(row)
    return rows


def load_rows(folder: Path, chat: ChatFormat, settings: TrainingSettings, further: Sequence[Row] = ()) -> TrainingRows:
    """Read train.jsonl and held_out.jsonl and turn them into token ids; `further` rows are trained on too.

    Raises BadFileError for a damaged file and NotEnoughDataError when no row is left to train on.
    """
    encoder = RowEncoder(chat, settings)
    files = [read_rows(folder / TRAIN), read_rows(folder / "held_out.jsonl")]
    files[0] += further
    encoded = [[encoder.encode(row) for row in rows] for rows in files]
    train: list[Row] = [row for row in encoded[0] if row is not None]
    held_out: list[Row] = [row for row in encoded[1] if row is not None]
    if not train:
        text = "No row of this dataset fits: every prompt is longer than max_length."
        raise NotEnoughDataError(text, key="error.training_rows")
    if settings.method == "kto":
        train, held_out = (_with_mismatched(mixed(rows, settings.seed), settings.micro_batch_size) for rows in (train, held_out))
    answers = [len(_answer_ids(row)) for row in train if row.get("label", True)] or [1]
    dropped = sum(len(rows) for rows in encoded) - len(train) - len(held_out)
    texts = tuple(dict.fromkeys(text for rows in files for row in rows for text in _texts(row)))
    return TrainingRows(tuple(train), tuple(held_out), sum(answers) / len(answers), texts, dropped)


class RowEncoder:
    """Turns rows of one method into token ids."""

    def __init__(self, chat: ChatFormat, settings: TrainingSettings) -> None:
        self._chat = chat
        self._settings = settings
        self._end = end_id(chat)

    def encode(self, row: Row) -> dict[str, Any] | None:
        """Return the columns of one row; None when its prompt alone fills max_length. Raises BadFileError for another format."""
        try:
            if self._settings.method == "sft":
                *prompt, answer = row["messages"]
                return self._imitated(_messages(prompt), str(answer["content"]))
            prompt_ids = self._chat.encode(_messages(row["prompt"]))
            if len(prompt_ids) >= self._settings.max_length:
                return None
            if self._settings.method == "kto":
                completion = self._answer(row["prompt"], row["completion"], len(prompt_ids))
                return {"prompt_ids": prompt_ids, "completion_ids": completion, "label": bool(row["label"])}
            chosen, rejected = (self._answer(row["prompt"], row[name], len(prompt_ids)) for name in ("chosen", "rejected"))
            return {"prompt_ids": prompt_ids, "chosen_ids": chosen, "rejected_ids": rejected}
        except (KeyError, TypeError, ValueError) as error:
            text = f"A row of this dataset is no {self._settings.method} row."
            raise BadFileError(text, key="error.training_row", method=self._settings.method) from error

    def _answer(self, prompt: Sequence[Mapping[str, str]], answer: Sequence[Mapping[str, str]], prompt_tokens: int) -> list[int]:
        text = str(answer[0]["content"])
        return self._ended(self._chat.encode(_messages(prompt), text)[prompt_tokens:], text)

    def _ended(self, ids: list[int], text: str) -> list[int]:
        """The answer's tokens with the one that ends it; an answer that was cut off must not teach to break off there."""
        is_cut = len(ids) >= _CUT_TOKENS and text[-1:].isalnum() or text[-1:] in _GOES_ON
        return ids if is_cut else [*ids, self._end]

    def _imitated(self, prompt: list[Message], answer: str) -> dict[str, Any] | None:
        """Columns for TRL's SFT: the loss is on the answer only."""
        prompt_ids, limit = self._chat.encode(prompt), self._settings.max_length
        if len(prompt_ids) >= limit:
            return None
        ids = self._ended(self._chat.encode(prompt, answer)[len(prompt_ids) :], answer)
        labels = [*[-100] * len(prompt_ids), *ids]
        return {"input_ids": [*prompt_ids, *ids][:limit], "labels": labels[:limit]}


def end_id(chat: ChatFormat) -> int:
    """The token that closes an answer: the first one that may end it in the template's own way to write a whole turn."""
    asked = Message("user", "a")
    opened = chat.encode([asked])
    closed = chat.encode([asked, Message("assistant", "b"), asked])
    after = next((number for number in closed[len(opened) :] if number in chat.stop_ids), None)
    if after is None and not chat.stop_ids:
        raise BadFileError("This model has no token that ends an answer, so it cannot be trained.", key="error.training_no_end")
    return min(chat.stop_ids) if after is None else after


def mixed(rows: Sequence[Row], seed: int) -> list[Row]:
    """Rows of both labels, shuffled and dealt out evenly, so that neighbours differ wherever there are enough of both."""
    order = random.Random(seed)
    up, down = ([row for row in rows if bool(row["label"]) is label] for label in (True, False))
    order.shuffle(up)
    order.shuffle(down)
    places = [((number + 0.5) / len(part), row) for part in (up, down) for number, row in enumerate(part)]
    return [row for _, row in sorted(places, key=lambda place: place[0])]


def _with_mismatched(rows: Sequence[Row], micro_batch: int) -> list[Row]:
    """KTO judges a row against answers to other prompts: each takes its neighbour's in the micro-batch (TRL does the same).

    A row that would be alone in the last micro-batch takes the first row's.
    """
    result: list[Row] = []
    for start in range(0, len(rows), micro_batch):
        part = rows[start : start + micro_batch]
        others = [part[-1], *part[:-1]] if len(part) > 1 else [rows[0]]
        result += [{**row, "KL_completion_ids": other["completion_ids"]} for row, other in zip(part, others, strict=True)]
    return result


def _answer_ids(row: Row) -> Sequence[int]:
    if "labels" in row:
        return [number for number in row["labels"] if number != -100]
    ids: Sequence[int] = row.get("chosen_ids") or row["completion_ids"]
    return ids


def _messages(rows: Iterable[Mapping[str, str]]) -> list[Message]:
    return [Message(row["role"], row["content"]) for row in rows]  # type: ignore[arg-type]


def _texts(row: Row) -> Iterable[str]:
    for name in ("messages", "prompt", "chosen", "completion"):
        for message in row.get(name, ()):
            yield str(message["content"])


def _damaged(path: Path, number: int) -> BadFileError:
    text = f"Line {number} of {path.name} is damaged."
    return BadFileError(text, key="error.training_line", name=path.name, line=number)
