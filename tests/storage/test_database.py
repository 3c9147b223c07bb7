"""Opening, refusing, migrating and surviving: nothing acknowledged is lost, nothing damaged is replaced."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage import schema, search, sqlite
from storage.database import Database, open_database
from storage.errors import (
    DatabaseBusyError,
    DatabaseDamagedError,
    DatabaseNewerError,
    DiskFullError,
    StorageError,
)
from storage.records import CreationFilter
from tests.postgres import PostgresCluster, running_cluster
from tests.storage.filled import fill

ROOT = Path(__file__).parents[2]


def make(path: Path) -> None:
    """A closed database with something in it."""
    database = open_database(f"sqlite:///{path}")
    fill(database)
    database.close()


def run_python(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def test_sixteen_threads_lose_no_update(database: Database) -> None:
    threads, times = 16, 60
    errors: list[Exception] = []

    def count_up() -> None:
        for _ in range(times):
            try:
                with database.write() as uow:
                    uow.settings.set("owner", "count", uow.settings.get("owner", "count", 0) + 1)
                    uow.commit()
            except StorageError as error:
                errors.append(error)

    workers = [threading.Thread(target=count_up) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    with database.read() as uow:
        assert (uow.settings.get("owner", "count"), errors) == (threads * times, [])


COUNT_UP = """
import sys
from storage.database import open_database
database = open_database(sys.argv[1])
for _ in range(100):
    with database.write() as uow:
        uow.settings.set("owner", "count", uow.settings.get("owner", "count", 0) + 1)
        uow.commit()
database.close()
"""


def test_three_processes_lose_no_update(database: Database) -> None:
    children = [run_python(COUNT_UP, database.url) for _ in range(2)]
    for _ in range(100):
        with database.write() as uow:
            uow.settings.set("owner", "count", uow.settings.get("owner", "count", 0) + 1)
            uow.commit()
    assert [child.communicate(timeout=120)[1] for child in children] == ["", ""]
    with database.read() as uow:
        assert uow.settings.get("owner", "count") == 300
    assert database.check() == ()


WRITE_FOR_EVER = """
import sys
from storage.database import open_database
database = open_database(sys.argv[1])
while True:
    with database.write() as uow:
        made = uow.creations.add("owner", kind="text", prompt="早上好 good morning", model_id="m", output="x" * 3000)
        uow.ratings.set("owner", made.id, 1)
        uow.commit()
    print(made.id, flush=True)
"""


def test_kill_while_writing_loses_nothing_acknowledged(sqlite_path: Path) -> None:
    make(sqlite_path)
    acknowledged: list[str] = []
    for trial in range(8):
        child = run_python(WRITE_FOR_EVER, f"sqlite:///{sqlite_path}")
        assert child.stdout is not None and child.stderr is not None
        for _ in range(5 + trial * 7):
            acknowledged.append(child.stdout.readline().strip())
        child.send_signal(signal.SIGKILL)
        rest, errors = child.communicate(timeout=30)
        assert errors == ""
        # The last line may be cut where the kill came.
        acknowledged.extend(line for line in rest.split("\n")[:-1] if line)
    database = open_database(f"sqlite:///{sqlite_path}")
    with database.read() as uow:
        assert len(uow.creations.get_many("owner", acknowledged)) == len(acknowledged) == len(set(acknowledged)) >= 200
        assert uow.ratings.current("owner", acknowledged).keys() == set(acknowledged)
    assert database.check() == ()
    database.close()


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
    os.truncate(path, path.stat().st_size - 1000)


def _pages_overwritten(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for page in range(2, len(data) // 4096, 3):
        data[page * 4096 : page * 4096 + 200] = b"\xa5" * 200
    path.write_bytes(data)


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
    [_zero, _bad_header, _text_file, _truncated, _cut_in_page, _pages_overwritten, _other_program, _header_only],
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


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[tuple[Path, bool]]:
    """A folder on a file system of 3 MB and True; or, where that cannot be made, any folder and False."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    is_small = os.geteuid() == 0 and subprocess.run(mount, check=False, stderr=subprocess.DEVNULL).returncode == 0
    yield folder, is_small
    if is_small:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_full_disk_is_said_and_nothing_is_lost(small_disk: tuple[Path, bool]) -> None:
    folder, is_small = small_disk
    database = open_database(f"sqlite:///{folder / 'studio.sqlite3'}")
    filled = fill(database)
    ballast = folder / "ballast"
    ballast.write_bytes(b"x" * 1_000_000)
    if not is_small:  # SQLite's own limit gives the same error as a full disk
        _limit_pages(database, 300)
    kept: list[str] = []
    with pytest.raises(DiskFullError):
        for _ in range(100):
            with database.write() as uow:
                kept.append(uow.creations.add("owner", kind="text", prompt="p", model_id="m", output="x" * 100_000).id)
                uow.commit()
    with database.read() as uow:
        assert len(kept) > 1 and len(uow.creations.get_many("owner", kept)) in (len(kept), len(kept) - 1)
        assert uow.creations.get("owner", filled.first_id).status == "done"
    assert database.check() == ()
    ballast.unlink()
    if not is_small:
        _limit_pages(database, 1_000_000)
    with database.write() as uow:
        uow.settings.set("owner", "works", "again")
        uow.commit()
    database.close()


