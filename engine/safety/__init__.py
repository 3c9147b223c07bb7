"""The gate for what comes in (texts, pictures) and the labels on what goes out. Knows no database, model or page."""
