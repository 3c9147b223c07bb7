"""Blind tests, versions and their history as the Arena page draws them. Pure: records and results in, JSON out.

What goes to the page before the last vote holds two texts and nothing about who wrote them; only a judged result names the sides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from storage.records import BASE, DatasetRecord, Kind, PromotionRecord
from ui.i18n import Translator
from ui.view import markdown

if TYPE_CHECKING:
    from engine.services.adapters import AdapterView
    from engine.services.arena import MatchView

View = dict[str, Any]
FIGURES: tuple[tuple[str, int, bool, int], ...] = (
    # name, which way is better (0 = neither), whether it is a share (shown in per cent), digits
    ("taste", 1, False, 2),
    ("perplexity", -1, False, 1),
    ("words", 0, False, 0),
    ("distinct_2", 0, True, 0),
    ("repetition", -1, True, 1),
    ("odd_share", -1, True, 1),
    ("bleu", 1, False, 1),
    ("rouge_l", 1, True, 0),
)
SAID_BY_THE_VERDICT = "error.gate_interval"
"""The reason that the page's own words about the interval say already."""
NOTICEABLE = 0.02
"""Figures closer than this share of each other are equal to a reader: neither is marked as the better one."""


class Versions:
    """Names of versions: an adapter's own, the base model's in words."""

    def __init__(self, adapters: Mapping[str, str], models: Mapping[str, str], t: Translator) -> None:
        """Both by id; removed adapters too, for the history."""
        self._names = adapters
        self._models = models
        self._t = t

    def name(self, adapter_id: str) -> str:
        """What a version is called on a page."""
        if adapter_id == BASE:
            return self._t("arena.base_name")
        return self._names.get(adapter_id) or self._t("arena.removed")

    def model(self, model_id: str) -> str:
        """What a base model is called."""
        return self._models.get(model_id, model_id)


def match_view(match: MatchView) -> View | None:
    """{id, context, prompt, left, right}: two texts as safe HTML. None when there is nothing to vote on."""
    if match.match_id is None:
        return None
    return {
        "id": match.match_id,
        "context": [{"role": message["role"], "text": message["content"]} for message in match.context],
        "prompt": match.prompt,
        "left": markdown(match.left),
        "right": markdown(match.right),
    }


def verdict_of(result: Mapping[str, Any]) -> str:
    """better, unsound (preferred, but the language suffered), worse or unproven."""
    if result["gate"]["pass"]:
        return "better"
    low, high = result["interval"]
    if low > 0.5:
        return "unsound"
    return "worse" if high < 0.5 else "unproven"


def is_blind(result: Mapping[str, Any]) -> bool:
    """Whether people voted; a test of automatic figures only has no tally."""
    return result.get("wins") is not None


def is_over(result: Mapping[str, Any]) -> bool:
    """Whether all votes are in (or all answers, where nobody votes): before that nothing is said of the sides."""
    return result["automatic"] is not None


def outcome_text(result: Mapping[str, Any], t: Translator) -> str:
    """A judged test in a few words, such as "won 22 of 30"."""
    if not is_blind(result):
        return t("arena.outcome.automatic")
    return t(f"arena.outcome.{verdict_of(result)}", wins=result["wins"], votes=votes_of(result))


def votes_of(result: Mapping[str, Any]) -> int:
    """How many votes were counted."""
    return int(result["wins"] + result["losses"] + result["ties"])


def result_view(result: Mapping[str, Any], t: Translator) -> View:
    """What the end of a test shows. `result` as ArenaService.result gives it."""
    blind = is_blind(result)
    return {
        "is_blind": blind,
        "verdict": verdict_of(result) if blind else "",
        "wins": result.get("wins"),
        "losses": result.get("losses"),
        "ties": result.get("ties"),
        "votes": votes_of(result) if blind else 0,
        "win_rate": result.get("win_rate"),
        "interval": list(result.get("interval") or ()),
        "pass": bool(result["gate"]["pass"]),
        "reasons": reasons(result["gate"], t, but=SAID_BY_THE_VERDICT) if blind else [],
        "figures": figures_view(result.get("automatic") or {}),
        "worst": [
            {"prompt": one["prompt"], "new": markdown(one["candidate"]), "current": markdown(one["current"])}
            for one in result.get("worst") or ()
        ],
    }


