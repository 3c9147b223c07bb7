"""What the ratings are worth as training data, as the Train page says it: the headline, counts, balance, examples. Pure.

Knows a dataset's counts and TRL's rows, and words; knows no service, no gradio and no HTML.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import reduce
from typing import Any, Final

from storage.records import DatasetRecord, Json, Kind, Method
from ui.i18n import Translator

View = dict[str, Any]

METHODS: Final[tuple[Method, ...]] = ("dpo", "kto", "sft")
NOUNS: Final[Mapping[Method, str]] = {"dpo": "pairs", "kto": "thumbs", "sft": "answers"}
GOOD_START: Final[Mapping[Method, int]] = {"dpo": 45, "kto": 60, "sft": 40}
"""Examples from which a training usually shows; a training may start with far fewer."""
EXAMPLE_CHARS: Final = 600


def headline(counts: Mapping[Method, Json], method: Method, is_lacking: bool, t: Translator, *, task: Kind = "text") -> View:
    """{headline, hint, is_enough}: how many usable ratings there are, and how many more make a good start.

    `counts` is by method, as a dataset's; `is_lacking`: a training with `method` cannot start yet (and says why elsewhere).
    """
    totals = {name: total_of(counts.get(name, {})) for name in METHODS}
    rated: list[Method] = [name for name in METHODS if totals[name] and name != "sft"]
    shown = rated or [name for name in METHODS if totals[name]]  # good answers are rated ones: not to be counted twice
    parts = [t(f"train.have.{NOUNS[name]}", n=totals[name]) for name in shown]
    usable = sum(totals[name] for name in shown)
    said = [t("train.have", n=usable, parts=t("train.comma").join(parts)) if parts else t("train.have.none")]
    short = more_for_a_good_start(method, counts.get(method, {}), t)
    if not is_lacking:
        said.append(short or t("train.enough"))
    enough = not is_lacking and not short
    return {
        "headline": reduce(lambda first, then: t("train.sentences", first=first, then=then), said),
        "hint": t("train.hint.enough" if enough else f"train.hint.more.{task}"),
        "is_enough": enough,
    }


def more_for_a_good_start(method: Method, counts: Json, t: Translator) -> str:
    """ "14 more pairs make a good start."; "" once there are enough."""
    short = max(0, GOOD_START[method] - total_of(counts))
    return t(f"train.more.{NOUNS[method]}", n=short) if short else ""


def total_of(counts: Json) -> int:
    """Rows of one method, on both sides of the split."""
    return int(counts.get("train", 0)) + int(counts.get("held_out", 0))


def data_view(
    counts: Mapping[Method, Json], method: Method, missing: Iterable[str], examples: Iterable[Json], t: Translator
) -> View:
    """{summary, suggested, methods, balance, notes, missing, examples}: the panel of the data."""
    totals = [(NOUNS[name], total_of(counts.get(name, {}))) for name in METHODS]
    chosen = counts.get(method, {})
    return {
        "summary": t("train.comma").join(t(f"train.have.{noun}", n=n) for noun, n in totals if n) or t("train.have.none"),
        "suggested": method,
        "methods": {name: _counts(counts[name], t) for name in METHODS if name in counts},
        "balance": _balance(counts),
        "notes": _notes(chosen, t),
        "missing": list(missing),
        "examples": [example_view(row) for row in examples],
    }


def example_view(row: Json) -> View:
    """One TRL row as {prompt, earlier, answers: [{kind, text}]}; kinds are chosen, rejected, liked, disliked and answer.

    Of a conversation the prompt is what was asked last; `earlier` counts the messages before it.
    """
    if "chosen" in row:
        answers = [("chosen", row["chosen"]), ("rejected", row["rejected"])]
    elif "completion" in row:
        answers = [("liked" if row.get("label", True) else "disliked", row["completion"])]
    else:
        answers = [("answer", row["messages"][-1:])]
    asked = [one for one in (row["messages"][:-1] if "messages" in row else row["prompt"]) if one.get("role") != "system"]
    return {
        "prompt": _text(asked[-1:]),
        "earlier": max(0, len(asked) - 1),
        "answers": [{"kind": kind, "text": _text(said)} for kind, said in answers],
    }


def dataset_view(record: DatasetRecord, t: Translator) -> View:
    """One frozen dataset as a row and as a choice."""
    name = record.name or t("train.dataset.untitled", date=_day(record.created_at))
    return {
        "id": record.id,
        "name": name,
        "title": t("train.dataset.title", name=name, n=total_of(record.counts)),
        "method": record.method,
        "train": record.counts["train"],
        "held_out": record.counts["held_out"],
        "sha256": record.sha256,
        "created_at": record.created_at.isoformat(),
    }


def _counts(counts: Json, t: Translator) -> list[View]:
    return [{"label": t(f"train.count.{name}"), "value": counts.get(name, 0)} for name in ("train", "held_out", "prompts")]


def _balance(counts: Mapping[Method, Json]) -> View:
    thumbs = counts.get("kto", {})
    return {"liked": thumbs.get("positive", 0), "disliked": thumbs.get("negative", 0)}


def _notes(counts: Json, t: Translator) -> list[str]:
    notes = []
    if counts.get("duplicates"):
        notes.append(t("train.data.duplicates", n=counts["duplicates"]))
    if counts.get("train") or counts.get("held_out"):
        held_out = counts.get("held_out_prompts", 0)
        notes.append(t("train.data.held_out", n=held_out) if held_out else t("train.data.no_held_out"))
    return notes


def _text(messages: Iterable[Json]) -> str:
    """The messages below each other; long ones are cut."""
    text = "\n\n".join(str(message["content"]) for message in messages)
    return text if len(text) <= EXAMPLE_CHARS else text[: EXAMPLE_CHARS - 1] + "…"


def _day(when: datetime) -> str:
    return when.astimezone().strftime("%Y-%m-%d %H:%M")
