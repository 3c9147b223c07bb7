"""Read a bundle that anybody may have made.

First pass: names, sizes, hashes, and every row, with nothing written. Second pass: files, then rows, in one transaction.
Knows hostile zips: "..", absolute names, links, bombs, duplicate and overlapping members, rows that refer to other people's rows.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Connection, Table, func, select

from storage import bulk, error_map
from storage.bundle_format import FILES, FORMAT_VERSION, MANIFEST, TABLES, from_json, is_backup_only
from storage.database import Database
from storage.errors import BundleError, ConflictError
from storage.files import CHUNK_BYTES, FileStore, is_good_name
from storage.repositories import rows
from storage.tables import conversations, creations, preferences, ratings, settings

MAX_MEMBERS = 1_000_000
# A zip can say a thousand times more than it holds. Ours hold text and pictures: less than a tenth of that.
FREE_BYTES = 256 << 20
MAX_RATIO = 200
MAX_LINE_BYTES = 64 << 20
_ENCRYPTED = 0x1

Row = dict[str, Any]
# Columns that refer to rows of other tables of the bundle, and where those are.
_LINKS = {
    "creations": (("conversation_id", "conversations"), ("context_id", "creations"), ("parent_id", "creations")),
    "ratings": (("creation_id", "creations"),),
    "preferences": (("chosen_id", "creations"), ("rejected_id", "creations")),
}


def read(database: Database, files: FileStore, path: Path, owner_id: str | None) -> dict[str, dict[str, int]]:
    """See storage.bundle.read_bundle."""
    try:
        with zipfile.ZipFile(path) as archive:
            bundle = _checked_bundle(archive, path)
            return _Import(database, files, bundle, owner_id).run()
    except zipfile.BadZipFile as error:
        raise BundleError(f"The file is no bundle, or it is damaged ({error}). Nothing was changed.") from error
    except OSError as error:
        raise error_map.to_storage_error(error) from error


def _checked_bundle(archive: zipfile.ZipFile, path: Path) -> _Bundle:
    """The bundle, all of it read once. Raises BundleError, for whatever zipfile says of a damaged file."""
    try:
        bundle = _Bundle(archive, path.stat().st_size)
        bundle.check_members()
        bundle.check_rows()
    except (zipfile.LargeZipFile, zlib.error, NotImplementedError, EOFError, RuntimeError, ValueError) as error:
        raise BundleError(f"The file is no bundle, or it is damaged ({error}). Nothing was changed.") from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # a member before the beginning of the file
            raise
        raise BundleError("The file is no bundle, or it is damaged. Nothing was changed.") from error
    return bundle


class _Bundle:
    """An open bundle: the manifest, checked members, rows."""

    def __init__(self, archive: zipfile.ZipFile, size_bytes: int) -> None:
        self._archive = archive
        self._infos = _checked_infos(archive, size_bytes)
        self._manifest = self._read_manifest()

    @property
    def members(self) -> dict[str, Any]:
        """The manifest's description of each member."""
        members: dict[str, Any] = self._manifest["members"]
        return members

    @property
    def media(self) -> dict[str, str]:
        """Name of each file in the store → its sha256."""
        return {name.removeprefix(FILES): said["sha256"] for name, said in self.members.items() if name.startswith(FILES)}

    def rows(self, table: Table) -> Iterator[Row]:
        """The table's rows, checked, in their order."""
        name = f"{table.name}.jsonl"
        if name not in self.members:
            return
        with self._archive.open(self._infos[name]) as member:
            for line in _lines(member):
                yield from_json(table, _parsed(line, name))

    def chunks(self, name: str) -> Iterator[bytes]:
        """A file's bytes."""
        with self._archive.open(self._infos[FILES + name]) as member:
            while chunk := member.read(CHUNK_BYTES):
                yield chunk

    def check_members(self) -> None:
        """Raises BundleError unless the zip holds exactly what the manifest says, to the byte."""
        allowed = {f"{name}.jsonl" for name in TABLES}
        for name in self.members:
            if name not in allowed and not (name.startswith(FILES) and is_good_name(name.removeprefix(FILES))):
                raise BundleError(f"The bundle has a member {name!r} that does not belong there. Nothing was changed.")
        if self.members.keys() != self._infos.keys() - {MANIFEST}:
            raise BundleError("The bundle does not hold what its manifest says. Nothing was changed.")
        for name, said in self.members.items():
            digest, size_bytes = hashlib.sha256(), 0
            with self._archive.open(self._infos[name]) as member:
                while chunk := member.read(CHUNK_BYTES):
                    digest.update(chunk)
                    size_bytes += len(chunk)
            if size_bytes != said["size_bytes"] or digest.hexdigest() != said["sha256"]:
                raise BundleError(f"{name} in the bundle is damaged: its checksum is wrong. Nothing was changed.")

    def check_rows(self) -> None:
        """Raises BundleError unless every row is right in itself, no id is there twice, and counts are as said."""
        for name, table in TABLES.items():
            seen: set[str] = set()
            number = 0
            for row in self.rows(table):
                seen.add(_identity(table, row))
                number += 1
            if len(seen) != number:
                raise BundleError(f"The bundle has two rows of {name} with one id. Nothing was changed.")
            if number != self._manifest["counts"].get(name, 0):
                raise BundleError(f"The bundle has not as many rows of {name} as it says. Nothing was changed.")

    def _read_manifest(self) -> dict[str, Any]:
        if MANIFEST not in self._infos:
            raise BundleError("The file is no bundle: it has no manifest.json. Nothing was changed.")
        with self._archive.open(self._infos[MANIFEST]) as member:
            data = member.read(MAX_LINE_BYTES + 1)
        if len(data) > MAX_LINE_BYTES:
            raise BundleError("The bundle's manifest is too long. Nothing was changed.")
        manifest = _parsed(data, MANIFEST)
        if not isinstance(manifest, dict) or not isinstance(manifest.get("format"), int):
            raise BundleError("The bundle's manifest is damaged. Nothing was changed.")
        if manifest["format"] > FORMAT_VERSION:
            raise BundleError("The bundle was made by a newer version of Tastemaker; update it. Nothing was changed.")
        members, counts = manifest.get("members"), manifest.get("counts")
        good = isinstance(members, dict) and isinstance(counts, dict) and all(_is_description(said) for said in members.values())
        if not good:
            raise BundleError("The bundle's manifest is damaged. Nothing was changed.")
        return manifest


