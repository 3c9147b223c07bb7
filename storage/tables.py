"""The tables, as SQLAlchemy Core knows them on both databases.

Knows columns, constraints and indexes; knows no query. The migrations create them (a test compares the two). The search index
of Creations is not here: it is a different thing on each database (storage/search.py).
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.types import TypeDecorator

from storage.errors import StorageError

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = MetaData(naming_convention=NAMING)


class UtcTime(TypeDecorator[datetime]):
    """A timezone-aware UTC datetime; SQLite keeps it as text without the offset."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("times must carry their time zone")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class PlainText(TypeDecorator[str]):
    """Text without NUL, which PostgreSQL cannot keep: both databases refuse it, so that every row can move between them."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is not None and "\0" in value:
            raise StorageError("The text has a NUL character, which cannot be stored.")
        return value


# Rowid on SQLite must be plain INTEGER.
Seq = BigInteger().with_variant(Integer(), "sqlite")
_LIVE = text("trashed_at IS NULL")
_TRASHED = text("trashed_at IS NOT NULL")
_STATUS = "status IN ('queued', 'running', 'done', 'failed', 'cancelled', 'interrupted')"


def _partial(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    clause = text(where)
    return Index(name, *columns, unique=unique, sqlite_where=clause, postgresql_where=clause)


def _seq() -> Column[int]:
    return Column("seq", Seq, primary_key=True, autoincrement=True)


def _id() -> Column[str]:
    return Column("id", PlainText, nullable=False, unique=True)


def _created_at() -> Column[datetime]:
    return Column("created_at", UtcTime, nullable=False)


conversations = Table(
    "conversations",
    metadata,
    _seq(),
    _id(),
    Column("owner_id", PlainText, nullable=False),
    Column("title", PlainText, nullable=False),
    # No foreign key: head and creation would refer to each other. The repository checks it.
    Column("head_id", PlainText),
    Column("branched_from_id", PlainText),
    Column("system", PlainText, nullable=False),
    _created_at(),
    Column("updated_at", UtcTime, nullable=False),
    Column("trashed_at", UtcTime),
    # Grows with every use: "most recently used first" must not depend on the clock.
    Column("used_seq", BigInteger, nullable=False),
    Index("ix_conversations_owner_id_used_seq", "owner_id", "used_seq"),
    Index("ix_conversations_used_seq", "used_seq"),
    sqlite_autoincrement=True,
)

creations = Table(
    "creations",
    metadata,
    _seq(),
    _id(),
    Column("owner_id", PlainText, nullable=False),
    Column("kind", PlainText, nullable=False),
    Column("origin", PlainText, nullable=False),
    Column("conversation_id", PlainText, ForeignKey("conversations.id", ondelete="RESTRICT")),
    Column("context_id", PlainText, ForeignKey("creations.id", ondelete="RESTRICT")),
    Column("turn_id", PlainText, nullable=False),
    Column("parent_id", PlainText, ForeignKey("creations.id", ondelete="RESTRICT")),
    Column("job_id", PlainText),
    Column("prompt", PlainText, nullable=False),
    Column("output", PlainText, nullable=False),
    Column("status", PlainText, nullable=False),
    Column("error", PlainText),
    Column("finish_reason", PlainText),
    Column("model_id", PlainText, nullable=False),
    Column("adapter_id", PlainText, nullable=False),
    Column("seed", BigInteger),
    Column("params", JSON, nullable=False),
    Column("path", JSON, nullable=False),
    Column("prompt_tokens", Integer),
    Column("output_tokens", Integer),
    Column("ttft_s", Double),
    Column("duration_s", Double),
    Column("media_name", PlainText),
    Column("media_sha256", PlainText),
    Column("starred", Boolean, nullable=False),
    _created_at(),
    Column("updated_at", UtcTime, nullable=False),
    Column("trashed_at", UtcTime),
    CheckConstraint("kind IN ('text', 'image', 'summary')", name="kind"),
    CheckConstraint("origin IN ('generated', 'edited', 'imported')", name="origin"),
    CheckConstraint(_STATUS, name="status"),
    # Everything a list filters by, in the order of the list: pages and totals are read from here, never from wide rows.
    Index(
        "ix_creations_library",
        *("owner_id", "seq", "kind", "model_id", "adapter_id", "starred", "created_at", "id"),
        sqlite_where=_LIVE,
        postgresql_where=_LIVE,
    ),
    Index("ix_creations_trash", "owner_id", "seq", sqlite_where=_TRASHED, postgresql_where=_TRASHED),
    Index("ix_creations_turn_id", "turn_id"),
    _partial("ix_creations_conversation_id", "conversation_id", where="conversation_id IS NOT NULL"),
    _partial("ix_creations_context_id", "context_id", where="context_id IS NOT NULL"),
    _partial("ix_creations_parent_id", "parent_id", where="parent_id IS NOT NULL"),
    _partial("ix_creations_job_id", "job_id", where="job_id IS NOT NULL"),
    _partial("ix_creations_unfinished", "status", where="status IN ('queued', 'running')"),
    _partial("ix_creations_media_name", "media_name", where="media_name IS NOT NULL"),
    sqlite_autoincrement=True,
)

creation_tags = Table(
    "creation_tags",
    metadata,
    Column("creation_seq", Seq, ForeignKey("creations.seq", ondelete="RESTRICT"), primary_key=True, autoincrement=False),
    Column("tag", PlainText, primary_key=True),
    Column("owner_id", PlainText, nullable=False),
    Index("ix_creation_tags_owner_id_tag_creation_seq", "owner_id", "tag", "creation_seq"),
)

ratings = Table(
    "ratings",
    metadata,
    _seq(),
    _id(),
    Column("creation_id", PlainText, ForeignKey("creations.id", ondelete="RESTRICT"), nullable=False),
    # Of the same creation: filtering 100,000 creations by score is three times as fast with numbers as with ids.
    Column("creation_seq", Seq, ForeignKey("creations.seq", ondelete="RESTRICT"), nullable=False),
    Column("rater_id", PlainText, nullable=False),
    Column("score", Double),
    Column("reasons", JSON, nullable=False),
    Column("comment", PlainText, nullable=False),
    Column("is_current", Boolean, nullable=False),
    _created_at(),
    CheckConstraint("score >= -1 AND score <= 1", name="score"),
    _partial("uq_ratings_current", "rater_id", "creation_id", where="is_current", unique=True),
    _partial("ix_ratings_score", "rater_id", "score", "creation_seq", where="is_current AND score IS NOT NULL"),
    Index("ix_ratings_creation_id", "creation_id"),
    sqlite_autoincrement=True,
)

preferences = Table(
    "preferences",
    metadata,
    _seq(),
    _id(),
    Column("rater_id", PlainText, nullable=False),
    Column("chosen_id", PlainText, ForeignKey("creations.id", ondelete="RESTRICT"), nullable=False),
    Column("rejected_id", PlainText, ForeignKey("creations.id", ondelete="RESTRICT"), nullable=False),
    Column("outcome", PlainText, nullable=False),
    Column("source", PlainText, nullable=False),
    Column("is_explicit", Boolean, nullable=False),
    Column("is_current", Boolean, nullable=False),
    _created_at(),
    # The two ids in order: one current row for each unordered pair.
    Column("pair_low", PlainText, nullable=False),
    Column("pair_high", PlainText, nullable=False),
    CheckConstraint("outcome IN ('win', 'tie', 'both_bad')", name="outcome"),
    CheckConstraint("source IN ('pick', 'arena', 'edit', 'ratings', 'imported')", name="source"),
    CheckConstraint("pair_low < pair_high", name="pair"),
    _partial("uq_preferences_current", "rater_id", "pair_low", "pair_high", where="is_current", unique=True),
    Index("ix_preferences_chosen_id", "chosen_id"),
    Index("ix_preferences_rejected_id", "rejected_id"),
    sqlite_autoincrement=True,
)

jobs = Table(
    "jobs",
    metadata,
    _seq(),
    _id(),
    Column("owner_id", PlainText, nullable=False),
    Column("kind", PlainText, nullable=False),
    Column("status", PlainText, nullable=False),
    Column("idempotency_key", PlainText),
    Column("request", JSON, nullable=False),
    Column("progress", JSON, nullable=False),
    Column("result", JSON(none_as_null=True)),
    Column("error", PlainText),
    Column("attempts", Integer, nullable=False),
    _created_at(),
    Column("started_at", UtcTime),
    Column("finished_at", UtcTime),
    CheckConstraint(_STATUS, name="status"),
    _partial("uq_jobs_idempotency_key", "owner_id", "idempotency_key", where="idempotency_key IS NOT NULL", unique=True),
    _partial("ix_jobs_unfinished", "owner_id", "status", where="status IN ('queued', 'running')"),
    sqlite_autoincrement=True,
)

personas = Table(
    "personas",
    metadata,
    _seq(),
    _id(),
    Column("owner_id", PlainText, nullable=False),
    Column("name", PlainText, nullable=False),
    Column("system", PlainText, nullable=False),
    _created_at(),
    Index("ix_personas_owner_id", "owner_id"),
    sqlite_autoincrement=True,
)

models = Table(
    "models",
    metadata,
    _seq(),
    _id(),
    Column("owner_id", PlainText, nullable=False),
    Column("name", PlainText, nullable=False),
    Column("task", PlainText, nullable=False),
    Column("source", PlainText, nullable=False),
    Column("config", JSON, nullable=False),
    _created_at(),
    Index("ix_models_owner_id", "owner_id"),
    sqlite_autoincrement=True,
)

settings = Table(
    "settings",
    metadata,
    _seq(),
    Column("owner_id", PlainText, nullable=False),
    Column("key", PlainText, nullable=False),
    Column("value", JSON, nullable=False),
    UniqueConstraint("owner_id", "key"),
    sqlite_autoincrement=True,
)
