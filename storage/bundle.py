"""Bundles: all rows and files of an owner, or of everybody (a backup), in one zip that any version on any database can read.

A zip of manifest.json, one JSONL for each table (rows by seq, without it) and files/…. Nothing in it depends on when or where it
was written, so that export → import into an empty database → export gives the same bytes.
Knows how a bundle is written; storage/bundle_reader.py distrusts and reads it.
"""

from __future__ import annotations

import hashlib
import os
import uuid
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy import Connection, Select, Table, select

from storage import bundle_reader, error_map
from storage.bundle_format import (
    ADAPTER_FILES,
    ADAPTERS,
    FILES,
    FORMAT_VERSION,
    MANIFEST,
    PARTS_OF,
    TABLES,
    is_backup_only,
    to_json,
)
from storage.database import Database
from storage.errors import RecordNotFoundError
from storage.files import CHUNK_BYTES, FileStore, Stores, sync_folder
from storage.repositories import rows
from storage.sqlite import canonical_json
from storage.tables import adapters, creation_inputs, creation_tags, creations

# The oldest a zip can say: no member tells when it was written.
_STAMP = (1980, 1, 1, 0, 0, 0)


@dataclass
class _Member:
    """What the manifest says of one member."""

    sha256: str
    size_bytes: int
    rows: int | None = None

    def as_json(self) -> dict[str, Any]:
        said: dict[str, Any] = {"sha256": self.sha256, "size_bytes": self.size_bytes}
        return said if self.rows is None else {**said, "rows": self.rows}


def write_bundle(
    database: Database, stores: Stores, path: Path, *, owner_id: str | None = None, created_by: str
) -> dict[str, int]:
    """Write all rows of `owner_id`, or of everybody with jobs too (None), and the files they refer to; rows of each table.

    Works beside a running app: everything is of one moment. A file that is missing is named in the manifest and left out.
    `path` is replaced when the bundle is whole and on the disk. Raises DiskFullError, StorageError; then nothing was changed.
    """
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.touch(mode=0o600)
        with database.read() as uow, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            manifest = _write_members(archive, uow.connection, stores, owner_id)
            said = {"format": FORMAT_VERSION, "created_by": created_by, "owner_id": owner_id, **manifest}
            with archive.open(_info(MANIFEST), "w") as member:
                member.write((canonical_json(said) + "\n").encode())
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise error_map.to_storage_error(error) from error
    finally:
        partial.unlink(missing_ok=True)
    counts: dict[str, int] = manifest["counts"]
    return counts


def read_bundle(database: Database, stores: Stores, path: Path, *, owner_id: str | None = None) -> dict[str, dict[str, int]]:
    """Add what a bundle holds, but rows whose id is here; of each table, and "files", how many were {"added", "skipped"}.

    With `owner_id`, everything becomes that owner's, and nothing of anybody else's can be reached; without, owners stay as they
    are (a restore). Everything is checked before the first row is written, and all is written in one transaction.
    Raises BundleError, DiskFullError, StorageError; then nothing was changed.
    """
    return bundle_reader.read(database, stores, path, owner_id)


def _write_members(archive: zipfile.ZipFile, connection: Connection, stores: Stores, owner_id: str | None) -> dict[str, Any]:
    members: dict[str, _Member] = {}
    counts: dict[str, int] = {}
    for name, table in TABLES.items():
        if owner_id is not None and is_backup_only(name):
            continue
        lines = (canonical_json(row).encode() + b"\n" for row in _rows(connection, table, owner_id))
        member = _write_member(archive, f"{name}.jsonl", lines)
        members[f"{name}.jsonl"] = member
        counts[name] = member.rows or 0
    missing: list[str] = []
    wanted: list[tuple[str, FileStore, str]] = [(FILES, stores.media, name) for name in _media_names(connection, owner_id)]
    wanted += [(ADAPTERS, stores.adapters, name) for name in _adapter_files(connection, owner_id)]
    for prefix, store, name in wanted:
        try:
            with store.open(name) as file:
                member = _write_member(archive, prefix + name, _chunks(file))
        except RecordNotFoundError:
            missing.append(name if prefix == FILES else prefix + name)
            continue
        member.rows = None
        members[prefix + name] = member
    described = {name: member.as_json() for name, member in members.items()}
    return {"counts": counts, "members": described, "missing_files": missing}


