"""The tables, as SQLAlchemy Core knows them on both databases.

Knows columns, constraints and indexes; knows no query. The migrations create them (a test compares the two). The search index
of Creations is not here: it is a different thing on each database (storage/search.py).
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    Table,
    UniqueConstraint,
    text,
)

from storage.columns import PlainText, Seq, UtcTime, created_at, id_column, metadata, partial_index, seq
from storage.input_tables import creation_inputs as creation_inputs

_LIVE = text("trashed_at IS NULL")
_TRASHED = text("trashed_at IS NOT NULL")
_STATUS = "status IN ('queued', 'running', 'done', 'failed', 'cancelled', 'interrupted')"
_TASK = "task IN ('text', 'image', 'summary')"
_METHOD = "method IN ('sft', 'dpo', 'kto')"
_SPLIT = "split IN ('train', 'held_out')"

conversations = Table(
    "conversations",
    metadata,
    seq(),
    id_column(),
    Column("owner_id", PlainText, nullable=False),
    Column("title", PlainText, nullable=False),
    # No foreign key: head and creation would refer to each other. The repository checks it.
    Column("head_id", PlainText),
    Column("branched_from_id", PlainText),
    Column("system", PlainText, nullable=False),
    created_at(),
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
    seq(),
    id_column(),
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
    created_at(),
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
    partial_index("ix_creations_conversation_id", "conversation_id", where="conversation_id IS NOT NULL"),
    partial_index("ix_creations_context_id", "context_id", where="context_id IS NOT NULL"),
    partial_index("ix_creations_parent_id", "parent_id", where="parent_id IS NOT NULL"),
    partial_index("ix_creations_job_id", "job_id", where="job_id IS NOT NULL"),
    partial_index("ix_creations_unfinished", "status", where="status IN ('queued', 'running')"),
    partial_index("ix_creations_media_name", "media_name", where="media_name IS NOT NULL"),
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
    seq(),
    id_column(),
    Column("creation_id", PlainText, ForeignKey("creations.id", ondelete="RESTRICT"), nullable=False),
    # Of the same creation: filtering 100,000 creations by score is three times as fast with numbers as with ids.
    Column("creation_seq", Seq, ForeignKey("creations.seq", ondelete="RESTRICT"), nullable=False),
    Column("rater_id", PlainText, nullable=False),
    Column("score", Double),
    Column("reasons", JSON, nullable=False),
    Column("comment", PlainText, nullable=False),
    Column("is_current", Boolean, nullable=False),
    created_at(),
    CheckConstraint("score >= -1 AND score <= 1", name="score"),
    partial_index("uq_ratings_current", "rater_id", "creation_id", where="is_current", unique=True),
    partial_index("ix_ratings_score", "rater_id", "score", "creation_seq", where="is_current AND score IS NOT NULL"),
    Index("ix_ratings_creation_id", "creation_id"),
    sqlite_autoincrement=True,
)

preferences = Table(
    "preferences",
    metadata,
    seq(),
    id_column(),
    Column("rater_id", PlainText, nullable=False),
    Column("chosen_id", PlainText, ForeignKey("creations.id", ondelete="RESTRICT"), nullable=False),
    Column("rejected_id", PlainText, ForeignKey("creations.id", ondelete="RESTRICT"), nullable=False),
    Column("outcome", PlainText, nullable=False),
    Column("source", PlainText, nullable=False),
    Column("is_explicit", Boolean, nullable=False),
    Column("is_current", Boolean, nullable=False),
    created_at(),
    # The two ids in order: one current row for each unordered pair.
    Column("pair_low", PlainText, nullable=False),
    Column("pair_high", PlainText, nullable=False),
    CheckConstraint("outcome IN ('win', 'tie', 'both_bad')", name="outcome"),
    CheckConstraint("source IN ('pick', 'arena', 'edit', 'ratings', 'imported')", name="source"),
    CheckConstraint("pair_low < pair_high", name="pair"),
    partial_index("uq_preferences_current", "rater_id", "pair_low", "pair_high", where="is_current", unique=True),
    Index("ix_preferences_chosen_id", "chosen_id"),
    Index("ix_preferences_rejected_id", "rejected_id"),
    sqlite_autoincrement=True,
)

jobs = Table(
    "jobs",
    metadata,
    seq(),
    id_column(),
    Column("owner_id", PlainText, nullable=False),
    Column("kind", PlainText, nullable=False),
    Column("status", PlainText, nullable=False),
    Column("idempotency_key", PlainText),
    Column("request", JSON, nullable=False),
    Column("progress", JSON, nullable=False),
    Column("result", JSON(none_as_null=True)),
    Column("error", PlainText),
    Column("attempts", Integer, nullable=False),
    created_at(),
    Column("started_at", UtcTime),
    Column("finished_at", UtcTime),
    CheckConstraint(_STATUS, name="status"),
    partial_index("uq_jobs_idempotency_key", "owner_id", "idempotency_key", where="idempotency_key IS NOT NULL", unique=True),
    partial_index("ix_jobs_unfinished", "owner_id", "status", where="status IN ('queued', 'running')"),
    sqlite_autoincrement=True,
)

personas = Table(
    "personas",
    metadata,
    seq(),
    id_column(),
    Column("owner_id", PlainText, nullable=False),
    Column("name", PlainText, nullable=False),
    Column("system", PlainText, nullable=False),
    created_at(),
    Index("ix_personas_owner_id", "owner_id"),
    sqlite_autoincrement=True,
)

models = Table(
    "models",
    metadata,
    seq(),
    id_column(),
    Column("owner_id", PlainText, nullable=False),
    Column("name", PlainText, nullable=False),
    Column("task", PlainText, nullable=False),
    Column("source", PlainText, nullable=False),
    Column("config", JSON, nullable=False),
    created_at(),
    Index("ix_models_owner_id", "owner_id"),
    sqlite_autoincrement=True,
)

settings = Table(
    "settings",
    metadata,
    seq(),
    Column("owner_id", PlainText, nullable=False),
    Column("key", PlainText, nullable=False),
    Column("value", JSON, nullable=False),
    UniqueConstraint("owner_id", "key"),
    sqlite_autoincrement=True,
)

datasets = Table(
    "datasets",
    metadata,
    seq(),
    id_column(),
    Column("owner_id", PlainText, nullable=False),
    Column("task", PlainText, nullable=False),
    Column("method", PlainText, nullable=False),
    Column("name", PlainText, nullable=False),
    Column("sha256", PlainText, nullable=False),
    Column("filter", JSON, nullable=False),
    Column("counts", JSON, nullable=False),
    created_at(),
    CheckConstraint(_TASK, name="task"),
    CheckConstraint(_METHOD, name="method"),
    Index("ix_datasets_owner_id_sha256", "owner_id", "sha256"),
    sqlite_autoincrement=True,
)

dataset_rows = Table(
    "dataset_rows",
    metadata,
    seq(),
    Column("dataset_id", PlainText, ForeignKey("datasets.id", ondelete="RESTRICT"), nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("split", PlainText, nullable=False),
    Column("row", JSON, nullable=False),
    CheckConstraint(_SPLIT, name="split"),
    UniqueConstraint("dataset_id", "ordinal"),
    sqlite_autoincrement=True,
)

# No foreign key: a source is a rating, a preference or a Creation, and another rater's is not in a bundle.
dataset_sources = Table(
    "dataset_sources",
    metadata,
    seq(),
    Column("dataset_id", PlainText, ForeignKey("datasets.id", ondelete="RESTRICT"), nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("source_id", PlainText, nullable=False),
    UniqueConstraint("dataset_id", "ordinal", "source_id"),
    Index("ix_dataset_sources_source_id", "source_id"),
    sqlite_autoincrement=True,
)

prompt_splits = Table(
    "prompt_splits",
    metadata,
    seq(),
    Column("owner_id", PlainText, nullable=False),
    Column("task", PlainText, nullable=False),
    Column("prompt_sha256", PlainText, nullable=False),
    Column("split", PlainText, nullable=False),
    CheckConstraint(_TASK, name="task"),
    CheckConstraint(_SPLIT, name="split"),
    UniqueConstraint("owner_id", "task", "prompt_sha256"),
    sqlite_autoincrement=True,
)

run_events = Table(
    "run_events",
    metadata,
    seq(),
    Column("job_id", PlainText, ForeignKey("jobs.id", ondelete="RESTRICT"), nullable=False),
    Column("n", BigInteger, nullable=False),
    Column("kind", PlainText, nullable=False),
    Column("body", JSON, nullable=False),
    UniqueConstraint("job_id", "n"),
    sqlite_autoincrement=True,
)

# A run is a job, and jobs are in backups only: no foreign key to it, here and in matches and promotions.
adapters = Table(
    "adapters",
    metadata,
    seq(),
    id_column(),
    Column("owner_id", PlainText, nullable=False),
    Column("task", PlainText, nullable=False),
    Column("name", PlainText, nullable=False),
    Column("base_model_id", PlainText, nullable=False),
    Column("base_sha256", PlainText, nullable=False),
    Column("run_id", PlainText),
    Column("dataset_id", PlainText, ForeignKey("datasets.id", ondelete="RESTRICT")),
    Column("method", PlainText, nullable=False),
    Column("recipe", PlainText, nullable=False),
    Column("sha256", PlainText, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("metrics", JSON, nullable=False),
    created_at(),
    Column("removed_at", UtcTime),
    CheckConstraint(_TASK, name="task"),
    CheckConstraint(_METHOD, name="method"),
    Index("ix_adapters_owner_id", "owner_id"),
    partial_index("ix_adapters_dataset_id", "dataset_id", where="dataset_id IS NOT NULL"),
    sqlite_autoincrement=True,
)

adapter_marks = Table(
    "adapter_marks",
    metadata,
    seq(),
    Column("adapter_id", PlainText, ForeignKey("adapters.id", ondelete="RESTRICT"), nullable=False),
    Column("source_id", PlainText, nullable=False),
    UniqueConstraint("adapter_id", "source_id"),
    sqlite_autoincrement=True,
)

matches = Table(
    "matches",
    metadata,
    seq(),
    id_column(),
    Column("owner_id", PlainText, nullable=False),
    Column("evaluation_id", PlainText, nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("prompt", PlainText, nullable=False),
    Column("messages", JSON, nullable=False),
    Column("is_held_out", Boolean, nullable=False),
    Column("left_adapter_id", PlainText, nullable=False),
    Column("left_sha256", PlainText, nullable=False),
    Column("left_output", PlainText, nullable=False),
    Column("right_adapter_id", PlainText, nullable=False),
    Column("right_sha256", PlainText, nullable=False),
    Column("right_output", PlainText, nullable=False),
    Column("metrics", JSON, nullable=False),
    created_at(),
    UniqueConstraint("owner_id", "evaluation_id", "ordinal"),
    sqlite_autoincrement=True,
)

votes = Table(
    "votes",
    metadata,
    seq(),
    id_column(),
    Column("match_id", PlainText, ForeignKey("matches.id", ondelete="RESTRICT"), nullable=False),
    Column("rater_id", PlainText, nullable=False),
    Column("choice", PlainText),
    Column("left_sha256", PlainText, nullable=False),
    Column("right_sha256", PlainText, nullable=False),
    Column("is_current", Boolean, nullable=False),
    created_at(),
    CheckConstraint("choice IN ('left', 'right', 'tie', 'bad')", name="choice"),
    partial_index("uq_votes_current", "rater_id", "match_id", where="is_current", unique=True),
    Index("ix_votes_match_id", "match_id"),
    sqlite_autoincrement=True,
)

promotions = Table(
    "promotions",
    metadata,
    seq(),
    id_column(),
    Column("owner_id", PlainText, nullable=False),
    Column("task", PlainText, nullable=False),
    Column("base_model_id", PlainText, nullable=False),
    Column("adapter_id", PlainText, nullable=False),
    Column("previous_id", PlainText, nullable=False),
    Column("evaluation_id", PlainText),
    Column("override", PlainText, nullable=False),
    Column("gate", JSON, nullable=False),
    created_at(),
    CheckConstraint(_TASK, name="task"),
    Index("ix_promotions_owner_id_task_base_model_id_seq", "owner_id", "task", "base_model_id", "seq"),
    sqlite_autoincrement=True,
)