def reasons(gate: Mapping[str, Any], t: Translator, *, but: str = "") -> list[str]:
    """Why the gate has not passed, in the page's language; a sentence without a translation stays English.

    `but` is the key of a reason to leave out.
    """
    sentences, keys = list(gate.get("reasons") or ()), list(gate.get("reason_keys") or ())
    said = []
    for index, sentence in enumerate(sentences):
        known = keys[index] if index < len(keys) else {}
        key = known.get("key", "")
        if but and key == but:
            continue
        text = t(key, **dict(known.get("values") or {}))
        said.append(sentence if text == key else text)
    return said


def figures_view(automatic: Mapping[str, Any]) -> list[View]:
    """One row for each figure that either side has: {name, new, current, better, is_share, digits}; shares in per cent."""
    new, current = automatic.get("candidate") or {}, automatic.get("current") or {}
    rows: list[View] = []
    for name, direction, is_share, digits in FIGURES:
        ours, theirs = new.get(name), current.get(name)
        if ours is None and theirs is None:
            continue
        better = ""
        if direction and ours is not None and theirs is not None:
            difference = (ours - theirs) * direction
            if abs(difference) > NOTICEABLE * max(abs(ours), abs(theirs)):
                better = "new" if difference > 0 else "current"
        scaled = [None if value is None else round(value * (100 if is_share else 1), 4) for value in (ours, theirs)]
        row = {"name": name, "new": scaled[0], "current": scaled[1], "better": better}
        rows.append({**row, "is_share": is_share, "digits": digits})
    return rows


def version_view(view: AdapterView, versions: Versions, datasets: Mapping[str, DatasetRecord], t: Translator) -> View:
    """One adapter: what it is, what it was made from, and what its newest blind test said."""
    record, result = view.record, view.result
    dataset = datasets.get(record.dataset_id or "")
    is_begun = bool(result and result["votes"] and not is_over(result))
    return {
        "id": record.id,
        "name": record.name,
        "task": record.task,
        "base_id": record.base_model_id,
        "base": versions.model(record.base_model_id),
        "created_at": record.created_at.isoformat(),
        "state": view.state,
        "method": record.method,
        "size_bytes": record.size_bytes,
        "examples": dataset.counts.get("train") if dataset else None,
        "run": record.run_id,
        "marks": len(record.marks),
        "result": {"run": view.evaluation_id, "text": outcome_text(result, t)} if result and is_over(result) else None,
        "under_way": t("arena.votes", n=result["votes"], total=result["needed"]) if result and is_begun else "",
    }


def history_view(rows: Sequence[PromotionRecord], versions: Versions, t: Translator) -> list[View]:
    """Every switch, newest first: what took over from what, and why."""
    return [
        {
            "at": row.created_at.isoformat(),
            "to": versions.name(row.adapter_id),
            "from": versions.name(row.previous_id),
            "base": _place(row, versions, t),
            "kind": "rollback" if "rolled_back" in row.gate else "promote",
            "why": _why(row, t),
        }
        for row in rows
    ]


def in_use_view(rows: Sequence[PromotionRecord], versions: Versions, t: Translator) -> list[View]:
    """For each task and base model that something was ever promoted on, what it writes with. `rows` newest first."""
    newest: dict[tuple[Kind, str], PromotionRecord] = {}
    for row in rows:
        newest.setdefault((row.task, row.base_model_id), row)
    return [
        {
            "task": task,
            "base_id": base_id,
            "base": _place(row, versions, t),
            "adapter_id": row.adapter_id,
            "name": t("arena.base") if row.adapter_id == BASE else versions.name(row.adapter_id),
            "since": row.created_at.isoformat(),
            "can_roll_back": row.adapter_id != BASE,
        }
        for (task, base_id), row in newest.items()
    ]


def _place(row: PromotionRecord, versions: Versions, t: Translator) -> str:
    """The base model, and the task where it is not writing."""
    name = versions.model(row.base_model_id)
    return name if row.task == "text" else t("arena.place", base=name, task=t(f"train.task.{row.task}"))


def _why(row: PromotionRecord, t: Translator) -> str:
    if row.override:
        return t("arena.history.override", reason=row.override)
    return t("arena.history.passed", n=row.gate.get("votes", 0)) if row.evaluation_id else ""
