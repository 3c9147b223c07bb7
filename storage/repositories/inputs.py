"""Files that went into a Creation: the picture it started from, the mask, documents. They come with it and never change.

Knows rows; knows no file.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from sqlalchemy import insert, select

from storage.records import InputRecord
from storage.repositories import rows
from storage.repositories.rows import Repository
from storage.tables import creation_inputs, creations


class InputRepository(Repository):
    """All inputs of all owners' Creations."""

    def add(self, owner_id: str, inputs: Iterable[InputRecord]) -> None:
        """New ones. Raises RecordNotFoundError for somebody else's Creation, ConflictError for the same one twice."""
        for one in inputs:
            self._owned(creations, owner_id, one.creation_id, "creation")
            values = {"creation_id": one.creation_id, "role": one.role, "media_name": one.media_name}
            self._connection.execute(insert(creation_inputs).values(**values, media_sha256=one.media_sha256))

    def files(self) -> dict[str, str]:
        """Name → sha256 of every file that any owner's Creation was made from."""
        statement = select(creation_inputs.c.media_name, creation_inputs.c.media_sha256).distinct()
        return {row.media_name: row.media_sha256 for row in self._connection.execute(statement)}

    def of(self, owner_id: str, creation_ids: Iterable[str]) -> dict[str, tuple[InputRecord, ...]]:
        """For each of these Creations its inputs; those without any are left out."""
        found: defaultdict[str, list[InputRecord]] = defaultdict(list)
        for batch in rows.batches(dict.fromkeys(creation_ids)):
            statement = (
                select(creation_inputs)
                .join(creations, creations.c.id == creation_inputs.c.creation_id)
                .where(creation_inputs.c.creation_id.in_(batch), creations.c.owner_id == owner_id)
                .order_by(creation_inputs.c.seq)
            )
            for row in self._connection.execute(statement):
                found[row.creation_id].append(InputRecord(row.creation_id, row.role, row.media_name, row.media_sha256))
        return {creation_id: tuple(inputs) for creation_id, inputs in found.items()}
