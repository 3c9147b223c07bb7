"""The first tables: conversations, creations, ratings, preferences, jobs, personas, models, settings, and the search index."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TSVECTOR

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_STATUS = "status IN ('queued', 'running', 'done', 'failed', 'cancelled', 'interrupted')"
_UNFINISHED = "status IN ('queued', 'running')"


def upgrade() -> None:
    """Create everything."""
    _create_conversations()
    _create_creations()
    _create_creation_indexes()
    _create_feedback()
    _create_jobs()
    _create_lists()
    _create_search()


def _seq_type() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _time(name: str, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _text(*names: str, nullable: bool = False) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text(), nullable=nullable) for name in names]


def _create(name: str, *parts: sa.schema.SchemaItem) -> None:
    """A table with its seq and its unique text id."""
    op.create_table(
        name,
        sa.Column("seq", _seq_type(), autoincrement=True, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        *parts,
        sa.PrimaryKeyConstraint("seq", name=f"pk_{name}"),
        sa.UniqueConstraint("id", name=f"uq_{name}_id"),
        sqlite_autoincrement=True,
    )


def _index(name: str, table: str, columns: list[str], where: str | None = None, unique: bool = False) -> None:
    clause = None if where is None else sa.text(where)
    op.create_index(name, table, columns, unique=unique, sqlite_where=clause, postgresql_where=clause)


def _refers(table: str, column: str, to: str, to_column: str = "id") -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{to}.{to_column}"], name=f"fk_{table}_{column}_{to}", ondelete="RESTRICT")


def _create_conversations() -> None:
    _create(
        "conversations",
        *_text("owner_id", "title"),
        *_text("head_id", "branched_from_id", nullable=True),
        *_text("system"),
        _time("created_at"),
        _time("updated_at"),
        _time("trashed_at", nullable=True),
        sa.Column("used_seq", sa.BigInteger(), nullable=False),
    )
    _index("ix_conversations_owner_id_used_seq", "conversations", ["owner_id", "used_seq"])
    _index("ix_conversations_used_seq", "conversations", ["used_seq"])


def _create_creations() -> None:
    _create(
        "creations",
        *_text("owner_id", "kind", "origin"),
        *_text("conversation_id", "context_id", nullable=True),
        *_text("turn_id"),
        *_text("parent_id", "job_id", nullable=True),
        *_text("prompt", "output", "status"),
        *_text("error", "finish_reason", nullable=True),
        *_text("model_id", "adapter_id"),
        sa.Column("seed", sa.BigInteger()),
        sa.Column("params", sa.JSON(), nullable=False),
        sa.Column("path", sa.JSON(), nullable=False),
        sa.Column("prompt_tokens", sa.Integer()),
        sa.Column("output_tokens", sa.Integer()),
        sa.Column("ttft_s", sa.Double()),
        sa.Column("duration_s", sa.Double()),
        *_text("media_name", "media_sha256", nullable=True),
        sa.Column("starred", sa.Boolean(), nullable=False),
        _time("created_at"),
        _time("updated_at"),
        _time("trashed_at", nullable=True),
        _refers("creations", "conversation_id", "conversations"),
        _refers("creations", "context_id", "creations"),
        _refers("creations", "parent_id", "creations"),
        sa.CheckConstraint("kind IN ('text', 'image', 'summary')", name="ck_creations_kind"),
        sa.CheckConstraint("origin IN ('generated', 'edited', 'imported')", name="ck_creations_origin"),
        sa.CheckConstraint(_STATUS, name="ck_creations_status"),
    )
    op.create_table(
        "creation_tags",
        sa.Column("creation_seq", _seq_type(), autoincrement=False, nullable=False),
        *_text("tag", "owner_id"),
        _refers("creation_tags", "creation_seq", "creations", "seq"),
        sa.PrimaryKeyConstraint("creation_seq", "tag", name="pk_creation_tags"),
    )


def _create_creation_indexes() -> None:
    library = ["owner_id", "seq", "kind", "model_id", "adapter_id", "starred", "created_at", "id"]
    _index("ix_creations_library", "creations", library, "trashed_at IS NULL")
    _index("ix_creations_trash", "creations", ["owner_id", "seq"], "trashed_at IS NOT NULL")
    _index("ix_creations_turn_id", "creations", ["turn_id"])
    for column in ("conversation_id", "context_id", "parent_id", "job_id", "media_name"):
        _index(f"ix_creations_{column}", "creations", [column], f"{column} IS NOT NULL")
    _index("ix_creations_unfinished", "creations", ["status"], _UNFINISHED)
    _index("ix_creation_tags_owner_id_tag_creation_seq", "creation_tags", ["owner_id", "tag", "creation_seq"])


def _create_feedback() -> None:
    _create(
        "ratings",
        *_text("creation_id"),
        sa.Column("creation_seq", _seq_type(), nullable=False),
        *_text("rater_id"),
        sa.Column("score", sa.Double()),
        sa.Column("reasons", sa.JSON(), nullable=False),
        *_text("comment"),
        sa.Column("is_current", sa.Boolean(), nullable=False),
        _time("created_at"),
        _refers("ratings", "creation_id", "creations"),
        _refers("ratings", "creation_seq", "creations", "seq"),
        sa.CheckConstraint("score >= -1 AND score <= 1", name="ck_ratings_score"),
    )
    _index("uq_ratings_current", "ratings", ["rater_id", "creation_id"], "is_current", unique=True)
    _index("ix_ratings_score", "ratings", ["rater_id", "score", "creation_seq"], "is_current AND score IS NOT NULL")
    _index("ix_ratings_creation_id", "ratings", ["creation_id"])
    _create(
        "preferences",
        *_text("rater_id", "chosen_id", "rejected_id", "outcome", "source"),
        sa.Column("is_explicit", sa.Boolean(), nullable=False),
        sa.Column("is_current", sa.Boolean(), nullable=False),
        _time("created_at"),
        *_text("pair_low", "pair_high"),
        _refers("preferences", "chosen_id", "creations"),
        _refers("preferences", "rejected_id", "creations"),
        sa.CheckConstraint("outcome IN ('win', 'tie', 'both_bad')", name="ck_preferences_outcome"),
        sa.CheckConstraint("source IN ('pick', 'arena', 'edit', 'ratings', 'imported')", name="ck_preferences_source"),
        sa.CheckConstraint("pair_low < pair_high", name="ck_preferences_pair"),
    )
    _index("uq_preferences_current", "preferences", ["rater_id", "pair_low", "pair_high"], "is_current", unique=True)
    _index("ix_preferences_chosen_id", "preferences", ["chosen_id"])
    _index("ix_preferences_rejected_id", "preferences", ["rejected_id"])


def _create_jobs() -> None:
    _create(
        "jobs",
        *_text("owner_id", "kind", "status"),
        *_text("idempotency_key", nullable=True),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("progress", sa.JSON(), nullable=False),
        sa.Column("result", sa.JSON(none_as_null=True)),
        *_text("error", nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        _time("created_at"),
        _time("started_at", nullable=True),
        _time("finished_at", nullable=True),
        sa.CheckConstraint(_STATUS, name="ck_jobs_status"),
    )
    _index("uq_jobs_idempotency_key", "jobs", ["owner_id", "idempotency_key"], "idempotency_key IS NOT NULL", unique=True)
    _index("ix_jobs_unfinished", "jobs", ["owner_id", "status"], _UNFINISHED)


def _create_lists() -> None:
    _create("personas", *_text("owner_id", "name", "system"), _time("created_at"))
    _index("ix_personas_owner_id", "personas", ["owner_id"])
    _create(
        "models",
        *_text("owner_id", "name", "task", "source"),
        sa.Column("config", sa.JSON(), nullable=False),
        _time("created_at"),
    )
    _index("ix_models_owner_id", "models", ["owner_id"])
    op.create_table(
        "settings",
        sa.Column("seq", _seq_type(), autoincrement=True, nullable=False),
        *_text("owner_id", "key"),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_settings"),
        sa.UniqueConstraint("owner_id", "key", name="uq_settings_owner_id_key"),
        sqlite_autoincrement=True,
    )


def _create_search() -> None:
    if op.get_context().dialect.name == "sqlite":
        # Words are cut in Python; "ascii" leaves them as they are. No text is kept here: the creations have it.
        op.execute("CREATE VIRTUAL TABLE creation_search USING fts5(body, content='', columnsize=0, tokenize='ascii')")
        return
    op.create_table(
        "creation_search",
        sa.Column("creation_seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("document", TSVECTOR(), nullable=False),
        _refers("creation_search", "creation_seq", "creations", "seq"),
        sa.PrimaryKeyConstraint("creation_seq", name="pk_creation_search"),
    )
    op.create_index("ix_creation_search_document", "creation_search", ["document"], postgresql_using="gin")
