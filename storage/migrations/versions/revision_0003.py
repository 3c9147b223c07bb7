"""Pictures that went into a Creation: what it started from, and the mask."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table; what was there stays as it is."""
    op.create_table(
        "creation_inputs",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("creation_id", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("media_name", sa.Text(), nullable=False),
        sa.Column("media_sha256", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_creation_inputs"),
        sa.ForeignKeyConstraint(
            ["creation_id"], ["creations.id"], name="fk_creation_inputs_creation_id_creations", ondelete="RESTRICT"
        ),
        sa.UniqueConstraint("creation_id", "role", name="uq_creation_inputs_creation_id_role"),
        sa.CheckConstraint("role IN ('init', 'mask')", name="ck_creation_inputs_role"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_creation_inputs_media_name", "creation_inputs", ["media_name"])
