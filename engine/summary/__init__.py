"""Summaries: reading documents, choosing and writing sentences, and checking them. Knows no database and no page."""
