"""Migrations: the tables are what the code thinks, no row is lost, nothing is ever half done."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from storage import postgres, schema, sqlite
from storage.columns import metadata
from storage.database import Database, open_database
from storage.errors import StorageError
from storage.migrations import REVISIONS
from tests.postgres import PostgresCluster
from tests.storage.filled import fill, fill_learning

ROOT = Path(__file__).parents[2]

# Rebuilds the table that all others refer to, which is where rows were lost in other programs.
NEXT_REVISION = """
import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade():
    with op.batch_alter_table("creations", recreate="auto") as batch:
        batch.add_column(sa.Column("mood", sa.Text()))
        batch.alter_column("error", new_column_name="failure")
    {then}
"""


def differences(database: Database) -> list[Any]:
    """What alembic would change to make the database what storage/tables.py says; the search index is not there."""
    with database.read() as uow:
        context = MigrationContext.configure(uow.connection, opts={"include_object": _is_ours, "compare_type": True})
        return list(compare_metadata(context, metadata))


def _is_ours(thing: Any, name: str | None, kind: str, reflected: bool, compare_to: Any) -> bool:
    table = name if kind == "table" else thing.table.name
    return not str(table).startswith("creation_search")


def test_migrated_tables_are_those_of_the_code(database: Database) -> None:
    assert differences(database) == []
    with database.read() as uow:
        reflected = {name for name in schema.row_counts(uow.connection) if name != "alembic_version"}
    assert reflected == set(metadata.tables)


def test_constraints_have_names_and_checks_hold_on_both(database: Database) -> None:
    """The conventions name them; the same names were written out in the revision."""
    made = {index.name for table in metadata.tables.values() for index in table.indexes}
    with database.read() as uow:
        if database.dialect == "sqlite":
            text = "\n".join(row[0] or "" for row in uow.connection.exec_driver_sql("SELECT sql FROM sqlite_master"))
        else:
            names = "SELECT conname FROM pg_constraint UNION SELECT indexname FROM pg_indexes"
            text = "\n".join(row[0] for row in uow.connection.exec_driver_sql(names))
    named = [c.name for table in metadata.tables.values() for c in table.constraints]
    wanted = {str(name) for name in (*made, *named) if name is not None}
    short = {
        "kind",
        "origin",
        "status",
        "score",
        "outcome",
        "source",
        "pair",
    }  # the convention puts the table's name before these
    rendered = {name for name in wanted if not name.startswith("pk_")} - short
    assert len(rendered) > 25 and {name for name in rendered if name not in text} == set()


def test_revisions_are_those_of_the_scripts() -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    scripts = ScriptDirectory.from_config(config)
    assert scripts.get_heads() == [REVISIONS[-1]]
    assert [script.revision for script in scripts.walk_revisions()][::-1] == list(REVISIONS)


@pytest.fixture
def next_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Makes this program one revision newer; what the revision does besides is the argument."""

    def make(then: str) -> Path:
        folder = tmp_path / "migrations"
        if not folder.exists():
            shutil.copytree(schema.MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "versions" / "revision_0005.py").write_text(NEXT_REVISION.format(then=then))
        monkeypatch.setattr(schema, "MIGRATIONS", folder)
        monkeypatch.setattr(schema, "REVISIONS", ("0001", "0002", "0003", "0004", "0005"))
        return folder

    return make


def contents(database: Database) -> dict[str, list[Any]]:
    """All rows of all tables but the version."""
    with database.read() as uow:
        names = [name for name in schema.row_counts(uow.connection) if name != "alembic_version"]
        return {
            name: [tuple(row) for row in uow.connection.exec_driver_sql(f"SELECT * FROM {name} ORDER BY 1, 2")] for name in names
        }


def test_migration_keeps_every_row(new_url: Callable[[], str], next_version: Callable[[str], Path], tmp_path: Path) -> None:
    url = new_url()
    database = open_database(url)
    for owner in ("owner", "bob"):
        fill(database, owner_id=owner)
    before = contents(database)
    database.close()
    next_version("pass")
    database = open_database(url, backup_dir=tmp_path / "backups")
    after = contents(database)
    assert [row[:-1] for row in after.pop("creations")] == before.pop("creations") and after == before
    names = [difference[0] if isinstance(difference, tuple) else difference[0][0] for difference in differences(database)]
    assert sorted(names) == ["add_column", "remove_column", "remove_column"]
    if database.dialect == "sqlite":
        assert database.check() == ()
    database.close()
    (backup,) = (tmp_path / "backups").iterdir()
    if backup.suffix == ".zip":
        with zipfile.ZipFile(backup) as archive:
            assert "ratings.csv" in archive.namelist() and archive.read("ratings.csv").count(b"\n") == 5
    else:
        assert sqlite.check_identity(backup) == "0004" and backup.stat().st_mode & 0o077 == 0
    open_database(url, backup_dir=tmp_path / "backups").close()
    assert len(list((tmp_path / "backups").iterdir())) == 1


