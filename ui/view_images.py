"""Pictures, clicks and forms of the image studio as the Images page draws them. Pure: records in, JSON out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from storage.records import BASE, CreationRecord, RatingRecord
from ui.i18n import Translator
from ui.view import LIVE, fraction_of, left_text
from ui.view_thread import adapter_view, notice_texts, rating_view

if TYPE_CHECKING:
    from engine.jobs.job import JobSnapshot
    from engine.services.image_records import Batch, FoundSettings, ImageChoices, ImageModelChoice

View = dict[str, Any]

GOOD_REASONS: Final = ("matches_prompt", "composition", "colours", "details", "style_fits", "original")
BAD_REASONS: Final = ("misses_prompt", "distorted", "blurry", "wrong_colours", "cluttered", "wrong_style")
DRAWING_KINDS: Final = ("imagine", "upscale")
"""Kinds of jobs that fill a batch; the page follows them."""
_KEPT: Final = ("style", "negative", "width", "height", "steps", "guidance", "scheduler", "transparent")
"""Settings that a form takes over as they are."""


def media_url(creation_id: str, sha256: str | None) -> str | None:
    """Where the picture is; None while there is none. The address changes with the file, so browsers may keep it."""
    return f"/media/{creation_id}?v={sha256[:8]}" if sha256 else None


def thumb_url(creation: CreationRecord) -> str | None:
    """Where the small copy of its picture is."""
    sha256 = creation.media_sha256
    return f"/media/{creation.id}/thumb?v={sha256[:8]}" if sha256 else None


def style_name(style: str | None, t: Translator) -> str:
    """What people call a style; an unknown one is shown as it is."""
    key = f"images.style.{style}"
    return "" if not style else style if (name := t(key)) == key else name


# -------------------------------------------------------------------- the form


def form_view(choices: ImageChoices, t: Translator) -> View:
    """{models, model, missing, limits}: what can be chosen, the model to begin with, and one sentence when there is none."""
    ready = [model for model in choices.models if model.state == "installed"]
    default = next((model for model in choices.models if model.id == choices.default_model_id), None)
    first = default if default in ready else next(iter(ready), None)
    return {
        "models": [model_view(model, t) for model in ready],
        "model": first.id if first else None,
        "missing": "" if first else t("images.missing"),
        "limits": {
            "pictures": choices.max_pictures,
            "side": choices.min_side,
            "final_side": choices.max_final_side,
            "steps": choices.max_steps,
            "guidance": choices.max_guidance,
            "enlarge": [factor for factor in choices.upscale_factors if factor > 1],
            "prompt": choices.prompt_max_chars,
        },
    }


def model_view(model: ImageModelChoice, t: Translator) -> View:
    """One model's styles, samplers, presets, sizes and what it can do."""
    pictured = frozenset(model.pictured_styles)
    styles = [
        {"id": style, "name": style_name(style, t), "picture": f"/styles/{model.id}/{style}" if style in pictured else None}
        for style in model.styles
    ]
    return {
        "id": model.id,
        "name": model.name,
        "languages": list(model.languages),
        "styles": styles,
        "schedulers": list(model.schedulers),
        "presets": [{"name": preset.name, "steps": preset.steps} for preset in model.presets],
        "guidance": model.guidance,
        "width": model.width,
        "height": model.height,
        "sizes": [list(size) for size in model.sizes],
        "max_side": model.max_side,
        "is_square": model.is_square,
        "can_clear": model.can_clear,
        "can_start": model.can_start,
        "can_mask": model.can_mask,
        "has_negative": model.has_negative,
    }


# -------------------------------------------------------------------- pictures


