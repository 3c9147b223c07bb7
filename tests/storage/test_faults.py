"""Faults while it runs: many writers, kill -9, full disks, damage, a server that restarts. Nothing acknowledged is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import sqlite
from storage.database import Database, open_database
from storage.errors import DatabaseBusyError, DatabaseDamagedError, DiskFullError, StorageError
from storage.records import CreationFilter
from tests.postgres import running_cluster
from tests.storage.child import WRITE_FOR_EVER, make, overwrite_pages, run_python
from tests.storage.filled import fill


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
from storage.files import FileStore, Stores
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
refused(lambda: write_bundle(database, Stores(files, files), Path(sys.argv[2]) / "out.zip", created_by="test"))
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
    overwrite_pages(sqlite_path)
    with pytest.raises(DatabaseDamagedError), database.read() as uow:
        for owner in ("owner", "bob"):
            uow.creations.facets(owner)
            uow.conversations.list(owner)
            list(uow.creations.each(owner, owner, CreationFilter()))
    database.close()


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