def test_a_first_version_s_database_gets_the_tables_of_learning(
    new_url: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database full of what the first version wrote: every row stays, and what is new can be used."""
    url = new_url()
    with monkeypatch.context() as first_version:
        first_version.setattr(schema, "REVISIONS", ("0001",))
        database = open_database(url)
        filled = [fill(database, owner_id=owner) for owner in ("owner", "bob")]
        before = contents(database)
        database.close()
    assert set(before) < set(metadata.tables) and all(before.values())
    database = open_database(url, backup_dir=tmp_path / "backups")
    after = contents(database)
    assert {name: after[name] for name in before} == before and differences(database) == []
    assert not any(after[name] for name in after.keys() - before.keys())
    for owner, ids in zip(("owner", "bob"), filled, strict=True):
        fill_learning(database, None, ids, owner_id=owner)
    assert database.check() == () and all(contents(database)[name] for name in ("votes", "run_events", "adapter_marks"))
    database.close()
    assert len(list((tmp_path / "backups").iterdir())) == 1


def test_migration_that_would_lose_rows_changes_nothing(new_url: Callable[[], str], next_version: Callable[[str], Path]) -> None:
    url = new_url()
    database = open_database(url)
    fill(database)
    before = contents(database)
    database.close()
    next_version('op.execute("DELETE FROM ratings")')
    with pytest.raises(StorageError, match="lost rows of ratings"):
        open_database(url)
    _at_this_revision(url, before)


def _at_this_revision(url: str, before: dict[str, list[Any]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "REVISIONS", REVISIONS)
        database = open_database(url)
        assert contents(database) == before and differences(database) == []
        database.close()


UPGRADE = """
import sys
from pathlib import Path
from storage import schema
from storage.database import open_database
if len(sys.argv) > 2:
    schema.MIGRATIONS, schema.REVISIONS = Path(sys.argv[2]), ("0001", "0002", "0003", "0004", "0005")
database = open_database(sys.argv[1])
print("open", len(list(database.check())))
database.close()
"""


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", UPGRADE, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_two_processes_make_one_database(new_url: Callable[[], str]) -> None:
    url = new_url()
    children = [start(url) for _ in range(3)]
    assert [child.communicate(timeout=120) for child in children] == [("open 0\n", "")] * 3


def test_two_processes_migrate_once(new_url: Callable[[], str], next_version: Callable[[str], Path], tmp_path: Path) -> None:
    url = new_url()
    database = open_database(url)
    fill(database)
    before = contents(database)
    database.close()
    folder = next_version("pass")
    children = [start(url, str(folder)) for _ in range(2)]
    assert [child.communicate(timeout=120) for child in children] == [("open 0\n", "")] * 2
    database = open_database(url)
    after = contents(database)
    assert after["ratings"] == before["ratings"] and len(after["creations"]) == len(before["creations"])
    database.close()


def test_kill_in_the_middle_of_a_migration_leaves_the_old_schema(
    new_url: Callable[[], str], next_version: Callable[[str], Path]
) -> None:
    url = new_url()
    database = open_database(url)
    fill(database)
    before = contents(database)
    database.close()
    folder = next_version("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    child = start(url, str(folder))
    assert child.communicate(timeout=60)[0] == "" and child.returncode == -9
    _at_this_revision(url, before)


def test_kill_while_a_new_database_is_made_leaves_none(sqlite_path: Path, next_version: Callable[[str], Path]) -> None:
    folder = next_version("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    child = start(f"sqlite:///{sqlite_path}", str(folder))
    assert child.communicate(timeout=60)[0] == "" and child.returncode == -9
    assert not sqlite_path.exists()
    next_version("pass")
    database = open_database(f"sqlite:///{sqlite_path}")
    database.close()
    assert sqlite_path.exists() and not list(sqlite_path.parent.glob(".*new*"))


@pytest.mark.postgres
def test_postgres_copy_reads_back(postgres_cluster: PostgresCluster, tmp_path: Path) -> None:
    """The CSV of a copy is what COPY … FROM takes: rows return to the byte."""
    database = open_database(postgres_cluster.create_database())
    fill(database)
    before = contents(database)
    with database.read() as uow:
        postgres.copy_tables(uow.connection, tmp_path / "copy.zip")
    with database.write() as uow, zipfile.ZipFile(tmp_path / "copy.zip") as archive:
        for name in ("ratings", "preferences"):
            uow.connection.exec_driver_sql(f"DELETE FROM {name}")
            with uow.connection.connection.cursor().copy(f"COPY {name} FROM STDIN WITH (FORMAT csv, HEADER)") as rows:
                rows.write(archive.read(f"{name}.csv"))
        uow.commit()
    assert contents(database) == before
    database.close()
