"""The Library: find, open, star, tag, trash and restore what was made.

Knows storage's records; knows no model and no page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from engine.errors import BadOptionError, NotFoundError
from engine.safety.limits import MAX_TAGS, QUERY_MAX_CHARS, TAG_MAX_CHARS, clean_ids, clean_labels, clean_text
from engine.services.edge import NOTHING_HERE, storage_errors
from storage.database import Database
from storage.files import FileStore
from storage.records import CreationFilter, CreationRecord, Json, Page, PreferenceRecord, RatingRecord

PAGE_SIZE = 50
_FILTER_FIELDS: dict[str, tuple[str, type | tuple[type, ...]]] = {
    "query": ("query", str),
    "kind": ("kind", str),
    "model": ("model_id", str),
    "adapter": ("adapter_id", str),
    "min_score": ("min_score", (int, float)),
    "max_score": ("max_score", (int, float)),
    "rated": ("rated", bool),
    "starred": ("starred", bool),
    "tag": ("tag", str),
    "from": ("created_from", str),
    "to": ("created_to", str),
}  # fmt: skip
"""A filter in JSON: its names, the fields of CreationFilter, and the types. Times are ISO 8601 with a zone."""


@dataclass(frozen=True, slots=True)
class Detail:
    """One Creation with everything known about it: all versions of its turn, the rater's ratings and preferences."""

    creation: CreationRecord
    versions: tuple[CreationRecord, ...]
    rating: RatingRecord | None
    rating_history: tuple[RatingRecord, ...]
    preferences: tuple[PreferenceRecord, ...]


class LibraryService:
    """Reads and marks Creations of one owner, with the scores of one rater."""

    def __init__(self, database: Database, files: FileStore) -> None:
        self._database = database
        self._files = files

    @storage_errors()
    def search(self, owner_id: str, rater_id: str, filter: CreationFilter | None = None, *, page: int = 1) -> Page:
        """Return page `page` (from 1, PAGE_SIZE items) of the Creations that pass `filter`, newest first.

        Any text is a query: quotes and operators in it are searched for, not obeyed. Raises BadOptionError, TooLongError.
        """
        if not isinstance(page, int) or isinstance(page, bool) or not 1 <= page <= 1_000_000:
            raise BadOptionError("Pages are counted from 1.", key="error.page")
        wanted = clean_filter(filter or CreationFilter())
        with self._database.read() as uow:
            return uow.creations.search(owner_id, rater_id, wanted, page=page, page_size=PAGE_SIZE)

    @storage_errors()
    def get(self, owner_id: str, rater_id: str, creation_id: str) -> Detail:
        """Return one Creation, trashed or not. Raises NotFoundError."""
        with self._database.read() as uow:
            creation = uow.creations.get(owner_id, creation_id)
            rating = uow.ratings.current(rater_id, [creation.id]).get(creation.id)
            return Detail(
                creation=creation,
                versions=tuple(uow.creations.versions(owner_id, [creation.turn_id]).get(creation.turn_id, ())),
                rating=rating if rating is not None and rating.score is not None else None,
                rating_history=tuple(uow.ratings.history(rater_id, creation.id)),
                preferences=tuple(uow.preferences.current(rater_id, [creation.id])),
            )

    @storage_errors()
    def star(self, owner_id: str, creation_ids: Sequence[str], on: bool = True) -> int:
        """Star (or unstar) Creations; ids that are not this owner's are left alone. Returns how many changed."""
        ids = clean_ids(creation_ids)
        with self._database.write() as uow:
            changed = uow.creations.star(owner_id, ids, bool(on))
            uow.commit()
        return changed

    @storage_errors()
    def tag(self, owner_id: str, creation_ids: Sequence[str], add: Sequence[str] = (), remove: Sequence[str] = ()) -> int:
        """Add and remove tags; a tag is one line of up to 60 characters. Returns how many Creations changed."""
        ids = clean_ids(creation_ids)
        added = clean_labels(add, max_chars=TAG_MAX_CHARS, max_count=MAX_TAGS, what="Tags")
        removed = clean_labels(remove, max_chars=TAG_MAX_CHARS, max_count=MAX_TAGS, what="Tags")
        with self._database.write() as uow:
            changed = uow.creations.tag(owner_id, ids, add=added, remove=removed)
            uow.commit()
        return changed

    @storage_errors()
    def trash(self, owner_id: str, creation_ids: Sequence[str]) -> int:
        """Move Creations to the trash, where they stay until restored; adapters that learned from them are marked.

        Returns how many changed.
        """
        ids = clean_ids(creation_ids)
        with self._database.write() as uow:
            changed = uow.creations.trash(owner_id, ids)
            uow.adapters.refresh_marks(owner_id, ids)
            uow.commit()
        return changed

    @storage_errors()
    def restore(self, owner_id: str, creation_ids: Sequence[str]) -> int:
        """Take Creations out of the trash, and their marks off adapters. Returns how many changed."""
        ids = clean_ids(creation_ids)
        with self._database.write() as uow:
            changed = uow.creations.untrash(owner_id, ids)
            uow.adapters.refresh_marks(owner_id, ids)
            uow.commit()
        return changed

    @storage_errors()
    def media_path(self, owner_id: str, creation_id: str) -> Path:
        """Return the file of a Creation that has one. Raises NotFoundError (missing, foreign and text look alike)."""
        with self._database.read() as uow:
            name = uow.creations.get(owner_id, creation_id).media_name
        path = self._files.path(name) if name else None
        if path is None or not path.is_file():
            raise NotFoundError(NOTHING_HERE, key="error.not_found")
        return path

    @storage_errors()
    def facets(self, owner_id: str) -> Json:
        """Return what the filters can offer: {"models", "adapters", "tags"}."""
        with self._database.read() as uow:
            return uow.creations.facets(owner_id)