class _Import:
    """One reading of a checked bundle into a database and a file store."""

    def __init__(self, database: Database, files: FileStore, bundle: _Bundle, owner_id: str | None) -> None:
        self._database = database
        self._files = files
        self._bundle = bundle
        self._owner_id = owner_id
        self._heads: dict[str, str] = {}  # id of the last creation of each new conversation → owner
        self._counts = {name: {"added": 0, "skipped": 0} for name in (*TABLES, "files")}

    def run(self) -> dict[str, dict[str, int]]:
        """Files first, then rows, so that no row is ever without its file; files are taken back when the rows fail."""
        put: list[str] = []
        try:
            self._put_files(put)
            with self._database.write() as uow:
                for name, table in TABLES.items():
                    if self._owner_id is None or not is_backup_only(name):
                        self._add_table(uow.connection, table)
                self._check_heads(uow.connection)
                uow.commit()
        except BaseException:
            for name in put:
                self._files.delete(name)
            raise
        return self._counts

    def _put_files(self, put: list[str]) -> None:
        for name, sha256 in self._bundle.media.items():
            if self._files.exists(name):
                if self._files.sha256(name) != sha256:
                    raise BundleError(f"A file {name} with other contents is here already. Nothing was changed.")
                self._counts["files"]["skipped"] += 1
                continue
            put.append(name)
            if self._files.put(name, self._bundle.chunks(name)) != sha256:
                raise BundleError(f"{name} in the bundle is damaged. Nothing was changed.")
            self._counts["files"]["added"] += 1

    def _add_table(self, connection: Connection, table: Table) -> None:
        prepare: Callable[[Connection, list[Row]], None] = {
            "conversations": self._prepare_conversations,
            "ratings": _keep_current_ratings,
            "preferences": _keep_current_preferences,
        }.get(table.name, _prepare_nothing)
        counts = self._counts[table.name]
        for batch in rows.batches(self._bundle.rows(table)):
            new = self._new_rows(connection, table, list(batch))
            counts["skipped"] += len(batch) - len(new)
            counts["added"] += len(new)
            self._check_links(connection, table, new)
            prepare(connection, new)
            try:
                if table is creations:
                    self._check_media(new)
                    bulk.add_creations(connection, new)
                elif table is ratings:
                    bulk.add_ratings(connection, new)
                else:
                    bulk.add_rows(connection, table, new)
            except ConflictError as error:
                raise BundleError(f"A row of {table.name} contradicts what is stored ({error}). Nothing was changed.") from error

    def _new_rows(self, connection: Connection, table: Table, batch: list[Row]) -> list[Row]:
        """Those that are not there yet, made the reader's own where that was asked."""
        for row in batch:
            if self._owner_id is not None:
                row["rater_id" if "rater_id" in row else "owner_id"] = self._owner_id
        if table is settings:
            return [row for row in batch if not _has_setting(connection, row)]
        there = _owners(connection, table, [row["id"] for row in batch])
        if self._owner_id is not None and any(owner != self._owner_id for owner in there.values()):
            raise BundleError("The bundle has rows that somebody else has here already. Nothing was changed.")
        return [row for row in batch if row["id"] not in there]

    def _check_links(self, connection: Connection, table: Table, new: list[Row]) -> None:
        """What a row refers to must be here by now, earlier than itself (so that no circle comes in), and of the same owner."""
        for column, to in _LINKS.get(table.name, ()):
            wanted = {row[column] for row in new if row[column] is not None}
            known = _owners(connection, TABLES[to], sorted(wanted))
            if self._owner_id is not None and any(owner != self._owner_id for owner in known.values()):
                raise BundleError(f"A row of {table.name} refers to somebody else's. Nothing was changed.")
            before = set(known)
            for row in new:
                if row[column] is not None and row[column] not in before:
                    raise BundleError(f"A row of {table.name} refers to one that is missing or comes later. Nothing was changed.")
                if to == table.name:
                    before.add(row["id"])

    def _check_heads(self, connection: Connection) -> None:
        """Conversations come before the creations they end with, so these are looked at when all are in."""
        known = _owners(connection, creations, sorted(self._heads))
        for head_id, owner_id in self._heads.items():
            if known.get(head_id) != owner_id:
                raise BundleError("A conversation ends with a missing creation. Nothing was changed.")

    def _check_media(self, new: list[Row]) -> None:
        """A file comes in with its row, or is missing; a row may not point at a file that was here before."""
        media = self._bundle.media
        for row in new:
            name = row["media_name"]
            if name is None:
                continue
            if not is_good_name(name):
                raise BundleError("A creation has a bad file name. Nothing was changed.")
            if name not in media and self._files.exists(name):
                raise BundleError("A creation refers to a file that is not in the bundle. Nothing was changed.")
            if name in media and row["media_sha256"] not in (None, media[name]):
                raise BundleError("A creation and its file have different checksums. Nothing was changed.")

    def _prepare_conversations(self, connection: Connection, new: list[Row]) -> None:
        """The order of use is this database's own: those imported come in the order in which they were changed."""
        newest = connection.execute(select(func.max(conversations.c.used_seq))).scalar() or 0
        self._heads.update({row["head_id"]: row["owner_id"] for row in new if row["head_id"] is not None})
        by_use = sorted(range(len(new)), key=lambda position: (new[position]["updated_at"], position))
        for used, position in enumerate(by_use, newest + 1):
            new[position]["used_seq"] = used


