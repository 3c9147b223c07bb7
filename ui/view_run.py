"""One training as a row of the Train page and as its monitor: state, progress, result, next step, facts. Pure.

Knows runs, adapters and their blind tests as the services show them, and words; calls no service, knows no gradio and no HTML.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from storage.records import Json
from ui.i18n import Translator
from ui.view import BEFORE_WORK, LIVE, fraction_of, percent
from ui.view_dataset import total_of
from ui.view_train import PHASES
from ui.view_train_form import in_order, label_of

if TYPE_CHECKING:
    from engine.jobs.job import JobSnapshot
    from engine.services.adapters import AdapterView
    from engine.services.runs import RunView

View = dict[str, Any]

ACTIONS: Final = {"queued": ["cancel"], "running": ["stop", "cancel"], "interrupted": ["resume"], "failed": ["resume"]}
"""What can be done with a run that is not done, by its status."""


def row_view(
    run: RunView, made: AdapterView | None, spark: Sequence[float], held_out_accuracy: float | None, t: Translator
) -> View:
    """One row of the list. `made` is its adapter, if that is still there; `next` the step that makes sense now, or None."""
    status = run.snapshot.status
    progress = run.snapshot.progress
    fraction = fraction_of(progress) if status == "running" and progress.get("phase") not in BEFORE_WORK else None
    result = _result(made, held_out_accuracy, t)
    held_out = "" if held_out_accuracy is None else percent(held_out_accuracy, t)
    figures = [("held_out_accuracy", held_out), ("result", result), ("duration", _minutes(run.snapshot, t))]
    return {
        "id": run.run_id,
        "title": run.request.name,
        "status": status,
        "is_live": status in LIVE,
        "done": "" if fraction is None else percent(fraction, t),
        "task": run.request.task,
        "method": run.request.recipe,
        "preset": run.request.preset,
        "examples": total_of(run.dataset.counts) if run.dataset else None,
        "created_at": run.job.created_at.isoformat(),
        "spark": list(spark),
        "result": result,
        "next": next_step(run.snapshot, made),
        "evaluation_id": made.evaluation_id if made else None,
        "is_promoted": made is not None and made.state == "promoted",
        "marks": len(made.record.marks) if made else 0,
        "settings": in_order(run.settings, t),
        "labels": _labels(run.settings, t),
        "figures": [{"label": t(f"train.figure.{name}"), "text": text} for name, text in figures if text],
    }


def live_view(snapshot: JobSnapshot, made: AdapterView | None, error: str | None, t: Translator) -> View:
    """What changes while a run is watched. `error` is why it failed, in the page's language."""
    progress, step = snapshot.progress, next_step(snapshot, made)
    is_live = snapshot.status in LIVE
    # A look at the held-out rows between two steps is a part of the training, not the phase after it.
    is_looking = progress.get("phase") == "evaluate" and (progress.get("step") or 0) < (progress.get("total") or 0)
    phase = "train" if is_looking else progress.get("phase")
    is_stopping = is_live and bool(snapshot.data.get("is_stopping"))
    actions = ACTIONS.get(snapshot.status, [step] if step else [])
    return {
        "id": snapshot.job_id,
        "status": snapshot.status,
        "is_live": is_live,
        "phase": phase if phase in PHASES else None,
        "is_looking": is_looking,
        "waiting": is_live and bool(snapshot.data.get("is_waiting")),
        "short": is_live and bool(snapshot.data.get("is_short")),
        "stopping": is_stopping,
        "step": progress.get("step"),
        "total": progress.get("total"),
        # The last look and saving take as long as they take.
        "fraction": None if phase in ("evaluate", "save") else fraction_of(progress),
        "eta_s": progress.get("eta_s") if is_live else None,
        "duration_s": (snapshot.result or {}).get("duration_s"),
        "machine": _machine(snapshot, t) if is_live else "",
        "outcome": _outcome(snapshot, t),
        "error": error,
        "actions": [name for name in actions if name != "stop" or not is_stopping],
        "evaluation_id": made.evaluation_id if made else None,
        "marks": len(made.record.marks) if made else 0,
    }


