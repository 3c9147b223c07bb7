"""What a bundle looks like: its members, and rows as JSON.

Knows the names, order and types of what is in a bundle; opens no file and no database.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Boolean, Double, Integer, Table

from storage.columns import PlainText, UtcTime
from storage.errors import BundleError
from storage.repositories.rows import is_good_id
from storage.tables import (
    adapter_marks,
    adapters,
    conversations,
    creation_inputs,
    creations,
    dataset_rows,
    dataset_sources,
    datasets,
    jobs,
    matches,
    models,
    personas,
    preferences,
    promotions,
    prompt_splits,
    ratings,
    run_events,
    settings,
    votes,
)

# 2: datasets, adapters, matches, promotions; 3: inputs of Creations; 4: documents among them. An older one has none of these.
FORMAT_VERSION = 4
MANIFEST = "manifest.json"
FILES = "files/"
ADAPTERS = "adapters/"
WEIGHTS = "adapter_model.safetensors"
# Of each adapter, in the order in which they are put down: with its manifest an adapter is complete.
ADAPTER_FILES = ("adapter_config.json", WEIGHTS, "manifest.json")
# In the order in which rows may refer to earlier ones.
TABLES: dict[str, Table] = {
    "conversations": conversations,
    "creations": creations,
    "creation_inputs": creation_inputs,
    "ratings": ratings,
    "preferences": preferences,
    "jobs": jobs,
    "personas": personas,
    "models": models,
    "settings": settings,
    "datasets": datasets,
    "dataset_rows": dataset_rows,
    "dataset_sources": dataset_sources,
    "prompt_splits": prompt_splits,
    "run_events": run_events,
    "adapters": adapters,
    "adapter_marks": adapter_marks,
    "matches": matches,
    "votes": votes,
    "promotions": promotions,
}
# Rows that are part of another row, by the column that names it: they come and go with it, and have no id of their own.
PARTS_OF: dict[str, tuple[str, str]] = {
    "creation_inputs": ("creation_id", "creations"),
    "dataset_rows": ("dataset_id", "datasets"),
    "dataset_sources": ("dataset_id", "datasets"),
    "run_events": ("job_id", "jobs"),
    "adapter_marks": ("adapter_id", "adapters"),
}
# What tells rows without an id apart.
KEYS: dict[str, tuple[str, ...]] = {
    "creation_inputs": ("creation_id", "role", "media_name"),
    "settings": ("owner_id", "key"),
    "prompt_splits": ("owner_id", "task", "prompt_sha256"),
    "dataset_rows": ("dataset_id", "ordinal"),
    "dataset_sources": ("dataset_id", "ordinal", "source_id"),
    "run_events": ("job_id", "n"),
    "adapter_marks": ("adapter_id", "source_id"),
}
# Made anew by whoever reads: order of insertion, order of use, and what follows from other columns.
_NOT_KEPT = frozenset({"seq", "used_seq", "creation_seq", "pair_low", "pair_high"})
_INTEGER_BOUND = {True: 2**63, False: 2**31}
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def is_backup_only(table_name: str) -> bool:
    """Whether the table is in bundles of everybody only: another studio does not run these jobs."""
    return table_name in ("jobs", "run_events")


def identity(table: Table, row: dict[str, Any]) -> str:
    """Text that no other row of the table has."""
    return "\0".join(str(row[name]) for name in KEYS.get(table.name, ("id",)))


def to_json(table: Table, values: dict[str, Any]) -> dict[str, Any]:
    """A row as the bundle says it."""
    said = {name: value for name, value in values.items() if name not in _NOT_KEPT}
    for name, value in said.items():
        if isinstance(value, datetime):
            said[name] = value.astimezone(UTC).isoformat(timespec="microseconds")
    return said


def from_json(table: Table, said: Any) -> dict[str, Any]:
    """A row of a bundle, checked: exactly the columns of the table, each of its type. Raises BundleError."""
    if not isinstance(said, dict):
        raise BundleError(f"A row of {table.name} is no object.")
    columns = {column.name: column for column in table.columns if column.name not in _NOT_KEPT}
    expected = columns.keys() | ({"tags"} if table is creations else set())
    if said.keys() != expected:
        wrong = sorted(str(name) for name in said.keys() ^ expected)
        raise BundleError(f"A row of {table.name} has not the fields of this version: {wrong[0]!r}.")
    values: dict[str, Any] = {}
    for name, column in columns.items():
        value = said[name]
        if value is None and column.nullable:
            values[name] = None
        else:
            values[name] = _checked(table.name, name, column.type, value)
    if table is creations:
        tags = said["tags"]
        if not isinstance(tags, list) or not all(isinstance(tag, str) and tag and _is_storable(tag) for tag in tags):
            raise BundleError("A row of creations has bad tags.")
        values["tags"] = tags
    if table is preferences:
        values["pair_low"], values["pair_high"] = sorted((values["chosen_id"], values["rejected_id"]))
    return values


def _checked(table_name: str, name: str, kind: Any, value: Any) -> Any:
    for known, check in _CHECKS:
        if isinstance(kind, known):
            good, checked = check(name, kind, value)
            if good:
                return checked
            break
    raise BundleError(f"A row of {table_name} has a bad {name}.")


def _check_time(name: str, kind: Any, value: Any) -> tuple[bool, Any]:
    if not isinstance(value, str):
        return False, None
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        return False, None
    return time.tzinfo is not None, time


def _check_text(name: str, kind: Any, value: Any) -> tuple[bool, Any]:
    good = isinstance(value, str) and _is_storable(value) and (name != "id" or is_good_id(value))
    return good, value


def _check_flag(name: str, kind: Any, value: Any) -> tuple[bool, Any]:
    return isinstance(value, bool), value


def _check_integer(name: str, kind: Any, value: Any) -> tuple[bool, Any]:
    bound = _INTEGER_BOUND[isinstance(kind, BigInteger)]
    return isinstance(value, int) and not isinstance(value, bool) and -bound <= value < bound, value


def _check_number(name: str, kind: Any, value: Any) -> tuple[bool, Any]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False, None
    return abs(value) < 1e300 and math.isfinite(value), float(value)


def _check_json(name: str, kind: Any, value: Any) -> tuple[bool, Any]:
    wanted: Any = list if name in ("reasons", "messages") else object if name in ("value", "result") else dict
    good = isinstance(value, wanted) and _is_storable_json(value)
    if name == "reasons":
        good = good and all(isinstance(reason, str) for reason in value)
    return good, value


# BigInteger is an Integer, and UtcTime decorates: the order matters.
_CHECKS: tuple[tuple[type[Any], Callable[[str, Any, Any], tuple[bool, Any]]], ...] = (
    (UtcTime, _check_time),
    (JSON, _check_json),
    (Boolean, _check_flag),
    (Integer, _check_integer),
    (Double, _check_number),
    (PlainText, _check_text),
)


def _is_storable(value: str) -> bool:
    """The tables keep no NUL, and no database keeps half a character."""
    return "\0" not in value and _LONE_SURROGATE.search(value) is None


def _is_storable_json(value: Any) -> bool:
    if isinstance(value, str):
        return _LONE_SURROGATE.search(value) is None
    if isinstance(value, dict):
        return all(_is_storable_json(key) and _is_storable_json(part) for key, part in value.items())
    if isinstance(value, list):
        return all(_is_storable_json(part) for part in value)
    return not isinstance(value, float) or math.isfinite(value)