def batch_view(batch: Batch, names: Mapping[str, str], t: Translator) -> View:
    """The pictures of one click with what they share."""
    first = batch.creations[0] if batch.creations else None
    params: Mapping[str, Any] = first.params if first else {}
    return {
        "job_id": batch.job_id,
        "status": batch.status,
        "can_resume": batch.can_resume,
        "prompt": batch.prompt,
        "title": " · ".join(part for part in batch_facts(first, t) if part) if first else "",
        "created_at": first.created_at.isoformat() if first else None,
        "source": _source(params),
        "options": options_of(first) if first else {},
        "notices": notice_texts([notice.as_json() for notice in batch.notices], t),
        "picked": batch.picked_id,
        "items": [item_view(one, batch.ratings.get(one.id), names, t) for one in batch.creations],
    }


def batch_facts(creation: CreationRecord, t: Translator) -> list[str]:
    """The small grey line of a batch: style, size, what it was made from."""
    params = creation.params
    made_from = ""
    if _source(params):
        made_from = t("images.fact.painted" if params.get("mask") else "images.fact.from_picture")
    enlarged = int(params.get("upscale") or 1)
    return [
        style_name(params.get("style"), t),
        size_text(params),
        made_from,
        t("images.fact.enlarged", n=enlarged) if enlarged > 1 else "",
    ]


def item_view(creation: CreationRecord, rating: RatingRecord | None, names: Mapping[str, str], t: Translator) -> View:
    """One picture: where it is, its state, its rating, and every setting in words."""
    params = creation.params
    return {
        "id": creation.id,
        "job_id": creation.job_id,
        "prompt": creation.prompt,
        "status": creation.status,
        "url": media_url(creation.id, creation.media_sha256),
        "seed": creation.seed,
        "width": params.get("width"),
        "height": params.get("height"),
        "clear": bool(params.get("transparent")),
        "note": note_of(creation.status, creation.finish_reason, creation.error, t),
        "starred": creation.starred,
        "rating": rating_view(rating),
        "thumb": thumb_url(creation),
        "adapter": adapter_view(creation, names),
        "facts": facts_of(creation, names, t),
    }


def facts_of(creation: CreationRecord, names: Mapping[str, str], t: Translator) -> list[list[str]]:
    """Every setting that says something, as [what it is, what it says]."""
    return [[t(f"images.fact.{name}"), text] for name, text in _facts(creation, names, t) if text]


def _facts(creation: CreationRecord, names: Mapping[str, str], t: Translator) -> list[tuple[str, str]]:
    params, adapter = creation.params, creation.adapter_id
    started = bool(_source(params))
    enlarged = int(params.get("upscale") or 1)
    return [
        ("negative", str(params.get("negative") or "")),
        ("style", style_name(params.get("style"), t)),
        ("size", size_text(params)),
        ("steps", number_text(params.get("steps"))),
        ("guidance", number_text(params.get("guidance"))),
        ("scheduler", str(params.get("scheduler") or "")),
        ("strength", number_text(params.get("strength")) if started else ""),
        ("mask", t("images.yes") if params.get("mask") else ""),
        ("background", t("images.clear") if params.get("transparent") else ""),
        ("enlarge", f"{enlarged}×" if enlarged > 1 else ""),
        ("model", names.get(creation.model_id, creation.model_id)),
        ("adapter", "" if adapter == BASE else names.get(adapter, adapter[:8])),
        ("duration", t("images.seconds", n=f"{creation.duration_s:.1f}") if creation.duration_s else ""),
    ]


def note_of(status: str, finish_reason: str | None, error: str | None, t: Translator) -> str:
    """Why there is no picture, in a few words; empty for one that is there or still to come."""
    if status == "cancelled":
        return t("images.note.skipped" if finish_reason == "skipped" else "images.note.stopped")
    if status == "failed":
        return error or t("images.note.failed")
    return t("images.note.interrupted") if status == "interrupted" else ""


def options_of(creation: CreationRecord) -> View:
    """Options of ImagineOptions that make the same again, without the seed: what a form takes over."""
    params = creation.params
    found = {name: params[name] for name in _KEPT if params.get(name) not in (None, "")}
    if params.get("preset"):  # the same number of steps, said as it was chosen
        found["preset"] = params["preset"]
        del found["steps"]
    found["model"] = creation.model_id
    if source := _source(params):
        found |= {"init_image": source["id"], "strength": params.get("strength")}
    return found


