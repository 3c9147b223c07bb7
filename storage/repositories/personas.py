"""Personas: system prompts that the user saved under a name."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, insert, select, update

from storage.errors import RecordNotFoundError
from storage.records import PersonaRecord
from storage.repositories import rows
from storage.repositories.rows import Repository
from storage.tables import personas

_CHANGEABLE = frozenset({"name", "system"})


class PersonaRepository(Repository):
    """All personas of all owners; every method sees one owner's."""

    def add(self, owner_id: str, *, name: str, system: str, id: str | None = None) -> PersonaRecord:
        """A new persona."""
        values = {"id": rows.checked_id(id), "owner_id": owner_id, "name": name, "system": system, "created_at": rows.now()}
        return rows.persona(self._connection.execute(insert(personas).values(**values).returning(personas)).one())

    def list(self, owner_id: str) -> tuple[PersonaRecord, ...]:
        """All of the owner's, oldest first."""
        statement = select(personas).where(personas.c.owner_id == owner_id).order_by(personas.c.seq)
        return tuple(rows.persona(row) for row in self._connection.execute(statement))

    def update(self, owner_id: str, id: str, **changes: Any) -> PersonaRecord:
        """Change name or system. Raises RecordNotFoundError."""
        values = rows.checked(changes, _CHANGEABLE, "persona")
        row = self._owned(personas, owner_id, id, "persona")
        if values:
            statement = update(personas).where(personas.c.seq == row.seq).values(**values).returning(personas)
            row = self._connection.execute(statement).one()
        return rows.persona(row)

    def remove(self, owner_id: str, id: str) -> None:
        """Delete it. Raises RecordNotFoundError."""
        statement = delete(personas).where(personas.c.id == id, personas.c.owner_id == owner_id)
        if not self._connection.execute(statement).rowcount:
            raise RecordNotFoundError("persona", id)
