"""Read a checked bundle into a database and its files: files first, then rows, in one transaction.

Knows what stays in force here and what may not be touched: rows and files of others. storage/bundle_check.py has distrusted the
bundle before anything is written.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, func, select, tuple_

from storage import bulk, error_map
from storage.bundle_check import OpenBundle, checked_bundle
from storage.bundle_format import ADAPTER_FILES, ADAPTERS, FILES, KEYS, PARTS_OF, TABLES, identity, is_backup_only
from storage.database import Database
from storage.errors import BundleError, ConflictError
from storage.files import FileStore, Stores, is_good_name
from storage.repositories import rows
from storage.tables import conversations, creation_inputs, creations, preferences, promotions, ratings, votes

Row = dict[str, Any]
# Columns that refer to rows of other tables of the bundle, and where those are.
_LINKS = {
    "creations": (("conversation_id", "conversations"), ("context_id", "creations"), ("parent_id", "creations")),
    "ratings": (("creation_id", "creations"),),
    "preferences": (("chosen_id", "creations"), ("rejected_id", "creations")),
    "adapters": (("dataset_id", "datasets"),),
    "votes": (("match_id", "matches"),),
}


def read(database: Database, stores: Stores, path: Path, owner_id: str | None) -> dict[str, dict[str, int]]:
    """See storage.bundle.read_bundle."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _Import(database, stores, checked_bundle(archive, path), owner_id).run()
    except zipfile.BadZipFile as error:
        raise BundleError(f"The file is no bundle, or it is damaged ({error}). Nothing was changed.") from error
    except OSError as error:
        raise error_map.to_storage_error(error) from error


