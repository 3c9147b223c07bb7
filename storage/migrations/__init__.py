"""Alembic's revisions. `REVISIONS` lets a start see, without loading alembic, that nothing has to be done."""

from __future__ import annotations

# Oldest first; the last is what this version of the program needs.
REVISIONS = ("0001", "0002", "0003", "0004")
