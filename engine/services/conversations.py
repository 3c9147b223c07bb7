"""Conversations: make, find, rename, trash and branch them; read one as turns, flip versions, pick candidates.

Knows storage's tree of Creations and what of it is shown; knows no model and no page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from engine.errors import BadOptionError, BusyError
from engine.jobs.job import FINAL
from engine.safety.limits import QUERY_MAX_CHARS, SYSTEM_MAX_CHARS, TITLE_MAX_CHARS, clean_label, clean_text
from engine.services.edge import storage_errors
from engine.services.living import candidates_of, living_path, newest_leaf
from engine.services.prompt import ranking_of
from storage.database import Database
from storage.records import ConversationRecord, CreationRecord, PersonaRecord, RatingRecord
from storage.unit_of_work import UnitOfWork

PERSONA_NAME_MAX_CHARS = 80
COMPARABLE = ("done", "cancelled")
"""What a pick can beat. An answer that failed or was cut off says nothing about taste."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn as it is shown: a Creation, the other versions of it, and what the owner thinks of them."""

    creation: CreationRecord
    versions: tuple[CreationRecord, ...]
    """All that are not trashed, oldest first, the shown one among them."""
    version_index: int
    ratings: Mapping[str, RatingRecord]
    """Creation id → current rating, for those that have one."""
    candidates: tuple[CreationRecord, ...]
    """Several of one click, none of them picked yet; else ()."""


@dataclass(frozen=True, slots=True)
class Thread:
    """A conversation as it is shown. `active_job_id` is the job that is writing in it, if any."""

    conversation: ConversationRecord
    turns: tuple[Turn, ...]
    active_job_id: str | None