class _Import:
    """One reading of a checked bundle into a database and a file store."""

    def __init__(self, database: Database, stores: Stores, bundle: OpenBundle, owner_id: str | None) -> None:
        self._database = database
        self._stores = stores
        self._bundle = bundle
        self._owner_id = owner_id
        self._heads: dict[str, str] = {}  # id of the last creation of each new conversation → owner
        self._added: dict[str, set[str]] = {name: set() for name in TABLES}
        self._counts = {name: {"added": 0, "skipped": 0} for name in (*TABLES, "files")}

    def run(self) -> dict[str, dict[str, int]]:
        """Files first, then rows, so that no row is ever without its file; files are taken back when the rows fail."""
        put: list[tuple[FileStore, str]] = []
        try:
            self._put_files(FILES, self._stores.media, put)
            self._put_files(ADAPTERS, self._stores.adapters, put, leave=self._adapters_here())
            with self._database.write() as uow:
                for name, table in TABLES.items():
                    if self._owner_id is None or not is_backup_only(name):
                        self._add_table(uow.connection, table)
                self._check_heads(uow.connection)
                uow.commit()
        except BaseException:
            for store, name in reversed(put):
                store.delete(name)
            raise
        return self._counts

    def _adapters_here(self) -> frozenset[str]:
        """Adapters that are here keep the files they have, or have none."""
        with self._database.read() as uow:
            return uow.adapters.ids()

    def _put_files(
        self, prefix: str, store: FileStore, put: list[tuple[FileStore, str]], leave: frozenset[str] = frozenset()
    ) -> None:
        for name, sha256 in self._bundle.files(prefix).items():
            if name.partition("/")[0] in leave:
                self._counts["files"]["skipped"] += 1
                continue
            if store.exists(name):
                if store.sha256(name) != sha256:
                    raise BundleError(f"A file {name} with other contents is here already. Nothing was changed.")
                self._counts["files"]["skipped"] += 1
                continue
            put.append((store, name))
            if store.put(name, self._bundle.chunks(prefix + name)) != sha256:
                raise BundleError(f"{name} in the bundle is damaged. Nothing was changed.")
            self._counts["files"]["added"] += 1

    def _add_table(self, connection: Connection, table: Table) -> None:
        prepare: Callable[[Connection, list[Row]], None] = {
            "conversations": self._prepare_conversations,
            "ratings": _keep_current_ratings,
            "preferences": _keep_current_preferences,
            "votes": _keep_current_votes,
            "adapters": self._check_adapters,
        }.get(table.name, _prepare_nothing)
        counts, added = self._counts[table.name], self._added[table.name]
        decided = self._decided(connection) if table is promotions else frozenset()
        for batch in rows.batches(self._bundle.rows(table)):
            new = self._new_rows(connection, table, list(batch))
            if table is promotions:
                new = [row for row in new if _subject(row) not in decided]
            counts["skipped"] += len(batch) - len(new)
            counts["added"] += len(new)
            self._check_links(connection, table, new)
            prepare(connection, new)
            added.update(row["id"] for row in new if "id" in row)
            try:
                if table in (creations, creation_inputs):
                    self._check_media(new)
                if table is creations:
                    bulk.add_creations(connection, new)
                elif table is ratings:
                    bulk.add_ratings(connection, new)
                else:
                    bulk.add_rows(connection, table, new)
            except ConflictError as error:
                raise BundleError(f"A row of {table.name} contradicts what is stored ({error}). Nothing was changed.") from error

    def _new_rows(self, connection: Connection, table: Table, batch: list[Row]) -> list[Row]:
        """Those that are not there yet, made the reader's own where that was asked."""
        if table.name in PARTS_OF:  # they come with what they are part of
            column, of = PARTS_OF[table.name]
            return [row for row in batch if row[column] in self._added[of]]
        for row in batch:
            if self._owner_id is not None:
                row["rater_id" if "rater_id" in row else "owner_id"] = self._owner_id
        if table.name in KEYS:
            there_already = _keys(connection, table, batch)
            return [row for row in batch if identity(table, row) not in there_already]
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
        media = self._bundle.files(FILES)
        for row in new:
            name = row["media_name"]
            if name is None:
                continue
            if not is_good_name(name):
                raise BundleError("A creation has a bad file name. Nothing was changed.")
            if name not in media and self._stores.media.exists(name):
                raise BundleError("A creation refers to a file that is not in the bundle. Nothing was changed.")
            if name in media and row["media_sha256"] not in (None, media[name]):
                raise BundleError("A creation and its file have different checksums. Nothing was changed.")

    def _check_adapters(self, connection: Connection, new: list[Row]) -> None:
        """As with media: a new adapter brings its files, or has none; it may not take over what lies here."""
        files = self._bundle.files(ADAPTERS)
        for row in new:
            names = [f"{row['id']}/{name}" for name in ADAPTER_FILES]
            if any(name not in files and self._stores.adapters.exists(name) for name in names):
                raise BundleError("An adapter refers to files that are not in the bundle. Nothing was changed.")

    def _decided(self, connection: Connection) -> frozenset[tuple[str, ...]]:
        """What is promoted here stays so: switches of the same owner, task and base model do not come in."""
        table = promotions.c
        found = connection.execute(select(table.owner_id, table.task, table.base_model_id).distinct())
        return frozenset(_subject(dict(row._mapping)) for row in found)

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


def _keep_current_votes(connection: Connection, new: list[Row]) -> None:
    ids = sorted({row["match_id"] for row in new if row["is_current"]})
    statement = select(votes.c.rater_id, votes.c.match_id).where(votes.c.is_current, votes.c.match_id.in_(ids))
    here = {(row.rater_id, row.match_id) for row in connection.execute(statement)}
    for row in new:
        key = (row["rater_id"], row["match_id"])
        if row["is_current"] and key in here:
            row["is_current"] = False
        elif row["is_current"]:
            here.add(key)


def _subject(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (row["owner_id"], row["task"], row["base_model_id"])


def _keys(connection: Connection, table: Table, batch: list[Row]) -> set[str]:
    """The identities of those rows that are in the database."""
    columns = [table.c[name] for name in KEYS[table.name]]
    wanted = [tuple(row[column.name] for column in columns) for row in batch]
    found = connection.execute(select(*columns).where(tuple_(*columns).in_(wanted)))
    return {identity(table, dict(row._mapping)) for row in found}


def _owners(connection: Connection, table: Table, ids: list[str]) -> dict[str, str]:
    """Id → owner (or rater) of those that are in the database."""
    owner = table.c.owner_id if "owner_id" in table.c else table.c.rater_id
    found: dict[str, str] = {}
    for batch in rows.batches(ids):
        for row in connection.execute(select(table.c.id, owner.label("owner")).where(table.c.id.in_(batch))):
            found[row.id] = row.owner
    return found
