"""Learning: datasets with their rows and sources, the split by prompt, events of runs, adapters, matches, votes, promotions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TASK = "task IN ('text', 'image', 'summary')"
_METHOD = "method IN ('sft', 'dpo', 'kto')"
_SPLIT = "split IN ('train', 'held_out')"


def upgrade() -> None:
    """Add the tables; what was there stays as it is."""
    _create_datasets()
    _create_adapters()
    _create_arena()


def _text(*names: str, nullable: bool = False) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text(), nullable=nullable) for name in names]


def _json(*names: str) -> list[sa.Column[object]]:
    return [sa.Column(name, sa.JSON(), nullable=False) for name in names]


def _time(name: str, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _create(name: str, *parts: sa.schema.SchemaItem) -> None:
    """A table with its seq."""
    op.create_table(
        name,
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        *parts,
        sa.PrimaryKeyConstraint("seq", name=f"pk_{name}"),
        sqlite_autoincrement=True,
    )


def _unique(table: str, *columns: str) -> sa.UniqueConstraint:
    return sa.UniqueConstraint(*columns, name=f"uq_{table}_{'_'.join(columns)}")


def _check(table: str, name: str, condition: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(condition, name=f"ck_{table}_{name}")


def _index(name: str, table: str, columns: list[str], where: str | None = None, unique: bool = False) -> None:
    clause = None if where is None else sa.text(where)
    op.create_index(name, table, columns, unique=unique, sqlite_where=clause, postgresql_where=clause)


def _refers(table: str, column: str, to: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{to}.id"], name=f"fk_{table}_{column}_{to}", ondelete="RESTRICT")


def _create_datasets() -> None:
    _create(
        "datasets",
        *_text("id", "owner_id", "task", "method", "name", "sha256"),
        *_json("filter", "counts"),
        _time("created_at"),
        _unique("datasets", "id"),
        _check("datasets", "task", _TASK),
        _check("datasets", "method", _METHOD),
    )
    _index("ix_datasets_owner_id_sha256", "datasets", ["owner_id", "sha256"])
    _create(
        "dataset_rows",
        *_text("dataset_id"),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        *_text("split"),
        *_json("row"),
        _refers("dataset_rows", "dataset_id", "datasets"),
        _check("dataset_rows", "split", _SPLIT),
        _unique("dataset_rows", "dataset_id", "ordinal"),
    )
    _create(
        "dataset_sources",
        *_text("dataset_id"),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        *_text("source_id"),
        _refers("dataset_sources", "dataset_id", "datasets"),
        _unique("dataset_sources", "dataset_id", "ordinal", "source_id"),
    )
    _index("ix_dataset_sources_source_id", "dataset_sources", ["source_id"])
    _create(
        "prompt_splits",
        *_text("owner_id", "task", "prompt_sha256", "split"),
        _check("prompt_splits", "task", _TASK),
        _check("prompt_splits", "split", _SPLIT),
        _unique("prompt_splits", "owner_id", "task", "prompt_sha256"),
    )


def _create_adapters() -> None:
    _create(
        "run_events",
        *_text("job_id"),
        sa.Column("n", sa.BigInteger(), nullable=False),
        *_text("kind"),
        *_json("body"),
        _refers("run_events", "job_id", "jobs"),
        _unique("run_events", "job_id", "n"),
    )
    _create(
        "adapters",
        *_text("id", "owner_id", "task", "name", "base_model_id", "base_sha256"),
        *_text("run_id", "dataset_id", nullable=True),
        *_text("method", "recipe", "sha256"),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        *_json("metrics"),
        _time("created_at"),
        _time("removed_at", nullable=True),
        _unique("adapters", "id"),
        _refers("adapters", "dataset_id", "datasets"),
        _check("adapters", "task", _TASK),
        _check("adapters", "method", _METHOD),
    )
    _index("ix_adapters_owner_id", "adapters", ["owner_id"])
    _index("ix_adapters_dataset_id", "adapters", ["dataset_id"], "dataset_id IS NOT NULL")
    _create(
        "adapter_marks",
        *_text("adapter_id", "source_id"),
        _refers("adapter_marks", "adapter_id", "adapters"),
        _unique("adapter_marks", "adapter_id", "source_id"),
    )


def _create_arena() -> None:
    _create(
        "matches",
        *_text("id", "owner_id", "evaluation_id"),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        *_text("prompt"),
        *_json("messages"),
        sa.Column("is_held_out", sa.Boolean(), nullable=False),
        *_text("left_adapter_id", "left_sha256", "left_output", "right_adapter_id", "right_sha256", "right_output"),
        *_json("metrics"),
        _time("created_at"),
        _unique("matches", "id"),
        _unique("matches", "owner_id", "evaluation_id", "ordinal"),
    )
    _create(
        "votes",
        *_text("id", "match_id", "rater_id"),
        *_text("choice", nullable=True),
        *_text("left_sha256", "right_sha256"),
        sa.Column("is_current", sa.Boolean(), nullable=False),
        _time("created_at"),
        _unique("votes", "id"),
        _refers("votes", "match_id", "matches"),
        _check("votes", "choice", "choice IN ('left', 'right', 'tie', 'bad')"),
    )
    _index("uq_votes_current", "votes", ["rater_id", "match_id"], "is_current", unique=True)
    _index("ix_votes_match_id", "votes", ["match_id"])
    _create(
        "promotions",
        *_text("id", "owner_id", "task", "base_model_id", "adapter_id", "previous_id"),
        *_text("evaluation_id", nullable=True),
        *_text("override"),
        *_json("gate"),
        _time("created_at"),
        _unique("promotions", "id"),
        _check("promotions", "task", _TASK),
    )
    _index("ix_promotions_owner_id_task_base_model_id_seq", "promotions", ["owner_id", "task", "base_model_id", "seq"])
