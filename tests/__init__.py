"""Tests mirror the tree; `python -m tests.check` runs every check."""