def filter_from_json(value: object) -> CreationFilter:
    """Build a filter from {query, kind, model, adapter, min_score, max_score, rated, starred, tag, from, to} or null.

    Keys may be missing or null. Raises BadOptionError that names an unknown or bad one.
    """
    if value is not None and not isinstance(value, Mapping):
        raise BadOptionError("A filter must be one JSON object or null.", key="error.options_object")
    fields: dict[str, Any] = {}
    for name, given in (value or {}).items():
        if name not in _FILTER_FIELDS:
            raise BadOptionError(f'Unknown option: "{name}".', key="error.option_unknown", names=f'"{name}"')
        field, kind = _FILTER_FIELDS[name]
        if given is None:
            continue
        if not isinstance(given, kind) or (isinstance(given, bool) and kind is not bool):
            raise BadOptionError(f'Filter "{name}" has the wrong type.', key="error.filter_type", name=name)
        fields[field] = _time(name, str(given)) if name in ("from", "to") else given
    if fields.get("kind", "text") not in ("text", "image", "summary"):
        raise BadOptionError('"kind" must be text, image or summary.', key="error.kind")
    return clean_filter(CreationFilter(**fields))


def _time(name: str, text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise BadOptionError(f'"{name}" must be a time with a time zone.', key="error.time_zone", name=name) from error


def clean_filter(filter: CreationFilter) -> CreationFilter:
    """Return the filter with its texts cleaned. Raises BadOptionError for an impossible score range or times without a zone."""
    for name in ("min_score", "max_score"):
        value = getattr(filter, name)
        if value is not None and (not isinstance(value, (int, float)) or isinstance(value, bool) or not -1 <= value <= 1):
            raise BadOptionError(f'"{name}" must be a number from -1 to 1.', key="error.option_range", name=name, low=-1, high=1)
    for name in ("created_from", "created_to"):
        value = getattr(filter, name)
        if value is not None and value.tzinfo is None:
            raise BadOptionError(f'"{name}" must be a time with a time zone.', key="error.time_zone", name=name)
    return replace(filter, query=clean_text(filter.query, max_chars=QUERY_MAX_CHARS, what="The search").strip())
