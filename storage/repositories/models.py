"""Models that the user added: local folders and servers. Knows no key: secrets are never in the database."""

from __future__ import annotations

from sqlalchemy import delete, insert, select

from storage.errors import RecordNotFoundError
from storage.records import Json, ModelRecord
from storage.repositories import rows
from storage.repositories.rows import Repository
from storage.tables import models


class ModelRepository(Repository):
    """All added models of all owners; every method sees one owner's."""

    def add(
        self, owner_id: str, *, name: str, task: str, source: str, config: Json | None = None, id: str | None = None
    ) -> ModelRecord:
        """A new model."""
        values = {
            "id": rows.checked_id(id),
            "owner_id": owner_id,
            "name": name,
            "task": task,
            "source": source,
            "config": dict(config or {}),
            "created_at": rows.now(),
        }
        return rows.model(self._connection.execute(insert(models).values(**values).returning(models)).one())

    def get(self, owner_id: str, id: str) -> ModelRecord:
        """The model. Raises RecordNotFoundError."""
        return rows.model(self._owned(models, owner_id, id, "model"))

    def list(self, owner_id: str) -> tuple[ModelRecord, ...]:
        """All of the owner's, oldest first."""
        statement = select(models).where(models.c.owner_id == owner_id).order_by(models.c.seq)
        return tuple(rows.model(row) for row in self._connection.execute(statement))

    def remove(self, owner_id: str, id: str) -> None:
        """Forget it. Raises RecordNotFoundError."""
        statement = delete(models).where(models.c.id == id, models.c.owner_id == owner_id)
        if not self._connection.execute(statement).rowcount:
            raise RecordNotFoundError("model", id)