def _write_member(archive: zipfile.ZipFile, name: str, chunks: Iterable[bytes]) -> _Member:
    digest, size_bytes, number = hashlib.sha256(), 0, 0
    with archive.open(_info(name), "w", force_zip64=True) as member:
        for chunk in chunks:
            digest.update(chunk)
            member.write(chunk)
            size_bytes += len(chunk)
            number += 1
    return _Member(digest.hexdigest(), size_bytes, number)


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(CHUNK_BYTES):
        yield chunk


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _STAMP)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.create_system = 3  # Unix, on every system
    info.external_attr = 0o100600 << 16
    return info


def _rows(connection: Connection, table: Table, owner_id: str | None) -> Iterator[dict[str, Any]]:
    """Rows in the order of seq, as the bundle says them, a few hundred in memory at a time."""
    after = 0
    while True:
        statement = select(table).where(table.c.seq > after).order_by(table.c.seq).limit(rows.IN_BATCH)
        if owner_id is not None:
            statement = _owned_by(statement, table, owner_id)
        found = connection.execute(statement).all()
        tags = _tags(connection, [row.seq for row in found]) if table is creations else {}
        for row in found:
            values = dict(row._mapping)
            if table is creations:
                values["tags"] = sorted(tags.get(row.seq, ()))
            yield to_json(table, values)
        if len(found) < rows.IN_BATCH:
            return
        after = found[-1].seq


def _owned_by(statement: Any, table: Table, owner_id: str) -> Any:
    if "owner_id" in table.c:
        return statement.where(table.c.owner_id == owner_id)
    if table.name in PARTS_OF:
        column, whole = PARTS_OF[table.name]
        return statement.where(table.c[column].in_(_ids_of(TABLES[whole], owner_id)))
    # Ratings, preferences and votes are the rater's; those of others' rows would refer to rows that are not in the bundle.
    statement = statement.where(table.c.rater_id == owner_id)
    links = (("creation_id", "creations"), ("chosen_id", "creations"), ("rejected_id", "creations"), ("match_id", "matches"))
    for column, to in links:
        if column in table.c:
            statement = statement.where(table.c[column].in_(_ids_of(TABLES[to], owner_id)))
    return statement


def _ids_of(table: Table, owner_id: str) -> Select[tuple[str]]:
    return select(table.c.id).where(table.c.owner_id == owner_id)


def _tags(connection: Connection, seqs: list[int]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    statement = select(creation_tags.c.creation_seq, creation_tags.c.tag).where(creation_tags.c.creation_seq.in_(seqs))
    for row in connection.execute(statement):
        found.setdefault(row.creation_seq, []).append(row.tag)
    return found


def _media_names(connection: Connection, owner_id: str | None) -> list[str]:
    """Files that Creations are, and those they were made from."""
    made = select(creations.c.media_name).where(creations.c.media_name.is_not(None))
    used = select(creation_inputs.c.media_name)
    if owner_id is not None:
        made = made.where(creations.c.owner_id == owner_id)
        used = used.where(creation_inputs.c.creation_id.in_(_ids_of(creations, owner_id)))
    return sorted(connection.execute(made.union(used)).scalars())


def _adapter_files(connection: Connection, owner_id: str | None) -> list[str]:
    """Files of the adapters that were not removed: a removed one has none."""
    statement = select(adapters.c.id).where(adapters.c.removed_at.is_(None))
    if owner_id is not None:
        statement = statement.where(adapters.c.owner_id == owner_id)
    return [f"{id}/{name}" for id in sorted(connection.execute(statement).scalars()) for name in ADAPTER_FILES]