def _source(params: Mapping[str, Any]) -> View | None:
    """{id}: the picture it was made from; id None when that was a file of the user's."""
    init = params.get("init")
    return {"id": init.get("creation_id")} if isinstance(init, Mapping) else None


def size_text(params: Mapping[str, Any]) -> str:
    """512 × 512."""
    width, height = params.get("width"), params.get("height")
    return f"{width} × {height}" if width and height else ""


def number_text(value: object) -> str:
    """4, 4.5, or nothing."""
    return f"{value:g}" if isinstance(value, (int, float)) and not isinstance(value, bool) else ""


# -------------------------------------------------------------------- jobs


def job_view(snapshot: JobSnapshot) -> View:
    """One job that waits or runs, as a chip."""
    creations = snapshot.data.get("creations") or ()
    return {
        "job_id": snapshot.job_id,
        "kind": snapshot.kind,
        "status": snapshot.status,
        "prompt": str(snapshot.data.get("prompt") or ""),
        "n": len(creations),
    }


def live_view(snapshot: JobSnapshot, error: str | None, t: Translator) -> View:
    """What a follower draws at each update: every picture's state, the one progress line, and the end."""
    rows: Sequence[Mapping[str, Any]] = snapshot.data.get("creations") or ()
    return {
        "job_id": snapshot.job_id,
        "status": snapshot.status,
        "done": snapshot.is_final,
        "error": error,
        "fraction": fraction_of(snapshot.progress),
        "line": progress_line(snapshot, rows, t),
        "items": [_live_item(row, t) for row in rows],
    }


def _live_item(row: Mapping[str, Any], t: Translator) -> View:
    step, total = int(row.get("step") or 0), int(row.get("total") or 0)
    status = str(row.get("status"))
    return {
        "id": row["id"],
        "status": status,
        "part": step / total if total else None,
        "preview": row.get("preview"),
        "url": media_url(str(row["id"]), row.get("media_sha256")),
        "note": note_of(status, row.get("finish_reason"), row.get("error"), t),
    }


def progress_line(snapshot: JobSnapshot, rows: Sequence[Mapping[str, Any]], t: Translator) -> str:
    """Which picture is being drawn and how long it still takes: "Drawing 2 of 4 · 3 s left"."""
    progress = snapshot.progress
    if snapshot.is_final:
        return ""
    if snapshot.status == "queued":
        return t("images.line.queued")
    if progress.get("note") == "waiting":
        return t("images.line.waiting")
    phase = str(progress.get("phase") or "")
    if phase == "loading":
        return t("images.line.loading")
    ended = sum(1 for row in rows if row.get("status") not in LIVE)
    words = t(
        "images.line.enlarging" if phase == "enlarging" else "images.line.drawing", n=min(ended + 1, len(rows)), total=len(rows)
    )
    eta_s = progress.get("eta_s")
    return f"{words} · {left_text(eta_s, t)}" if isinstance(eta_s, (int, float)) else words


# -------------------------------------------------------------------- what a file says


def found_view(found: FoundSettings, t: Translator) -> View:
    """{prompt, options, tool, creation_id, found, notices}: settings of a dropped picture, in words and as options."""
    options = dict(found.options)
    names = ["prompt"] if found.prompt else []
    given = ("negative", "style", "seed", "steps", "guidance", "scheduler", "model")
    names += [name for name in given if options.get(name) not in (None, "")]
    names += ["size"] if options.get("width") and options.get("height") else []
    return {
        "prompt": found.prompt,
        "options": options,
        "tool": found.tool,
        "creation_id": found.creation_id,
        "found": [t(f"images.found.{name}") for name in names],
        "notices": notice_texts([notice.as_json() for notice in found.notices], t),
    }
