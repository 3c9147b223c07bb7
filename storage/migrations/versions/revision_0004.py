"""Documents that went into a Creation: as many as were summarised, where pictures have one of a role."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Allow the role, and several files of it; what was there stays as it is."""
    with op.batch_alter_table("creation_inputs", table_kwargs={"sqlite_autoincrement": True}) as table:
        table.drop_constraint("ck_creation_inputs_role", type_="check")
        table.create_check_constraint("ck_creation_inputs_role", "role IN ('init', 'mask', 'document')")
        table.drop_constraint("uq_creation_inputs_creation_id_role", type_="unique")
        table.create_unique_constraint("uq_creation_inputs_creation_id_role_media_name", ["creation_id", "role", "media_name"])
