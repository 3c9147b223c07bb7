"""How good summaries and their checks are, on documents written for it."""