def fixed_view(run: RunView, base_name: str, tensorboard_dir: str, t: Translator) -> View:
    """What stays the same: title, facts, settings, and the form that would start it again."""
    request, data = run.request, run.dataset
    counts = data.counts if data else {}
    facts: list[tuple[str, str | None, bool]] = [
        ("task", t(f"train.task.{request.task}"), False),
        ("method", t(f"train.method.{request.recipe}"), False),
        ("preset", t(f"train.preset.{request.preset}"), False),
        ("base", base_name, False),
        ("dataset", _dataset(data.sha256, counts, t) if data else None, False),
        ("id", run.run_id, True),
        ("adapter", request.adapter_id, True),
        ("tensorboard", tensorboard_dir, True),
    ]
    return {
        "title": request.name,
        "method": request.recipe,
        "form": {
            "task": request.task,
            "preset": request.preset,
            "recipe": request.recipe,
            "base": request.base_model_id,
            "settings": dict(request.settings),
        },
        "settings": in_order(run.settings, t),
        "labels": _labels(run.settings, t),
        "facts": [{"label": t(f"train.fact.{name}"), "text": text, "is_path": is_path} for name, text, is_path in facts if text],
    }


def next_step(snapshot: JobSnapshot, made: AdapterView | None) -> str | None:
    """The step after this one: go on, test blindly, or use it. None when there is nothing to do."""
    if snapshot.status == "running":
        return None if snapshot.data.get("is_stopping") else "stop"
    if snapshot.status == "interrupted":
        return "resume"
    if snapshot.status != "done" or made is None or made.state == "promoted":
        return None
    if made.result is None or made.result.get("automatic_only"):
        return "evaluate"
    passed = (made.result.get("gate") or {}).get("pass")
    if passed is None:
        return "arena"
    return "promote" if passed else "evaluate"


def _result(made: AdapterView | None, held_out_accuracy: float | None, t: Translator) -> str:
    """What came of it: its blind test once that is judged, how far that is, or the figure on the held-out prompts."""
    found = made.result if made else None
    if found and not found.get("automatic_only"):
        if found.get("wins") is not None:
            return t("train.result.won", wins=found["wins"], votes=found["votes"])
        return t("train.result.votes", votes=found["votes"], needed=found["needed"])
    return "" if held_out_accuracy is None else t("train.result.held_out", share=percent(held_out_accuracy, t))


def _minutes(snapshot: JobSnapshot, t: Translator) -> str:
    duration_s = (snapshot.result or {}).get("duration_s")
    return t("train.minutes", n=round(duration_s / 60, 1)) if isinstance(duration_s, (int, float)) else ""


def _machine(snapshot: JobSnapshot, t: Translator) -> str:
    """How busy the whole machine is, in one short line; empty while nobody has measured."""
    found = snapshot.data.get("machine") or {}
    if not found.get("memory_total_bytes"):
        return ""
    free_bytes = found["memory_total_bytes"] - found["memory_bytes"]
    return t("train.machine", cpu=round(found["cpu_percent"]), free=f"{free_bytes / 1e9:.1f} GB")


def _dataset(sha256: str, counts: Json, t: Translator) -> str:
    return t("train.fact.dataset.value", train=counts["train"], held_out=counts["held_out"], hash=sha256[:8])


def _labels(settings: Json, t: Translator) -> dict[str, str]:
    return {name: label_of(name, t) for name in settings}


def _outcome(snapshot: JobSnapshot, t: Translator) -> str:
    if snapshot.status in LIVE:
        return ""
    is_early = snapshot.status == "done" and (snapshot.result or {}).get("stopped_early")
    return t(f"train.outcome.{'early' if is_early else snapshot.status}")
