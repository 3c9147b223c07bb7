"""What all tables are made of: names of constraints, types of columns, and the columns that most tables begin with.

Knows SQLAlchemy Core on both databases; knows no table.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import BigInteger, Column, DateTime, Dialect, Index, Integer, MetaData, Text, text
from sqlalchemy.types import TypeDecorator

from storage.errors import StorageError

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = MetaData(naming_convention=NAMING)


class UtcTime(TypeDecorator[datetime]):
    """A timezone-aware UTC datetime; SQLite keeps it as text without the offset."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("times must carry their time zone")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class PlainText(TypeDecorator[str]):
    """Text without NUL, which PostgreSQL cannot keep: both databases refuse it, so that every row can move between them."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is not None and "\0" in value:
            raise StorageError("The text has a NUL character, which cannot be stored.")
        return value


# Rowid on SQLite must be plain INTEGER.
Seq = BigInteger().with_variant(Integer(), "sqlite")


def partial_index(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    """An index of the rows that `where` is true of, on both databases."""
    clause = text(where)
    return Index(name, *columns, unique=unique, sqlite_where=clause, postgresql_where=clause)


def seq() -> Column[int]:
    """The order of insertion: primary key."""
    return Column("seq", Seq, primary_key=True, autoincrement=True)


def id_column() -> Column[str]:
    """The id that the program knows the row by."""
    return Column("id", PlainText, nullable=False, unique=True)


def created_at() -> Column[datetime]:
    """When the row was made."""
    return Column("created_at", UtcTime, nullable=False)