class ConversationService:
    """Every call is one short transaction; ids that are missing or somebody else's raise NotFoundError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @storage_errors()
    def create(self, owner_id: str, system: str = "") -> ConversationRecord:
        """A new, empty conversation; its first prompt gives it a title."""
        system = clean_text(system, max_chars=SYSTEM_MAX_CHARS, what="The system prompt")
        with self._database.write() as uow:
            conversation = uow.conversations.add(owner_id, system=system)
            uow.commit()
        return conversation

    @storage_errors()
    def get(self, owner_id: str, conversation_id: str) -> ConversationRecord:
        """One conversation, trashed or not."""
        with self._database.read() as uow:
            return uow.conversations.get(owner_id, conversation_id)

    @storage_errors()
    def list(self, owner_id: str, query: str = "", trashed: bool = False) -> tuple[ConversationRecord, ...]:
        """The 200 most recently used, newest first; `query` searches titles and texts."""
        query = clean_text(query, max_chars=QUERY_MAX_CHARS, what="The search").strip()
        with self._database.read() as uow:
            return uow.conversations.list(owner_id, query=query, trashed=trashed)

    @storage_errors()
    def rename(self, owner_id: str, conversation_id: str, title: str) -> ConversationRecord:
        """Give it another title. Raises BadOptionError for an empty one."""
        title = clean_label(title, max_chars=TITLE_MAX_CHARS, what="The title")
        if not title:
            raise BadOptionError("A conversation needs a title; nothing was changed.", key="error.title_empty")
        return self._update(owner_id, conversation_id, title=title)

    @storage_errors()
    def set_system(self, owner_id: str, conversation_id: str, system: str) -> ConversationRecord:
        """Change the system prompt of the turns that follow."""
        system = clean_text(system, max_chars=SYSTEM_MAX_CHARS, what="The system prompt")
        return self._update(owner_id, conversation_id, system=system)

    @storage_errors()
    def trash(self, owner_id: str, conversation_id: str) -> ConversationRecord:
        """Move it to the trash. Its Creations stay in the Library."""
        return self._update(owner_id, conversation_id, trashed_at=datetime.now(UTC))

    @storage_errors()
    def restore(self, owner_id: str, conversation_id: str) -> ConversationRecord:
        """Take it out of the trash."""
        return self._update(owner_id, conversation_id, trashed_at=None)

    @storage_errors()
    def branch(self, owner_id: str, conversation_id: str, creation_id: str) -> ConversationRecord:
        """A new conversation that ends at this Creation and shares all rows up to it."""
        with self._database.write() as uow:
            source = uow.conversations.get(owner_id, conversation_id)
            head = uow.creations.get(owner_id, creation_id)
            branch = uow.conversations.add(
                owner_id, title=source.title, system=source.system, head_id=head.id, branched_from_id=source.id
            )
            uow.commit()
        return branch

    @storage_errors()
    def thread(self, owner_id: str, conversation_id: str) -> Thread:
        """The conversation's turns. Half a dozen queries, however long it is."""
        with self._database.read() as uow:
            conversation = uow.conversations.get(owner_id, conversation_id)
            path = living_path(uow, owner_id, conversation.head_id)
            versions = uow.creations.versions(owner_id, [creation.turn_id for creation in path])
            ids = [version.id for group in versions.values() for version in group]
            ratings = {key: rating for key, rating in uow.ratings.current(owner_id, ids).items() if rating.score is not None}
            candidates = _unpicked(uow, owner_id, path[-1], versions[path[-1].turn_id]) if path else ()
            jobs = uow.jobs.active(owner_id, conversation_id=conversation.id, kind="write")
        turns = tuple(_turn(creation, versions[creation.turn_id], ratings, candidates) for creation in path)
        return Thread(conversation, turns, jobs[-1].id if jobs else None)

    @storage_errors()
    def show_version(self, owner_id: str, conversation_id: str, creation_id: str) -> ConversationRecord:
        """Show this version of its turn, and what followed it when it was last shown."""
        with self._database.write() as uow:
            leaf_id = newest_leaf(uow, owner_id, uow.creations.get(owner_id, creation_id).id)
            conversation = uow.conversations.update(owner_id, conversation_id, head_id=leaf_id)
            uow.commit()
        return conversation

    @storage_errors()
    def pick(self, owner_id: str, conversation_id: str, creation_id: str) -> tuple[str, ...]:
        """This candidate is better than the others made with it: ids of the preferences; the conversation goes on from it.

        Raises BadOptionError when it was made alone, BusyError while one of them is still being written.
        """
        with self._database.write() as uow:
            chosen = uow.creations.get(owner_id, creation_id)
            together = candidates_of(uow, owner_id, chosen)
            if not together:
                raise BadOptionError("There is nothing to pick from: this was made alone.", key="error.pick_alone")
            if any(candidate.status not in FINAL for candidate in together):
                raise BusyError("The candidates are still being written; wait or stop them first.", key="error.still_writing")
            beaten = [c for c in together if c.id != chosen.id and c.status in COMPARABLE and c.output.strip()]
            ids = tuple(
                uow.preferences.set(owner_id, chosen.id, other.id, source="pick", is_explicit=True).id for other in beaten
            )
            uow.adapters.refresh_marks(owner_id, [chosen.id])
            uow.conversations.update(owner_id, conversation_id, head_id=chosen.id)
            uow.commit()
        return ids

    @storage_errors()
    def delete_turn(self, owner_id: str, conversation_id: str, creation_id: str) -> ConversationRecord:
        """Put this version in the trash. Its neighbour is shown instead, or, when it was the last, the turn before it."""
        with self._database.write() as uow:
            conversation = uow.conversations.get(owner_id, conversation_id)
            creation = uow.creations.get(owner_id, creation_id)
            if creation.status not in FINAL:
                raise BusyError("This answer is still being written; wait or stop it first.", key="error.still_writing")
            shown = living_path(uow, owner_id, conversation.head_id)
            versions = uow.creations.versions(owner_id, [creation.turn_id]).get(creation.turn_id, ())
            uow.creations.trash(owner_id, [creation.id])
            uow.adapters.refresh_marks(owner_id, [creation.id])
            if creation.id in {turn.id for turn in shown}:
                head_id = _next_to(uow, owner_id, creation, versions)
                conversation = uow.conversations.update(owner_id, conversation.id, head_id=head_id)
            uow.commit()
        return conversation

    @storage_errors()
    def undelete_turn(self, owner_id: str, conversation_id: str, creation_id: str) -> ConversationRecord:
        """Take it out of the trash and show it again with what followed it."""
        with self._database.write() as uow:
            uow.creations.untrash(owner_id, [uow.creations.get(owner_id, creation_id).id])
            uow.adapters.refresh_marks(owner_id, [creation_id])
            leaf_id = newest_leaf(uow, owner_id, creation_id)
            conversation = uow.conversations.update(owner_id, conversation_id, head_id=leaf_id)
            uow.commit()
        return conversation

    @storage_errors()
    def personas(self, owner_id: str) -> tuple[PersonaRecord, ...]:
        """The system prompts the owner saved, oldest first."""
        with self._database.read() as uow:
            return uow.personas.list(owner_id)

    @storage_errors()
    def save_persona(self, owner_id: str, name: str, system: str) -> PersonaRecord:
        """Save a system prompt under a name; the same name again replaces it. Raises BadOptionError for an empty one."""
        name = clean_label(name, max_chars=PERSONA_NAME_MAX_CHARS, what="The name")
        system = clean_text(system, max_chars=SYSTEM_MAX_CHARS, what="The system prompt")
        if not name or not system.strip():
            raise BadOptionError("A persona needs a name and a system prompt; nothing was saved.", key="error.persona_empty")
        with self._database.write() as uow:
            same = next((persona for persona in uow.personas.list(owner_id) if persona.name == name), None)
            if same is None:
                persona = uow.personas.add(owner_id, name=name, system=system)
            else:
                persona = uow.personas.update(owner_id, same.id, system=system)
            uow.commit()
        return persona

    @storage_errors()
    def remove_persona(self, owner_id: str, persona_id: str) -> None:
        """Delete it; conversations keep the text they were given."""
        with self._database.write() as uow:
            uow.personas.remove(owner_id, persona_id)
            uow.commit()

    def _update(self, owner_id: str, conversation_id: str, **changes: object) -> ConversationRecord:
        with self._database.write() as uow:
            conversation = uow.conversations.update(owner_id, conversation_id, **changes)
            uow.commit()
        return conversation


