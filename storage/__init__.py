"""Rows and files. Knows SQLAlchemy; knows no torch, no model and no page."""
