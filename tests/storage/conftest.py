"""Databases for the storage tests: each test that asks for `database` runs on SQLite and on a real PostgreSQL server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.database import Database, open_database
from tests.postgres import PostgresCluster, running_cluster
from tests.storage.filled import Studio


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[PostgresCluster]:
    """One server for the whole run."""
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Addresses of databases that are not there yet, of one kind."""
    if request.param == "sqlite":
        numbers = iter(range(100))
        return lambda: f"sqlite:///{tmp_path / f'studio {next(numbers)} 库.sqlite3'}"
    cluster: PostgresCluster = request.getfixturevalue("postgres_cluster")
    return cluster.create_database


@pytest.fixture
def database(new_url: Callable[[], str]) -> Iterator[Database]:
    """An empty database."""
    opened = open_database(new_url())
    yield opened
    opened.close()


@pytest.fixture
def sqlite_path(tmp_path: Path) -> Path:
    """Where a SQLite database may be made."""
    return tmp_path / "studio.sqlite3"


@pytest.fixture
def new_studio(new_url: Callable[[], str], tmp_path: Path) -> Any:
    """Makes empty studios on one kind of database, closed at the end."""
    made: list[Studio] = []

    def make() -> Studio:
        made.append(Studio(new_url(), tmp_path / f"studio{len(made)}"))
        return made[-1]

    yield make
    for studio in made:
        studio.database.close()


@pytest.fixture
def studio(tmp_path: Path) -> Any:
    """An empty studio on SQLite."""
    made = Studio(f"sqlite:///{tmp_path / 'studio.sqlite3'}", tmp_path / "studio")
    yield made
    made.database.close()
