"""Judging what models write: readable features, the taste model, metrics and win rates. Knows no database and no page."""
