"""Records of the Library as the view models its page draws, and the page's filter as a CreationFilter. Pure.

Knows records and words; knows no service, no gradio and no HTML except what the `render` it is given returns (already sanitised).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from engine.errors import BadOptionError
from storage.records import CreationFilter, CreationRecord, LibraryItem, Page, PreferenceRecord, RatingRecord
from ui.view_images import media_url, thumb_url

View = dict[str, Any]

TITLE_CHARS: Final = 160
EXCERPT_CHARS: Final = 360
BEFORE_MATCH_CHARS: Final = 60
NOT_SETTINGS: Final = (
    "notices", "asked", "documents", "document_ids", "notes", "refused", "scores", "sentences", "sentences_wished",
)  # fmt: skip
"""What a Creation keeps among its parameters that nobody set."""
KINDS: Final = ("text", "image", "summary")
_SPACE = re.compile(r"\s+")
_MARKDOWN = re.compile(r"(?m)^\s{0,3}(?:#{1,6}\s+|[-*+]\s+|>\s?|\d+\.\s+)|\*\*|__|`+")


@dataclass(frozen=True)
class Names:
    """What models and adapters are called on the page, and how Markdown becomes safe HTML."""

    models: Mapping[str, str] = field(default_factory=dict)
    adapters: Mapping[str, str] = field(default_factory=dict)
    base: str = "base"
    render: Callable[[str], str] = str

    def model(self, model_id: str) -> str:
        """The model's name, or its id when it is no longer known (removed, or of an imported Creation)."""
        return self.models.get(model_id, model_id)

    def adapter(self, adapter_id: str) -> str:
        """The adapter's name, or the beginning of its id when it is not known (of an imported Creation)."""
        return self.base if adapter_id == "base" else self.adapters.get(adapter_id, adapter_id[:8])


def filter_from(value: object) -> CreationFilter:
    """The page's filter {query, kind, model, adapter, rated, min_score, max_score, starred, tag, from, to, trashed}.

    Keys may be missing or null. Times are ISO with a zone. Raises BadOptionError for a kind or a time that cannot be.
    """
    given: Mapping[str, Any] = value if isinstance(value, Mapping) else {}
    kind = given.get("kind") or None
    if kind not in (None, *KINDS):
        raise BadOptionError('"kind" must be text, image or summary.', key="error.kind")
    return CreationFilter(
        query=str(given.get("query") or ""),
        kind=kind,
        model_id=given.get("model") or None,
        adapter_id=given.get("adapter") or None,
        min_score=given.get("min_score"),
        max_score=given.get("max_score"),
        rated=given.get("rated"),
        starred=given.get("starred"),
        tag=given.get("tag") or None,
        created_from=_time(given.get("from"), "from"),
        created_to=_time(given.get("to"), "to"),
        trashed=bool(given.get("trashed")),
    )


def page_view(page: Page, names: Names, query: str = "") -> View:
    """{items, total, page, more}: one page of the list."""
    return {
        "items": [item_view(item, names, query) for item in page.items],
        "total": page.total,
        "page": page.page,
        "more": page.page * page.page_size < page.total,
    }


def item_view(item: LibraryItem, names: Names, query: str = "") -> View:
    """One row of the list: what a person recognises it by, never the whole text."""
    creation = item.creation
    return {
        "id": creation.id,
        "kind": creation.kind,
        "title": one_line(creation.prompt, TITLE_CHARS, query),
        "excerpt": one_line(plain(creation.output[: EXCERPT_CHARS * 200]), EXCERPT_CHARS, query),
        "picture": thumb_url(creation) if creation.kind == "image" else None,
        "score": item.score,
        "starred": creation.starred,
        "tags": list(creation.tags),
        "model": names.model(creation.model_id),
        "status": creation.status,
        "origin": creation.origin,
        "created_at": creation.created_at.isoformat(),
    }


