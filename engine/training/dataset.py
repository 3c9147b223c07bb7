"""From examples to a Dataset: no example twice, a split by prompt that never changes, a hash of the content, and what is missing.

Rows are in TRL's conversational formats (engine/services/trl.py makes them). Knows rows and numbers; knows no database, no
file and no model.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from storage.records import DatasetRow, Json, Method, Split

HELD_OUT_SHARE: Final = 6
"""One prompt in so many is held out."""
HELD_OUT_LEAST: Final = 4
"""Held-out prompts at least, once there are enough prompts to spare them."""
PROMPTS_TO_SPARE: Final = 12
REPLAY_SHARE: Final = 0.3
"""Rows of earlier rounds that a Dataset of chosen ratings gets beside its own, as a share of its own."""

MIN_PAIRS: Final = 8
MIN_PAIR_PROMPTS: Final = 6
MIN_THUMBS: Final = 10
MIN_OF_EACH_SIGN: Final = 3
MIN_ANSWERS: Final = 8
THUMBS_WORTH_A_PAIR: Final = 4
"""Pairs say more than thumbs: pairs are suggested unless there are more than so many thumbs for each."""


# Of each method: how many, of which count, and the sentence that asks for more.
_NEEDS: Final[Mapping[Method, tuple[tuple[int, str, str, str, str], ...]]] = {
    "dpo": (
        (MIN_PAIRS, "train", "error.need_pairs", "pair", ": pick the better of two answers to a prompt"),
        (MIN_PAIR_PROMPTS, "train_prompts", "error.need_prompts", "prompt", " where one answer beats another"),
    ),
    "kto": (
        (MIN_THUMBS, "train", "error.need_thumbs", "rated answer", ", liked or not"),
        (MIN_OF_EACH_SIGN, "train_positive", "error.need_liked", "answer", " that you like"),
        (MIN_OF_EACH_SIGN, "train_negative", "error.need_disliked", "answer", " that you do not like"),
    ),
    "sft": ((MIN_ANSWERS, "train", "error.need_answers", "answer", " that you rated high or edited"),),
}


@dataclass(frozen=True, slots=True)
class Example:
    """One thing that can be learned: a row in TRL's format and where it comes from."""

    row: Json
    source_ids: tuple[str, ...]
    origin: str
    """pick, arena, edit, ratings, imported (pairs); rating or edit (one answer)."""
    is_explicit: bool = True
    """Somebody said so; False when it was inferred."""


@dataclass(frozen=True, slots=True)
class Missing:
    """What a Dataset needs before it can be trained on: an English sentence, and its key and number for other languages."""

    message: str
    key: str
    n: int


def prompt_of(row: Json) -> tuple[Json, ...]:
    """The messages of a row before its answer."""
    return tuple(row["messages"][:-1] if "messages" in row else row["prompt"])


def prompt_key(messages: Sequence[Json]) -> str:
    """The sha256 that stands for a prompt in the split: of its last user message, whatever its case and spaces."""
    asked = next((str(message["content"]) for message in reversed(messages) if message["role"] == "user"), "")
    return hashlib.sha256(" ".join(asked.casefold().split()).encode("utf-8")).hexdigest()


def without_duplicates(examples: Iterable[Example]) -> tuple[tuple[Example, ...], int]:
    """The examples without those that say the same thing again, or the opposite of a better one; and how many those were.

    The same two answers to the same prompt are one pair, whichever won; the same answer to the same prompt is one example. The
    explicit one stays, and of equals the last.
    """
    kept: dict[str, Example] = {}
    total = 0
    for example in examples:
        total += 1
        key = _same(example.row)
        before = kept.get(key)
        if before is not None and before.is_explicit and not example.is_explicit:
            continue
        kept.pop(key, None)
        kept[key] = example
    return tuple(kept.values()), total - len(kept)


