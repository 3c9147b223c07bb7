"""Creations: write them, change them, walk their tree. Lists and filters are in storage/repositories/library.py.

Knows rows, tags and the search index; knows nothing of how a Creation is made.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, func, insert, literal, select, update

from storage import search
from storage.errors import RecordNotFoundError
from storage.records import CreationRecord, Kind
from storage.repositories import rows
from storage.repositories.library import LibraryQueries
from storage.tables import conversations, creation_inputs, creation_tags, creations

_DEFAULTS: dict[str, Any] = {
    "origin": "generated",
    "conversation_id": None,
    "context_id": None,
    "parent_id": None,
    "job_id": None,
    "output": "",
    "status": "queued",
    "error": None,
    "finish_reason": None,
    "adapter_id": "base",
    "seed": None,
    "params": {},
    "path": {},
    "prompt_tokens": None,
    "output_tokens": None,
    "ttft_s": None,
    "duration_s": None,
    "media_name": None,
    "media_sha256": None,
    "starred": False,
    "trashed_at": None,
}
_ADDABLE = frozenset(_DEFAULTS) | {"created_at", "updated_at", "tags"}
_CHANGEABLE = frozenset(_DEFAULTS) - {"context_id", "parent_id"} | {"prompt", "model_id"}
_SEARCHED = frozenset({"prompt", "output"})
# No conversation is longer; a bound keeps a damaged tree from running for ever.
_MAX_DEPTH = 100_000


class CreationRepository(LibraryQueries):
    """All Creations of all owners; every method sees one owner's."""

    def add(
        self,
        owner_id: str,
        *,
        kind: Kind,
        prompt: str,
        model_id: str,
        id: str | None = None,
        turn_id: str | None = None,
        **fields: Any,
    ) -> CreationRecord:
        """A new Creation; any other field of CreationRecord but `seq` may be given. Without `turn_id` it is its own turn.

        Raises RecordNotFoundError when the conversation, context or parent is not one of this owner's.
        """
        given = rows.checked(fields, _ADDABLE, "creation")
        tags = tuple(given.pop("tags", ()))
        time = rows.now()
        creation_id = rows.checked_id(id)
        values = {
            **_DEFAULTS,
            "id": creation_id,
            "owner_id": owner_id,
            "kind": kind,
            "prompt": prompt,
            "model_id": model_id,
            "turn_id": turn_id or creation_id,
            "created_at": time,
            "updated_at": time,
            **given,
        }
        self._check_links(owner_id, values)
        row = self._connection.execute(insert(creations).values(**values).returning(creations)).one()
        search.put(self._connection, [(row.seq, search.body_of(row.prompt, row.output))])
        if tags:
            self._add_tags(owner_id, [row.seq], tags)
        return rows.creation(row, tags)

    def get(self, owner_id: str, id: str) -> CreationRecord:
        """The Creation, trashed or not. Raises RecordNotFoundError."""
        return self._records([self._owned(creations, owner_id, id, "creation")])[0]

    def get_many(self, owner_id: str, ids: Iterable[str]) -> tuple[CreationRecord, ...]:
        """The Creations with these ids, in this order; those that are missing or somebody else's are left out."""
        wanted = list(ids)
        found: list[Row[Any]] = []
        for batch in rows.batches(dict.fromkeys(wanted)):
            statement = select(creations).where(creations.c.id.in_(batch), creations.c.owner_id == owner_id)
            found.extend(self._connection.execute(statement))
        by_id = {record.id: record for record in self._records(found)}
        return tuple(by_id[id] for id in wanted if id in by_id)

    def update(self, owner_id: str, id: str, **changes: Any) -> CreationRecord:
        """Change fields (not id, owner, turn, context, parent, tags). Raises RecordNotFoundError."""
        values = rows.checked(changes, _CHANGEABLE, "creation")
        self._check_links(owner_id, values)
        old = self._owned(creations, owner_id, id, "creation")
        statement = (
            update(creations).where(creations.c.seq == old.seq).values(**values, updated_at=rows.now()).returning(creations)
        )
        row = self._connection.execute(statement).one()
        old_body, body = search.body_of(old.prompt, old.output), search.body_of(row.prompt, row.output)
        if _SEARCHED & values.keys() and body != old_body:
            search.replace(self._connection, row.seq, old_body=old_body, body=body)
        return self._records([row])[0]

    def path(self, owner_id: str, head_id: str) -> tuple[CreationRecord, ...]:
        """The Creations from the first turn to `head_id`, along context_id. Raises RecordNotFoundError."""
        walk = (
            select(creations.c.seq, creations.c.context_id, literal(0).label("depth"))
            .where(creations.c.id == head_id, creations.c.owner_id == owner_id)
            .cte("walk", recursive=True)
        )
        older = creations.alias("older")
        walk = walk.union_all(
            select(older.c.seq, older.c.context_id, walk.c.depth + 1)
            .join(walk, older.c.id == walk.c.context_id)
            .where(older.c.owner_id == owner_id, walk.c.depth < _MAX_DEPTH)
        )
        statement = select(creations).join(walk, walk.c.seq == creations.c.seq).order_by(walk.c.depth.desc())
        found = self._connection.execute(statement).all()
        if not found:
            raise RecordNotFoundError("creation", head_id)
        return tuple(self._records(found))

    def versions(self, owner_id: str, turn_ids: Iterable[str]) -> dict[str, tuple[CreationRecord, ...]]:
        """For each turn its versions that are not trashed, oldest first; a turn without any is left out."""
        found: list[Row[Any]] = []
        for batch in rows.batches(dict.fromkeys(turn_ids)):
            statement = (
                select(creations)
                .where(creations.c.turn_id.in_(batch), creations.c.owner_id == owner_id, creations.c.trashed_at.is_(None))
                .order_by(creations.c.seq)
            )
            found.extend(self._connection.execute(statement))
        turns: defaultdict[str, list[CreationRecord]] = defaultdict(list)
        for record in self._records(found):
            turns[record.turn_id].append(record)
        return {turn_id: tuple(records) for turn_id, records in turns.items()}

    def newest_leaf(self, owner_id: str, creation_id: str) -> str:
        """Id of the newest Creation that follows this one, itself or further on, and is not trashed; else its own id."""
        start = self._owned(creations, owner_id, creation_id, "creation")
        walk = select(creations.c.id, creations.c.seq).where(creations.c.seq == start.seq).cte("walk", recursive=True)
        later = creations.alias("later")
        walk = walk.union(
            select(later.c.id, later.c.seq)
            .join(walk, later.c.context_id == walk.c.id)
            .where(later.c.owner_id == owner_id, later.c.trashed_at.is_(None))
        )
        leaf: str = self._connection.execute(select(walk.c.id).order_by(walk.c.seq.desc()).limit(1)).scalar_one()
        return leaf

    def trash(self, owner_id: str, ids: Iterable[str]) -> int:
        """Move to the trash; the number that were not there."""
        return self._change(owner_id, ids, creations.c.trashed_at.is_(None), trashed_at=rows.now())

    def untrash(self, owner_id: str, ids: Iterable[str]) -> int:
        """Take out of the trash; the number that were there."""
        return self._change(owner_id, ids, creations.c.trashed_at.is_not(None), trashed_at=None)

    def star(self, owner_id: str, ids: Iterable[str], on: bool) -> int:
        """Set or remove the star; the number that changed."""
        return self._change(owner_id, ids, creations.c.starred.is_(not on), starred=on)

    def tag(self, owner_id: str, ids: Iterable[str], add: Iterable[str] = (), remove: Iterable[str] = ()) -> int:
        """Add and remove tags; the number of Creations that changed."""
        to_add, to_remove = tuple(dict.fromkeys(add)), tuple(dict.fromkeys(remove))
        changed: set[int] = set()
        for batch in rows.batches(dict.fromkeys(ids)):
            statement = select(creations.c.seq).where(creations.c.id.in_(batch), creations.c.owner_id == owner_id)
            seqs = list(self._connection.execute(statement).scalars())
            if to_remove:
                gone = delete(creation_tags).where(creation_tags.c.creation_seq.in_(seqs), creation_tags.c.tag.in_(to_remove))
                changed.update(self._connection.execute(gone.returning(creation_tags.c.creation_seq)).scalars())
            changed.update(self._add_tags(owner_id, seqs, to_add))
        for seqs_changed in rows.batches(sorted(changed)):
            self._connection.execute(update(creations).where(creations.c.seq.in_(seqs_changed)).values(updated_at=rows.now()))
        return len(changed)

    def media_names(self) -> frozenset[str]:
        """Names of all files that any owner's Creation is or was made from: what a sweep of the files must keep."""
        made = select(creations.c.media_name).where(creations.c.media_name.is_not(None))
        return frozenset(self._connection.execute(made.union(select(creation_inputs.c.media_name))).scalars())

    def interrupt_unfinished(self) -> int:
        """Every owner's queued and running Creations become interrupted; what they have written so far stays."""
        statement = (
            update(creations)
            .where(creations.c.status.in_(("queued", "running")))
            .values(status="interrupted", updated_at=rows.now())
        )
        return self._connection.execute(statement).rowcount

    def _change(self, owner_id: str, ids: Iterable[str], condition: Any, **values: datetime | bool | None) -> int:
        total = 0
        for batch in rows.batches(dict.fromkeys(ids)):
            statement = update(creations).where(creations.c.id.in_(batch), creations.c.owner_id == owner_id, condition)
            total += self._connection.execute(statement.values(**values, updated_at=rows.now())).rowcount
        return total

    def _add_tags(self, owner_id: str, seqs: Sequence[int], tags: Iterable[str]) -> set[int]:
        """Add tags that are not there; the seqs that got one."""
        wanted = {(seq, tag) for seq in seqs for tag in tags}
        if not wanted:
            return set()
        there = select(creation_tags.c.creation_seq, creation_tags.c.tag).where(creation_tags.c.creation_seq.in_(seqs))
        missing = sorted(wanted - {(row.creation_seq, row.tag) for row in self._connection.execute(there)})
        if missing:
            values = [{"creation_seq": seq, "tag": tag, "owner_id": owner_id} for seq, tag in missing]
            self._connection.execute(insert(creation_tags), values)
        return {seq for seq, _ in missing}

    def _check_links(self, owner_id: str, values: dict[str, Any]) -> None:
        """A Creation may hang only on what is its owner's."""
        wanted = {values[name] for name in ("context_id", "parent_id") if values.get(name) is not None}
        if wanted:
            statement = select(func.count()).where(creations.c.id.in_(wanted), creations.c.owner_id == owner_id)
            if self._connection.execute(statement).scalar() != len(wanted):
                raise RecordNotFoundError("creation")
        if values.get("conversation_id") is not None:
            self._owned(conversations, owner_id, values["conversation_id"], "conversation")
