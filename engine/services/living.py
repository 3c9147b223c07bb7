"""Which turns of a conversation are there to be seen: its path, with what was put in the trash routed around.

Knows creations' contexts and versions; knows no model and no page. Part of the caller's transaction.
"""

from __future__ import annotations

from engine.services.prompt import ranking_of
from storage.records import ConversationRecord, CreationRecord
from storage.unit_of_work import UnitOfWork


def living_path(uow: UnitOfWork, owner_id: str, head_id: str | None) -> tuple[CreationRecord, ...]:
    """The turns from the first one to the head, none of them trashed; two queries unless something is in the trash.

    Where a version was trashed another version of its turn takes its place, with what follows that; where none is left the
    path ends before it.
    """
    routed: set[str] = set()
    while head_id is not None:
        path = uow.creations.path(owner_id, head_id)
        index = next((index for index, creation in enumerate(path) if creation.trashed_at is not None), None)
        if index is None:
            return path
        turn_id = path[index].turn_id
        versions = uow.creations.versions(owner_id, [turn_id]).get(turn_id, ())
        if not versions or turn_id in routed:
            return path[:index]
        routed.add(turn_id)
        head_id = newest_leaf(uow, owner_id, versions[-1].id)
    return ()


def living_head(uow: UnitOfWork, owner_id: str, conversation: ConversationRecord) -> str | None:
    """What a new turn of this conversation follows; None in an empty one."""
    path = living_path(uow, owner_id, conversation.head_id)
    return path[-1].id if path else None


def newest_leaf(uow: UnitOfWork, owner_id: str, creation_id: str) -> str:
    """Where the conversation goes on from this Creation: its newest descendant; of candidates the picked or best-ranked one."""
    leaf_id = uow.creations.newest_leaf(owner_id, creation_id)
    if leaf_id == creation_id:
        return leaf_id
    leaf = uow.creations.get(owner_id, leaf_id)
    rivals = {version.id for version in candidates_of(uow, owner_id, leaf)}
    picked = [
        choice.chosen_id
        for choice in uow.preferences.current(owner_id, sorted(rivals))
        if choice.source == "pick" and choice.outcome == "win" and {choice.chosen_id, choice.rejected_id} <= rivals
    ]
    if picked:
        return picked[-1]
    ranking = ranking_of((version.id, version.params) for version in candidates_of(uow, owner_id, leaf))
    return ranking[0] if ranking else leaf_id


def candidates_of(uow: UnitOfWork, owner_id: str, creation: CreationRecord) -> tuple[CreationRecord, ...]:
    """The Creations that one click made side by side, this one among them and none of them trashed; () when it was alone."""
    if creation.job_id is None:
        return ()
    versions = uow.creations.versions(owner_id, [creation.turn_id]).get(creation.turn_id, ())
    together = tuple(version for version in versions if version.job_id == creation.job_id)
    return together if len(together) > 1 else ()
