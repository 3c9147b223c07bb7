"""What may come in: limits that every text passes. Knows no database, model or page."""
