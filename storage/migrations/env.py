"""Run by alembic: migrates over the connection that storage/schema.py opened, inside the transaction it began."""

from __future__ import annotations

from alembic import context

from storage.columns import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
context.run_migrations()
