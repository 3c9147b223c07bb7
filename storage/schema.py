"""Bring a database to the newest revision, in one transaction, without losing a row.

Knows revisions and row counts; alembic is loaded only when there is something to do.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from storage.errors import DatabaseNewerError, StorageError
from storage.migrations import REVISIONS

MIGRATIONS = Path(__file__).parent / "migrations"


def is_current(revision: str) -> bool:
    """Whether a database of this revision can be used as it is. Raises DatabaseNewerError for one that is not known."""
    if revision not in REVISIONS:
        raise DatabaseNewerError(
            f"The database was written by a newer version of Tastemaker (its schema is {revision}, this version knows up to "
            f"{REVISIONS[-1]}). It was left as it is; update Tastemaker."
        )
    return revision == REVISIONS[-1]


def upgrade(connection: Connection) -> None:
    """Migrate inside the transaction that `connection` is in; the caller commits. Raises StorageError when a row was lost."""
    from alembic import command  # half a second that most starts do not need
    from alembic.config import Config

    before = row_counts(connection)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, REVISIONS[-1])
    after = row_counts(connection)
    for table, count in before.items():
        if table != "alembic_version" and after.get(table, 0) < count:
            raise StorageError(f"The migration would have lost rows of {table}; nothing was changed.")
    if connection.dialect.name == "sqlite":
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
        if broken is not None:
            raise StorageError(f"The migration would have broken a link of {broken[0]}; nothing was changed.")


def row_counts(connection: Connection) -> dict[str, int]:
    """Rows of every table but the search index and its shadows."""
    names = [name for name in inspect(connection).get_table_names() if not name.startswith("creation_search")]
    quote = connection.dialect.identifier_preparer.quote
    return {name: connection.execute(text(f"SELECT count(*) FROM {quote(name)}")).scalar_one() for name in names}  # noqa: S608
