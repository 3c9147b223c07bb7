"""Settings: one JSON value for each owner and key. Knows no key's meaning."""

from __future__ import annotations

from typing import Any

from sqlalchemy import insert, select, update

from storage.repositories.rows import Repository
from storage.tables import settings


class SettingRepository(Repository):
    """All settings of all owners; every method sees one owner's."""

    def get(self, owner_id: str, key: str, default: Any = None) -> Any:
        """The value, or `default` when none was set."""
        statement = select(settings.c.value).where(settings.c.owner_id == owner_id, settings.c.key == key)
        row = self._connection.execute(statement).first()
        return default if row is None else row.value

    def set(self, owner_id: str, key: str, json_value: Any) -> None:
        """Keep a value: anything JSON can say."""
        mine = (settings.c.owner_id == owner_id, settings.c.key == key)
        if not self._connection.execute(update(settings).where(*mine).values(value=json_value)).rowcount:
            self._connection.execute(insert(settings).values(owner_id=owner_id, key=key, value=json_value))

    def all(self, owner_id: str) -> dict[str, Any]:
        """All of the owner's values by key."""
        statement = select(settings.c.key, settings.c.value).where(settings.c.owner_id == owner_id).order_by(settings.c.key)
        return {row.key: row.value for row in self._connection.execute(statement)}
