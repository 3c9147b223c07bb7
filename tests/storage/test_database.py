"""Opening, refusing, migrating and surviving: nothing acknowledged is lost, nothing damaged is replaced."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from storage import schema, search, sqlite
from storage.database import open_database
from storage.errors import (
    DatabaseBusyError,
    DatabaseDamagedError,
    DatabaseNewerError,
    StorageError,
)
from storage.records import CreationFilter
from tests.postgres import PostgresCluster
from tests.storage.child import WRITE_FOR_EVER, make, overwrite_pages, run_python
from tests.storage.filled import fill

ROOT = Path(__file__).parents[2]


def test_new_database_is_ready_and_private(sqlite_path: Path) -> None:
    folder = sqlite_path.parent / "a folder" / "数据"
    database = open_database(f"sqlite:///{folder / 'x %41?#.db'}")
    assert database.dialect == "sqlite" and database.warnings == () and database.check() == () and database.size_bytes() > 0
    with database.read() as uow:
        pragma = lambda name: uow.connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()  # noqa: E731
        assert (pragma("journal_mode"), pragma("synchronous"), pragma("foreign_keys"), pragma("query_only")) == ("wal", 2, 1, 1)
        assert pragma("busy_timeout") == sqlite.BUSY_TIMEOUT_S * 1000
    database.close()
    assert (folder / "x %41?#.db").stat().st_mode & 0o077 == 0
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_sqlite_in_use_is_safe_for_wal() -> None:
    assert sqlite.is_wal_safe(sqlite.driver().sqlite_version_info)


@pytest.mark.parametrize(
    ("version", "safe"),
    [((3, 40, 1), False), ((3, 50, 6), False), ((3, 50, 7), True), ((3, 51, 2), False), ((3, 51, 3), True), ((3, 53, 4), True)],
)
def test_versions_with_the_wal_bug(version: tuple[int, ...], safe: bool) -> None:
    assert sqlite.is_wal_safe(version) is safe


def test_old_sqlite_runs_without_wal_and_says_so(sqlite_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(sqlite_path)
    monkeypatch.setattr(sqlite, "driver", lambda: sqlite3)
    monkeypatch.setattr(sqlite, "is_wal_safe", lambda version: False)
    for path in (sqlite_path, sqlite_path.with_name("new.sqlite3")):
        database = open_database(f"sqlite:///{path}")
        assert len(database.warnings) == 1 and "pysqlite3" in database.warnings[0]
        with database.read() as uow:
            assert uow.connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "delete"
        fill(database, mark="again")
        assert database.check() == ()
        database.close()


def _zero(path: Path) -> None:
    path.write_bytes(b"")


def _bad_header(path: Path) -> None:
    path.write_bytes(b"not a database!!" + path.read_bytes()[16:])


def _text_file(path: Path) -> None:
    path.write_text("hello\n" * 1000)


def _truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 // 4096 * 4096)


def _cut_in_page(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 5000)


def _other_program(path: Path) -> None:
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE mine (a)")
    connection.commit()
    connection.close()


def _header_only(path: Path) -> None:
    os.truncate(path, 16)


@pytest.mark.parametrize(
    "damage",
    [_zero, _bad_header, _text_file, _truncated, _cut_in_page, overwrite_pages, _other_program, _header_only],
)
def test_damaged_file_is_refused_and_left_as_it_is(sqlite_path: Path, damage: Callable[[Path], None]) -> None:
    make(sqlite_path)
    damage(sqlite_path)
    before = sqlite_path.read_bytes()
    for _ in range(2):
        with pytest.raises(DatabaseDamagedError) as caught:
            open_database(f"sqlite:///{sqlite_path}")
        assert str(sqlite_path) in str(caught.value)
    assert sqlite_path.read_bytes() == before


def test_folder_in_the_place_of_the_file_is_refused(sqlite_path: Path) -> None:
    sqlite_path.mkdir()
    with pytest.raises(StorageError):
        open_database(f"sqlite:///{sqlite_path}")


def test_log_without_its_database_is_not_replayed_into_a_new_one(sqlite_path: Path) -> None:
    make(sqlite_path)
    child = run_python(WRITE_FOR_EVER, f"sqlite:///{sqlite_path}")
    assert child.stdout is not None and child.stdout.readline()
    child.kill()
    child.communicate()
    kept = sqlite_path.with_name("kept")
    sqlite_path.rename(kept)
    assert sqlite_path.with_name(sqlite_path.name + "-wal").stat().st_size > 0
    with pytest.raises(DatabaseDamagedError, match="missing"):
        open_database(f"sqlite:///{sqlite_path}")
    assert not sqlite_path.exists()
    kept.rename(sqlite_path)
    open_database(f"sqlite:///{sqlite_path}").close()


def test_newer_database_is_refused_and_left_as_it_is(sqlite_path: Path) -> None:
    make(sqlite_path)
    connection = sqlite.connect(sqlite_path)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.execute("PRAGMA journal_mode=DELETE")
    connection.close()
    before = sqlite_path.read_bytes()
    with pytest.raises(DatabaseNewerError, match="9999"):
        open_database(f"sqlite:///{sqlite_path}")
    assert sqlite_path.read_bytes() == before


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "mysql://x/y", "nonsense", "", "sqlite:///file:x?mode=memory"]
)
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(StorageError):
        open_database(url)


def test_search_index_is_made_anew_when_words_are_cut_differently(sqlite_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(sqlite_path)
    monkeypatch.setattr(search, "WORDS_VERSION", search.WORDS_VERSION + 1)
    monkeypatch.setattr(search, "_normal", lambda body: body.replace("猫", "狗"))
    database = open_database(f"sqlite:///{sqlite_path}")
    with database.read() as uow:
        assert uow.creations.search("owner", "owner", CreationFilter(query="小狗咪")).total == 1
    database.close()


def test_start_of_a_current_database_loads_no_alembic(sqlite_path: Path) -> None:
    make(sqlite_path)
    code = (
        "import sys\nfrom storage.database import open_database\nopen_database(sys.argv[1]).close()\n"
        "print([n for n in ('alembic', 'psycopg', 'sqlalchemy.orm', 'torch', 'engine') if n in sys.modules])"
    )
    assert run_python(code, f"sqlite:///{sqlite_path}").communicate(timeout=60) == ("[]\n", "")


@pytest.mark.postgres
def test_postgres_refuses_what_it_does_not_know(postgres_cluster: PostgresCluster) -> None:
    url = postgres_cluster.create_database()
    database = open_database(url)
    with database.write() as uow:
        uow.connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        uow.commit()
    database.close()
    with pytest.raises(DatabaseNewerError):
        open_database(url)
    foreign = postgres_cluster.create_database()
    database = open_database(foreign)
    with database.write() as uow:
        uow.connection.exec_driver_sql("DROP TABLE alembic_version")
        uow.commit()
    database.close()
    with pytest.raises(DatabaseDamagedError):
        open_database(foreign)
    with pytest.raises(StorageError, match="UTF8"):
        open_database(postgres_cluster.create_database(encoding="LATIN1"))
    with pytest.raises(DatabaseBusyError):
        open_database(url.replace("/t", "/missing"))


def test_copy_of_a_database_in_use_is_whole(sqlite_path: Path, tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{sqlite_path}")
    fill(database)
    child = run_python(WRITE_FOR_EVER, database.url)
    assert child.stdout is not None and child.stdout.readline()
    sqlite.copy(sqlite_path, tmp_path / "copy.sqlite3")
    child.kill()
    child.communicate()
    database.close()
    copy = open_database(f"sqlite:///{tmp_path / 'copy.sqlite3'}")
    assert copy.check() == ()
    with copy.read() as uow:
        assert schema.row_counts(uow.connection)["creations"] >= 4
    copy.close()
