"""PostgreSQL through psycopg 3: engines, the first look at a database, and a copy before a migration.

Knows sessions, isolation and locks; knows no table but alembic's. One writer at a time, as on SQLite: each writing transaction
takes the same advisory lock, so that reading a row and writing it back never loses another's update.
"""

from __future__ import annotations

import os
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import URL, Connection, Engine, NullPool, QueuePool, create_engine, event, inspect

from storage import error_map, schema
from storage.errors import DatabaseDamagedError, StorageError
from storage.sqlite import canonical_json

# "TSTM", as in SQLite's application_id.
WRITER_LOCK = 0x5453544D
_CONNECT_TIMEOUT_S = 10
_LOCK_TIMEOUT_MS = 30_000
_READERS_KEPT, _READERS_MORE = 4, 60

Role = Literal["read", "write", "migrate"]


def open_engines(url: URL, backup_dir: Path | None) -> tuple[Engine, Engine]:
    """Engines to write and to read, after the schema was made or migrated.

    Raises DatabaseDamagedError, DatabaseNewerError, DatabaseBusyError, StorageError.
    """
    address = url.set(drivername="postgresql+psycopg")
    migrating = engine(address, "migrate")
    try:
        with migrating.connect() as connection, connection.begin():
            _prepare(connection, backup_dir)
    finally:
        migrating.dispose()
    return engine(address, "write"), engine(address, "read")


def engine(address: URL, role: Role) -> Engine:
    """An engine of one role; "read" sees one moment for each transaction and cannot change anything."""
    options: dict[str, Any] = {"poolclass": NullPool}
    if role == "write":
        options = {"poolclass": QueuePool, "pool_size": 1, "max_overflow": 0, "pool_pre_ping": True}
    if role == "read":
        options = {"poolclass": QueuePool, "pool_size": _READERS_KEPT, "max_overflow": _READERS_MORE, "pool_pre_ping": True}
        options |= {"isolation_level": "REPEATABLE READ", "execution_options": {"postgresql_readonly": True}}
    made = create_engine(
        address,
        connect_args={"connect_timeout": _CONNECT_TIMEOUT_S, "options": f"-c timezone=UTC -c lock_timeout={_LOCK_TIMEOUT_MS}"},
        json_serializer=canonical_json,
        **options,
    )
    error_map.listen(made)
    if role != "read":

        def on_begin(connection: Connection) -> None:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITER_LOCK})")

        event.listen(made, "begin", on_begin)
    return made


def _prepare(connection: Connection, backup_dir: Path | None) -> None:
    """Make or migrate the schema. The writer's lock is held, so a second process waits here and then finds it done."""
    encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
    if encoding != "UTF8":
        raise StorageError(f"The PostgreSQL database must be in UTF8; this one is in {encoding}.")
    tables = set(inspect(connection).get_table_names())
    if "alembic_version" not in tables:
        if tables & {"conversations", "creations", "ratings", "jobs"}:
            raise DatabaseDamagedError("The PostgreSQL database has tables like ours but no version. It was left as it is.")
        schema.upgrade(connection)
        return
    row = connection.exec_driver_sql("SELECT version_num FROM alembic_version").first()
    if row is None:
        raise DatabaseDamagedError("The PostgreSQL database has no version. It was left as it is; restore a backup.")
    if schema.is_current(str(row[0])):
        return
    if backup_dir is not None:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
        copy_tables(connection, backup_dir / f"postgresql-schema{row[0]}-{stamp}.zip")
    schema.upgrade(connection)


def copy_tables(connection: Connection, target: Path) -> None:
    """All rows of all tables as CSV in a zip (COPY … FROM … WITH (FORMAT csv, HEADER) reads them back)."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.tmp")
    quote = connection.dialect.identifier_preparer.quote
    try:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in sorted(inspect(connection).get_table_names()):
                # The driver's own cursor: SQLAlchemy has no COPY.
                cursor = connection.connection.cursor()
                with archive.open(f"{name}.csv", "w", force_zip64=True) as member:
                    with cursor.copy(f"COPY {quote(name)} TO STDOUT WITH (FORMAT csv, HEADER)") as rows:
                        for chunk in rows:
                            member.write(chunk)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(target)
    except OSError as error:
        raise error_map.to_storage_error(error) from error
    finally:
        partial.unlink(missing_ok=True)
