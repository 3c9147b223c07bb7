"""Where an answer comes from, as the Write page shows it. Pure: records in, JSON out; the page says it in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ui.view_images import thumb_url

if TYPE_CHECKING:
    from engine.services.lineage import Lineage

SHOWN_ROWS = 20
SHOWN_CHARS = 240


def lineage_view(lineage: Lineage, names: Mapping[str, str]) -> dict[str, Any]:
    """{written_at, adapter, promoted, run, dataset, gone, rows, more}; what the base model wrote has only `written_at`.

    `rows` are choices ({id, chosen, rejected}) and ratings ({id, text, score}), the newest first; `id` is the Creation's. Of
    pictures they have addresses too ({chosen_picture, rejected_picture} or {picture}).
    """
    view: dict[str, Any] = {"written_at": lineage.creation.created_at.isoformat(), "adapter": None}
    if lineage.adapter is None:
        return view
    adapter, run, dataset = lineage.adapter, lineage.run, lineage.dataset
    promoted = lineage.promotions[0] if lineage.promotions else None
    rows = _rows(lineage)
    return {
        **view,
        "adapter": {
            "id": adapter.id,
            "name": adapter.name,
            "model": names.get(adapter.base_model_id, adapter.base_model_id),
            "method": adapter.method,
            "is_removed": adapter.removed_at is not None,
        },
        "promoted": {"at": promoted.created_at.isoformat(), "override": promoted.override} if promoted else None,
        "run": {"id": run.id, "at": (run.finished_at or run.created_at).isoformat()} if run else None,
        "dataset": {name: int(dataset.counts.get(name, 0)) for name in ("train", "held_out")} if dataset else None,
        "gone": lineage.gone,
        "rows": rows[:SHOWN_ROWS],
        "more": max(0, len(rows) - SHOWN_ROWS),
    }


def _rows(lineage: Lineage) -> list[dict[str, Any]]:
    creations = {one.id: one for one in lineage.creations}
    row: dict[str, Any]
    found: list[tuple[Any, dict[str, Any]]] = []
    for choice in lineage.preferences:
        chosen, rejected = creations.get(choice.chosen_id), creations.get(choice.rejected_id)
        if chosen is not None and rejected is not None:
            row = {
                "id": chosen.id,
                "prompt": _cut(chosen.prompt),
                "chosen": _cut(chosen.output),
                "rejected": _cut(rejected.output),
            }
            if chosen.kind == "image":
                row |= {"chosen_picture": thumb_url(chosen), "rejected_picture": thumb_url(rejected)}
            found.append((choice.created_at, row))
    for rating in lineage.ratings:
        rated = creations.get(rating.creation_id)
        if rated is not None and rating.score is not None:
            row = {"id": rated.id, "prompt": _cut(rated.prompt), "text": _cut(rated.output), "score": round(3 + 2 * rating.score)}
            if rated.kind == "image":
                row["picture"] = thumb_url(rated)
            found.append((rating.created_at, row))
    return [row for _, row in sorted(found, key=lambda one: one[0], reverse=True)]


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARS else text[: SHOWN_CHARS - 1].rstrip() + "…"