def _limit_pages(database: Database, pages: int) -> None:
    with database.write() as uow:
        uow.connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")


LIMITED = """
import resource, sys
from pathlib import Path
from storage.bundle import write_bundle
from storage.database import open_database
from storage.errors import DiskFullError
from storage.files import FileStore
database, files = open_database(sys.argv[1]), FileStore(Path(sys.argv[2]))
with database.write() as uow:
    uow.creations.add("owner", kind="image", prompt="p", model_id="m", id="kept", media_name="kept")
    uow.commit()
files.put("kept", bytes(range(256)) * 1000)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
def refused(call):
    try:
        call()
    except DiskFullError:
        return
    raise SystemExit("not refused")
def fill():
    for _ in range(50):
        with database.write() as uow:
            uow.creations.add("owner", kind="text", prompt="p", model_id="m", output="x" * 100_000)
            uow.commit()
refused(fill)
refused(lambda: files.put("kept", b"x" * 5_000_000))
refused(lambda: files.put("new", b"x" * 5_000_000))
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
refused(lambda: write_bundle(database, files, Path(sys.argv[2]) / "out.zip", created_by="test"))
with database.read() as uow:
    assert uow.creations.get("owner", "kept").prompt == "p"
assert files.names() == ("kept",) and files.size_bytes() == 256_000, files.names()
print("ok")
"""


def test_limit_of_file_size_counts_as_a_full_disk(sqlite_path: Path, tmp_path: Path) -> None:
    make(sqlite_path)
    child = run_python(LIMITED, f"sqlite:///{sqlite_path}", str(tmp_path / "files"), "1500000")
    out, errors = child.communicate(timeout=60)
    assert (out, errors) == ("ok\n", "")
    database = open_database(f"sqlite:///{sqlite_path}")
    assert database.check() == ()
    database.close()


def test_busy_database_is_said_after_waiting(sqlite_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(sqlite_path)
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_S", 0.1)
    database = open_database(f"sqlite:///{sqlite_path}")
    other = sqlite.connect(sqlite_path)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseBusyError), database.write():
        pass
    with database.read() as uow:
        assert uow.personas.list("owner")
    other.execute("ROLLBACK")
    other.close()
    with database.write() as uow:
        uow.commit()
    database.close()


def test_damage_found_while_running_is_said(sqlite_path: Path) -> None:
    make(sqlite_path)
    database = open_database(f"sqlite:///{sqlite_path}")
    _pages_overwritten(sqlite_path)
    with pytest.raises(DatabaseDamagedError), database.read() as uow:
        for owner in ("owner", "bob"):
            uow.creations.facets(owner)
            uow.conversations.list(owner)
            list(uow.creations.each(owner, owner, CreationFilter()))
    database.close()


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


@pytest.mark.postgres
def test_postgres_restart_is_survived() -> None:
    with running_cluster() as cluster:
        database = open_database(cluster.create_database())
        filled = fill(database)
        with pytest.raises(DatabaseBusyError), database.write() as uow:
            uow.settings.set("owner", "half", True)
            cluster.stop()
            uow.commit()
        with pytest.raises(DatabaseBusyError), database.read() as uow:
            uow.settings.all("owner")
        cluster.run_server()
        with database.write() as uow:
            assert uow.settings.get("owner", "half") is None
            uow.creations.update("owner", filled.first_id, output="after")
            uow.commit()
        with database.read() as uow:
            assert uow.creations.get("owner", filled.first_id).output == "after"
        database.close()


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