def _prepare_nothing(connection: Connection, new: list[Row]) -> None:
    """Most tables' rows go in as they are."""


def _keep_current_ratings(connection: Connection, new: list[Row]) -> None:
    """What the user thinks here stays in force; an imported rating of the same creation becomes history."""
    ids = sorted({row["creation_id"] for row in new if row["is_current"]})
    statement = select(ratings.c.rater_id, ratings.c.creation_id).where(ratings.c.is_current, ratings.c.creation_id.in_(ids))
    here = {(row.rater_id, row.creation_id) for row in connection.execute(statement)}
    for row in new:
        key = (row["rater_id"], row["creation_id"])
        if row["is_current"] and key in here:
            row["is_current"] = False
        elif row["is_current"]:
            here.add(key)


def _keep_current_preferences(connection: Connection, new: list[Row]) -> None:
    lows = sorted({row["pair_low"] for row in new if row["is_current"]})
    table = preferences.c
    statement = select(table.rater_id, table.pair_low, table.pair_high).where(table.is_current, table.pair_low.in_(lows))
    here = {(row.rater_id, row.pair_low, row.pair_high) for row in connection.execute(statement)}
    for row in new:
        key = (row["rater_id"], row["pair_low"], row["pair_high"])
        if row["is_current"] and key in here:
            row["is_current"] = False
        elif row["is_current"]:
            here.add(key)


