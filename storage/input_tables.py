"""The table of files that went into a Creation. Part of storage/tables.py, which is what everybody imports.

Knows columns and constraints; knows no query.
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Table, UniqueConstraint

from storage.columns import PlainText, metadata, seq

creation_inputs = Table(
    "creation_inputs",
    metadata,
    seq(),
    Column("creation_id", PlainText, ForeignKey("creations.id", ondelete="RESTRICT"), nullable=False),
    Column("role", PlainText, nullable=False),
    # Of a file in the same store as the Creations' own: another Creation's, or one that is named by its content.
    Column("media_name", PlainText, nullable=False),
    Column("media_sha256", PlainText, nullable=False),
    CheckConstraint("role IN ('init', 'mask', 'document')", name="role"),
    UniqueConstraint("creation_id", "role", "media_name"),
    Index("ix_creation_inputs_media_name", "media_name"),
    sqlite_autoincrement=True,
)
