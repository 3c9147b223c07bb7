"""Writing with language models: sampling, scheduling, chat formats and backends. Knows no database and no page."""
