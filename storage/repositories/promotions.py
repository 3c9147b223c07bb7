"""Promotions: the log of what "promoted" meant, and means. Knows rows; does not judge a gate."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, insert, select

from storage.records import Json, Kind, PromotionRecord
from storage.repositories import rows
from storage.repositories.rows import Repository
from storage.tables import promotions


class PromotionRepository(Repository):
    """All promotions of all owners; every method sees one owner's. Nothing is ever changed."""

    def add(
        self,
        owner_id: str,
        *,
        task: Kind,
        base_model_id: str,
        adapter_id: str,
        previous_id: str,
        evaluation_id: str | None = None,
        override: str = "",
        gate: Json | None = None,
    ) -> PromotionRecord:
        """From now on `adapter_id` (an adapter or BASE) is what "promoted" means for this task and base model."""
        values = {
            "id": rows.new_id(),
            "owner_id": owner_id,
            "task": task,
            "base_model_id": base_model_id,
            "adapter_id": adapter_id,
            "previous_id": previous_id,
            "evaluation_id": evaluation_id,
            "override": override,
            "gate": dict(gate or {}),
            "created_at": rows.now(),
        }
        return _record(self._connection.execute(insert(promotions).values(**values).returning(promotions)).one())

    def current(self, owner_id: str, task: Kind, base_model_id: str) -> PromotionRecord | None:
        """The newest of this task and base model; None = nothing was ever promoted, which means BASE."""
        mine = (promotions.c.owner_id == owner_id, promotions.c.task == task, promotions.c.base_model_id == base_model_id)
        row = self._connection.execute(select(promotions).where(*mine).order_by(promotions.c.seq.desc()).limit(1)).first()
        return None if row is None else _record(row)

    def history(self, owner_id: str, task: Kind | None = None) -> tuple[PromotionRecord, ...]:
        """All of the owner's, of one task if given, newest first."""
        statement = select(promotions).where(promotions.c.owner_id == owner_id).order_by(promotions.c.seq.desc())
        if task is not None:
            statement = statement.where(promotions.c.task == task)
        return tuple(_record(row) for row in self._connection.execute(statement))


def _record(row: Row[Any]) -> PromotionRecord:
    return PromotionRecord(**row._mapping)
