"""Conversations: the paths through the tree of Creations that a user gave a name.

Knows titles, heads and the order of use; knows nothing of what a model answers.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, insert, or_, select, update

from storage import search
from storage.errors import RecordNotFoundError
from storage.records import ConversationRecord
from storage.repositories import rows
from storage.repositories.rows import Repository
from storage.tables import conversations, creations

_CHANGEABLE = frozenset({"title", "system", "head_id", "trashed_at"})


class ConversationRepository(Repository):
    """All conversations of all owners; every method sees one owner's."""

    def add(
        self,
        owner_id: str,
        *,
        title: str = "",
        system: str = "",
        head_id: str | None = None,
        branched_from_id: str | None = None,
        id: str | None = None,
    ) -> ConversationRecord:
        """A new conversation. Raises RecordNotFoundError when `head_id` is no Creation of this owner."""
        self._check_head(owner_id, head_id)
        time = rows.now()
        statement = (
            insert(conversations)
            .values(
                id=rows.checked_id(id),
                owner_id=owner_id,
                title=title,
                system=system,
                head_id=head_id,
                branched_from_id=branched_from_id,
                created_at=time,
                updated_at=time,
                used_seq=self._next_use(),
            )
            .returning(conversations)
        )
        return rows.conversation(self._connection.execute(statement).one())

    def get(self, owner_id: str, id: str) -> ConversationRecord:
        """The conversation. Raises RecordNotFoundError."""
        return rows.conversation(self._owned(conversations, owner_id, id, "conversation"))

    def update(self, owner_id: str, id: str, **changes: Any) -> ConversationRecord:
        """Change title, system, head_id or trashed_at; it becomes the most recently used. Raises RecordNotFoundError."""
        values = rows.checked(changes, _CHANGEABLE, "conversation")
        self._check_head(owner_id, values.get("head_id"))
        statement = (
            update(conversations)
            .where(conversations.c.id == id, conversations.c.owner_id == owner_id)
            .values(**values, updated_at=rows.now(), used_seq=self._next_use())
            .returning(conversations)
        )
        row = self._connection.execute(statement).first()
        if row is None:
            raise RecordNotFoundError("conversation", id)
        return rows.conversation(row)

    def list(
        self, owner_id: str, *, query: str = "", trashed: bool = False, limit: int = 200, offset: int = 0
    ) -> tuple[ConversationRecord, ...]:
        """Most recently used first. `query` searches the title and the text of the conversation's Creations."""
        table = conversations
        statement = select(table).where(table.c.owner_id == owner_id)
        statement = statement.where(table.c.trashed_at.is_not(None) if trashed else table.c.trashed_at.is_(None))
        asked = query.replace("\0", " ").strip()
        if asked:
            hits = table.c.title.icontains(asked, autoescape=True)
            matching = search.matching(self._connection, query)
            if matching is not None:
                in_text = select(creations.c.conversation_id).where(
                    creations.c.seq.in_(matching), creations.c.owner_id == owner_id, creations.c.trashed_at.is_(None)
                )
                hits = or_(hits, table.c.id.in_(in_text))
            statement = statement.where(hits)
        statement = statement.order_by(table.c.used_seq.desc()).limit(limit).offset(offset)
        return tuple(rows.conversation(row) for row in self._connection.execute(statement))

    def _next_use(self) -> int:
        newest = self._connection.execute(select(func.max(conversations.c.used_seq))).scalar()
        return (newest or 0) + 1

    def _check_head(self, owner_id: str, head_id: str | None) -> None:
        if head_id is None:
            return
        found = select(creations.c.seq).where(creations.c.id == head_id, creations.c.owner_id == owner_id)
        if self._connection.execute(found).first() is None:
            raise RecordNotFoundError("creation", head_id)
