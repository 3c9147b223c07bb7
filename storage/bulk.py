"""Many rows at once, for imports and benchmarks: no checks of owners or links but the database's own.

Knows plain rows of the tables; callers have checked what is in them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, insert, select

from storage import search
from storage.repositories import rows
from storage.tables import creation_tags, creations, ratings


def add_rows(connection: Connection, table: Table, values: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows of one table in this order; each has the same columns, without seq."""
    for batch in rows.batches(values):
        connection.execute(insert(table), [dict(row) for row in batch])


def add_creations(connection: Connection, values: Sequence[Mapping[str, Any]]) -> None:
    """Insert Creations in this order, with their tags ("tags": list of text), and index them for search."""
    for batch in rows.batches(values):
        connection.execute(insert(creations), [{name: row[name] for name in row if name != "tags"} for row in batch])
        seqs = _seqs(connection, [row["id"] for row in batch])
        search.put(connection, [(seqs[row["id"]], search.body_of(row["prompt"], row["output"])) for row in batch])
        tags = [
            {"creation_seq": seqs[row["id"]], "tag": tag, "owner_id": row["owner_id"]}
            for row in batch
            for tag in dict.fromkeys(row["tags"])
        ]
        if tags:
            connection.execute(insert(creation_tags), tags)


def add_ratings(connection: Connection, values: Sequence[Mapping[str, Any]]) -> None:
    """Insert ratings in this order, of Creations that are there."""
    for batch in rows.batches(values):
        seqs = _seqs(connection, [row["creation_id"] for row in batch])
        connection.execute(insert(ratings), [{**row, "creation_seq": seqs[row["creation_id"]]} for row in batch])


def _seqs(connection: Connection, ids: Sequence[str]) -> dict[str, int]:
    statement = select(creations.c.id, creations.c.seq).where(creations.c.id.in_(ids))
    return {row.id: row.seq for row in connection.execute(statement)}