def detail_view(detail: Any, names: Names, scores: Mapping[str, float | None]) -> View:
    """Everything about one Creation for the preview: whole text, parameters, versions, ratings, preferences, provenance."""
    creation: CreationRecord = detail.creation
    speed = creation.tokens_per_s
    return {
        **item_view(LibraryItem(creation, detail.rating.score if detail.rating else None), names),
        "prompt": creation.prompt,
        "output": creation.output,
        "html": names.render(creation.output) if creation.kind != "image" else "",
        "image_url": media_url(creation.id, creation.media_sha256) if creation.kind == "image" else None,
        "clear": bool(creation.params.get("transparent")),
        "error": creation.error,
        "finish_reason": creation.finish_reason,
        "can_reproduce": creation.origin == "generated" and creation.status == "done" and creation.kind in ("text", "image"),
        "conversation_id": creation.conversation_id,
        "trashed": creation.trashed_at is not None,
        "model_id": creation.model_id,
        "adapter": names.adapter(creation.adapter_id),
        "adapter_id": creation.adapter_id,
        "seed": creation.seed,
        "tokens": creation.output_tokens,
        "prompt_tokens": creation.prompt_tokens,
        "tokens_per_s": round(speed, 1) if speed else None,
        "ttft_s": creation.ttft_s,
        "duration_s": creation.duration_s,
        "params": {name: value for name, value in creation.params.items() if name not in NOT_SETTINGS and _is_set(value)},
        "path": dict(creation.path),
        "parent_id": creation.parent_id,
        "turn_id": creation.turn_id,
        "media_sha256": creation.media_sha256,
        "versions": [version_view(version, at, scores.get(version.id)) for at, version in enumerate(detail.versions, 1)],
        "rating": rating_view(detail.rating) if detail.rating else None,
        "history": [rating_view(rating) for rating in sorted(detail.rating_history, key=lambda one: -one.seq)],
        "preferences": [preference_view(preference, creation, detail.versions) for preference in detail.preferences],
    }


def version_view(version: CreationRecord, number: int, score: float | None) -> View:
    """One version of the turn, for the list to flip through."""
    return {
        "id": version.id,
        "n": number,
        "origin": version.origin,
        "excerpt": one_line(plain(version.output[:4000]), 90),
        "picture": thumb_url(version) if version.kind == "image" else None,
        "score": score,
        "status": version.status,
        "created_at": version.created_at.isoformat(),
    }


def rating_view(rating: RatingRecord) -> View:
    """One rating, current or of the history; score None is a withdrawal."""
    return {
        "score": rating.score,
        "reasons": list(rating.reasons),
        "comment": rating.comment,
        "current": rating.is_current,
        "created_at": rating.created_at.isoformat(),
    }


def preference_view(preference: PreferenceRecord, creation: CreationRecord, versions: tuple[CreationRecord, ...]) -> View:
    """One preference as seen from `creation`: result "won", "lost", "tie" or "both_bad" against the other one."""
    won = preference.chosen_id == creation.id
    other_id = preference.rejected_id if won else preference.chosen_id
    numbers = {version.id: number for number, version in enumerate(versions, 1)}
    result = ("won" if won else "lost") if preference.outcome == "win" else preference.outcome
    return {
        "id": preference.id,
        "result": result,
        "other_id": other_id,
        "other_n": numbers.get(other_id),
        "source": preference.source,
        "explicit": preference.is_explicit,
        "created_at": preference.created_at.isoformat(),
    }


def plain(text: str) -> str:
    """Markdown without its marks, good enough for an excerpt."""
    return _MARKDOWN.sub("", text)


def one_line(text: str, limit: int, query: str = "") -> str:
    """At most `limit` characters of `text` on one line; when a word of `query` stands further back, the part around it."""
    words = [word for word in query.casefold().split() if word]
    start = 0
    if words:
        lowered = text.casefold()
        found = [at for at in (lowered.find(word) for word in words) if at >= 0]
        # casefold may change lengths ("ß"); a slightly shifted excerpt is still the right place.
        if found and min(found) > limit - BEFORE_MATCH_CHARS:
            start = max(0, min(found) - BEFORE_MATCH_CHARS)
    line = _SPACE.sub(" ", text[start : start + limit * 4]).strip()
    cut = len(line) > limit or len(text) > start + limit * 4
    return ("… " if start else "") + (line[:limit].rstrip() + " …" if cut else line)


def _is_set(value: object) -> bool:
    return value is not None and value != "" and value != [] and value != ()


def _time(value: object, name: str) -> datetime | None:
    if not value:
        return None
    try:
        time = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    except ValueError as error:
        raise BadOptionError(f'"{name}" must be a time like 2026-11-03T00:00:00Z.', key="error.time", name=name) from error
    if time.tzinfo is None:
        raise BadOptionError(f'"{name}" must be a time with a time zone.', key="error.time_zone", name=name)
    return time