def _owners(connection: Connection, table: Table, ids: list[str]) -> dict[str, str]:
    """Id → owner (or rater) of those that are in the database."""
    owner = table.c.owner_id if "owner_id" in table.c else table.c.rater_id
    found: dict[str, str] = {}
    for batch in rows.batches(ids):
        for row in connection.execute(select(table.c.id, owner.label("owner")).where(table.c.id.in_(batch))):
            found[row.id] = row.owner
    return found


def _has_setting(connection: Connection, row: Row) -> bool:
    statement = select(settings.c.seq).where(settings.c.owner_id == row["owner_id"], settings.c.key == row["key"])
    return connection.execute(statement).first() is not None


def _identity(table: Table, row: Row) -> str:
    return f"{row['owner_id']}\0{row['key']}" if table is settings else str(row["id"])


def _checked_infos(archive: zipfile.ZipFile, size_bytes: int) -> dict[str, zipfile.ZipInfo]:
    """Members by name. Raises BundleError for a zip that no honest program makes."""
    infos = archive.infolist()
    if len(infos) > MAX_MEMBERS:
        raise BundleError("The bundle has too many members. Nothing was changed.")
    by_name: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        mode = info.external_attr >> 16
        if info.is_dir() or (stat.S_IFMT(mode) not in (0, stat.S_IFREG)) or info.flag_bits & _ENCRYPTED:
            raise BundleError(f"The bundle has a member {info.filename!r} that is no plain file. Nothing was changed.")
        # The name as it is in the zip: Python shortens one that has a NUL.
        if info.orig_filename != info.filename or info.filename in by_name or "\\" in info.filename:
            raise BundleError(f"The bundle has a bad or doubled name {info.filename!r}. Nothing was changed.")
        by_name[info.filename] = info
    # Members that share their bytes are how a small zip says a lot.
    if sum(info.compress_size for info in infos) > size_bytes:
        raise BundleError("The bundle's members overlap. Nothing was changed.")
    unpacked = sum(info.file_size for info in infos)
    if unpacked > max(FREE_BYTES, MAX_RATIO * size_bytes):
        raise BundleError("The bundle would unpack to far more than it holds. Nothing was changed.")
    return by_name


def _is_description(said: Any) -> bool:
    return isinstance(said, dict) and isinstance(said.get("sha256"), str) and isinstance(said.get("size_bytes"), int)


def _lines(member: IO[bytes]) -> Iterator[bytes]:
    buffered = io.BufferedReader(member, CHUNK_BYTES)  # type: ignore[type-var]
    while line := buffered.readline(MAX_LINE_BYTES + 1):
        if len(line) > MAX_LINE_BYTES:
            raise BundleError("A row of the bundle is too long. Nothing was changed.")
        yield line


def _parsed(data: bytes, name: str) -> Any:
    try:
        return json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{name} in the bundle is damaged. Nothing was changed.") from error