def _turn(
    creation: CreationRecord,
    versions: Sequence[CreationRecord],
    ratings: Mapping[str, RatingRecord],
    candidates: tuple[CreationRecord, ...],
) -> Turn:
    ids = [version.id for version in versions]
    return Turn(
        creation=creation,
        versions=tuple(versions),
        version_index=ids.index(creation.id),
        ratings={key: ratings[key] for key in ids if key in ratings},
        candidates=candidates if creation.id in {candidate.id for candidate in candidates} else (),
    )


def _unpicked(
    uow: UnitOfWork, owner_id: str, last: CreationRecord, versions: Sequence[CreationRecord]
) -> tuple[CreationRecord, ...]:
    """Candidates wait for a pick only in the last turn: going on from one of them was a choice too."""
    if last.job_id is None:
        return ()
    together = tuple(version for version in versions if version.job_id == last.job_id)
    ids = {version.id for version in together}
    if len(together) < 2 or _has_follower(versions, ids):
        return ()
    choices = uow.preferences.current(owner_id, sorted(ids))
    is_picked = any(choice.source == "pick" and {choice.chosen_id, choice.rejected_id} <= ids for choice in choices)
    if is_picked:
        return ()
    ranking = ranking_of((version.id, version.params) for version in together)
    return tuple(sorted(together, key=lambda version: ranking.index(version.id))) if len(ranking) == len(together) else together


def _has_follower(versions: Sequence[CreationRecord], ids: set[str]) -> bool:
    """Whether one of them was regenerated, edited or continued: a version made from it is shown beside it as usual."""
    return any(version.parent_id in ids for version in versions)


def _next_to(uow: UnitOfWork, owner_id: str, gone: CreationRecord, versions: Sequence[CreationRecord]) -> str | None:
    """Where the conversation ends now that a version of a turn is gone."""
    ids = [version.id for version in versions]
    others = [version_id for version_id in ids if version_id != gone.id]
    if others:
        index = max(0, ids.index(gone.id) - 1) if gone.id in ids else 0
        return newest_leaf(uow, owner_id, others[min(index, len(others) - 1)])
    return gone.context_id