def assign_splits(known: Mapping[str, Split], prompt_keys: Iterable[str]) -> dict[str, Split]:
    """A side for each prompt that has none in `known`; nothing else.

    Of all prompts one in HELD_OUT_SHARE is held out, but HELD_OUT_LEAST once there are PROMPTS_TO_SPARE. Sides that are given
    stay for ever: what was trained on can never be held out, and the other way round. The new ones are taken in the order of
    their hashes, so that nobody chose them.
    """
    new = sorted(set(prompt_keys) - known.keys())
    total = len(known) + len(new)
    wanted = max(total // HELD_OUT_SHARE, HELD_OUT_LEAST if total >= PROMPTS_TO_SPARE else 0)
    lacking = max(0, wanted - sum(split == "held_out" for split in known.values()))
    return {key: "held_out" if place < lacking else "train" for place, key in enumerate(new)}


def frozen_rows(examples: Sequence[Example], splits: Mapping[str, Split]) -> tuple[DatasetRow, ...]:
    """Number the rows in their order, each on the side of its prompt."""
    return tuple(
        DatasetRow(ordinal, splits[prompt_key(prompt_of(example.row))], example.row, example.source_ids)
        for ordinal, example in enumerate(examples)
    )


def content_sha256(rows: Iterable[DatasetRow]) -> str:
    """The hash of what is trained on: each row and its side, in their order."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update((_canonical({"row": row.row, "split": row.split}) + "\n").encode("utf-8"))
    return digest.hexdigest()


def counts_of(method: Method, rows: Sequence[DatasetRow], examples: Sequence[Example], duplicates: int) -> dict[str, Any]:
    """{"train", "held_out", "prompts", "held_out_prompts", "train_prompts", "positive", "negative", "duplicates", "by_source"}.

    Of pairs each has one positive and one negative answer; "train_positive" and "train_negative" count the train side only.
    """
    prompts = {prompt_key(prompt_of(row.row)): row.split for row in rows}
    sides = Counter(row.split for row in rows)
    held_out_prompts = sum(split == "held_out" for split in prompts.values())
    signs = {
        name: [sum(_has(row.row, is_good) for row in part) for is_good in (True, False)]
        for name, part in (("", rows), ("train_", [row for row in rows if row.split == "train"]))
    }
    return {
        "method": method,
        "train": sides["train"],
        "held_out": sides["held_out"],
        "prompts": len(prompts),
        "held_out_prompts": held_out_prompts,
        "train_prompts": len(prompts) - held_out_prompts,
        "positive": signs[""][0],
        "negative": signs[""][1],
        "train_positive": signs["train_"][0],
        "train_negative": signs["train_"][1],
        "duplicates": duplicates,
        "by_source": dict(sorted(Counter(example.origin for example in examples).items())),
    }


def missing(method: Method, counts: Json) -> tuple[Missing, ...]:
    """What `counts` lack for a training with this method; () when nothing. Only the train side counts."""
    return tuple(
        Missing(f"{need - counts[name]} more {noun}{'' if need - counts[name] == 1 else 's'}{rest}.", key, need - counts[name])
        for need, name, key, noun, rest in _NEEDS[method]
        if need > counts[name]
    )


def suggested(counts: Mapping[Method, Json]) -> Method:
    """The method that these examples support best: pairs, unless there are far more thumbs; else what is nearest to enough."""
    ready = {method for method in counts if not missing(method, counts[method])}
    if {"dpo", "kto"} <= ready:
        return "dpo" if counts["dpo"]["train"] * THUMBS_WORTH_A_PAIR >= counts["kto"]["train"] else "kto"
    order: tuple[Method, ...] = ("dpo", "kto", "sft")
    for method in order:
        if method in ready:
            return method
    return max(order, key=lambda method: counts[method]["train"] / _NEEDS[method][0][0])


def replayed(own: Sequence[DatasetRow], earlier: Iterable[DatasetRow]) -> tuple[DatasetRow, ...]:
    """The rows of a Dataset with train rows of earlier rounds after them, at most REPLAY_SHARE of its own.

    Those that it has already are left out; of the others the ones with the lowest hashes come in, so that nobody chose them.
    """
    room = int(REPLAY_SHARE * sum(row.split == "train" for row in own))
    there = {_same(row.row) for row in own}
    new = {_same(row.row): row for row in earlier if row.split == "train"}
    chosen = sorted(new.keys() - there)[:room]
    return (*own, *(DatasetRow(len(own) + n, "train", new[key].row, new[key].source_ids) for n, key in enumerate(chosen)))


def _same(row: Json) -> str:
    """Equal for rows that say the same, or the opposite, of the same answers."""
    if "chosen" in row:
        row = {"prompt": row["prompt"], "answers": sorted(_canonical(row[name]) for name in ("chosen", "rejected"))}
    elif "label" in row:
        row = {"prompt": row["prompt"], "completion": row["completion"]}
    return hashlib.sha256(_canonical(row).encode("utf-8")).hexdigest()


def _has(row: Json, is_good: bool) -> bool:
    """Whether a row shows an answer to write like (or one not to)."""
    if "chosen" in row:
        return True
    return bool(row.get("label", True)) is is_good


def _canonical(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
