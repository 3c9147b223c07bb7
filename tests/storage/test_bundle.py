"""Bundles: what goes out comes back to the byte, on either database, and a hostile one changes nothing."""

from __future__ import annotations

import json
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from storage.bundle import read_bundle, write_bundle
from storage.database import Database
from storage.errors import BundleError, DiskFullError
from storage.files import FileStore, Stores
from tests.postgres import PostgresCluster
from tests.storage.filled import Studio, fill, is_empty


def test_export_import_export_is_the_same_to_the_byte(new_studio: Callable[[], Studio]) -> None:
    first, second = new_studio(), new_studio()
    for owner in ("owner", "bob"):
        fill(first.database, first.files, owner_id=owner)
    for owner_id in (None, "owner"):
        out = first.write("a.zip", owner_id)
        target = second if owner_id is None else new_studio()
        counts = target.read(out)
        assert counts["creations"] == {"added": 6 if owner_id is None else 3, "skipped": 0}
        assert counts["files"]["added"] == (2 if owner_id is None else 1) and counts["jobs"]["added"] == (
            2 if owner_id is None else 0
        )
        assert target.write("b.zip", owner_id).read_bytes() == out.read_bytes()
    again = second.read(first.write())
    assert all(count["added"] == 0 for count in again.values()) and again["creations"]["skipped"] == 6
    assert second.write().read_bytes() == first.write().read_bytes()


def test_imported_studio_works_like_the_first(new_studio: Callable[[], Studio]) -> None:
    first, second = new_studio(), new_studio()
    filled = fill(first.database, first.files)
    second.read(first.write())
    with first.database.read() as a, second.database.read() as b:
        assert [(c.id, c.tags, c.params, c.created_at) for c in a.creations.path("owner", filled.second_id)] == [
            (c.id, c.tags, c.params, c.created_at) for c in b.creations.path("owner", filled.second_id)
        ]
        assert [thread.id for thread in b.conversations.list("owner", query="猫咪")] == [filled.conversation_id]
        assert b.ratings.current("owner", [filled.first_id])[filled.first_id].score == 1
        assert len(b.ratings.history("owner", filled.first_id)) == 2 and b.preferences.counts("owner") == a.preferences.counts(
            "owner"
        )
    with second.database.write() as uow:
        uow.ratings.set("owner", filled.first_id, 0)
        uow.preferences.set("owner", filled.first_id, filled.second_id, source="pick", is_explicit=True)
        uow.creations.add("owner", kind="text", prompt="next", model_id="m", context_id=filled.second_id)
        uow.commit()
    assert second.files.path("media/owner.png").read_bytes() == first.files.path("media/owner.png").read_bytes()


@pytest.mark.postgres
def test_sqlite_to_postgres_and_back_is_the_same(postgres_cluster: PostgresCluster, studio: Studio, tmp_path: Path) -> None:
    fill(studio.database, studio.files)
    fill(studio.database, studio.files, owner_id="bob")
    with studio.database.write() as uow:
        for number in range(1200):
            uow.creations.add(
                *("owner",), kind="text", prompt=f"提示 {number}", model_id="m", ttft_s=number / 7, params={"x": 1e300, "y": -0.0}
            )
        uow.commit()
    there = Studio(postgres_cluster.create_database(), tmp_path / "there")
    back = Studio(f"sqlite:///{tmp_path / 'back.sqlite3'}", tmp_path / "back")
    there.read(studio.write())
    back.read(there.write())
    assert studio.write().read_bytes() == there.write().read_bytes() == back.write().read_bytes()
    there.database.close()
    back.database.close()


def test_bundle_of_one_owner_has_nothing_of_others(studio: Studio) -> None:
    fill(studio.database, studio.files)
    fill(studio.database, studio.files, owner_id="bob")
    path = studio.write(owner_id="bob")
    with zipfile.ZipFile(path) as archive:
        everything = b"".join(archive.read(info) for info in archive.infolist())
        assert not [info for info in archive.infolist() if info.date_time != (1980, 1, 1, 0, 0, 0)]
        assert "jobs.jsonl" not in archive.namelist()
    assert b'"owner_id":"owner"' not in everything and b"bob" in everything


def test_import_as_another_owner_makes_everything_theirs(studio: Studio, tmp_path: Path) -> None:
    fill(studio.database, studio.files)
    path = studio.write(owner_id="owner")
    other = Studio(f"sqlite:///{tmp_path / 'other.sqlite3'}", tmp_path / "other")
    other.read(path, owner_id="guest")
    with other.database.read() as uow:
        assert uow.settings.all("guest")["theme"] == "dark" and uow.settings.all("owner") == {}
        assert len(uow.conversations.list("guest")) == 1 and uow.ratings.counts("guest") and not uow.ratings.counts("owner")
    with pytest.raises(BundleError):
        other.read(path, owner_id="bob")
    other.database.close()


def test_missing_file_is_named_and_left_out(studio: Studio, tmp_path: Path) -> None:
    fill(studio.database, studio.files)
    studio.files.delete("media/owner.png")
    path = studio.write()
    with zipfile.ZipFile(path) as archive:
        assert json.loads(archive.read("manifest.json"))["missing_files"] == ["media/owner.png"]
    other = Studio(f"sqlite:///{tmp_path / 'other.sqlite3'}", tmp_path / "other")
    other.read(path)
    assert other.write().read_bytes() == path.read_bytes()
    other.database.close()


def test_what_the_user_thinks_here_stays_in_force(studio: Studio, tmp_path: Path) -> None:
    filled = fill(studio.database, studio.files)
    other = Studio(f"sqlite:///{tmp_path / 'other.sqlite3'}", tmp_path / "other")
    other.read(studio.write())
    with studio.database.write() as uow:
        uow.ratings.set("owner", filled.first_id, -1)
        uow.preferences.set("owner", filled.first_id, filled.second_id, source="pick", is_explicit=True)
        uow.commit()
    with other.database.write() as uow:
        mine = uow.ratings.set("owner", filled.first_id, 0.5)
        chosen = uow.preferences.set("owner", filled.first_id, filled.second_id, outcome="tie", source="pick", is_explicit=True)
        uow.commit()
    assert other.read(studio.write())["ratings"] == {"added": 1, "skipped": 2}
    with other.database.read() as uow:
        assert uow.ratings.current("owner", [filled.first_id]) == {filled.first_id: mine}
        assert uow.preferences.current("owner", [filled.first_id]) == (chosen,)
    other.database.close()


def test_backup_beside_a_running_app_is_of_one_moment(studio: Studio) -> None:
    """Rows committed while the bundle is written are in all of its tables or in none."""
    stop = threading.Event()

    def keep_writing() -> None:
        while not stop.is_set():
            with studio.database.write() as uow:
                made = uow.creations.add("owner", kind="text", prompt="p", model_id="m")
                uow.ratings.set("owner", made.id, 1)
                uow.commit()

    writer = threading.Thread(target=keep_writing)
    writer.start()
    try:
        counts = [write_bundle(studio.database, studio.stores, studio.folder / f"{n}.zip", created_by="test") for n in range(5)]
    finally:
        stop.set()
        writer.join()
    assert all(count["creations"] == count["ratings"] for count in counts)


def test_failing_import_takes_its_files_back(studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(studio.database, studio.files)
    path = studio.write()
    target = Studio(f"sqlite:///{tmp_path / 'target.sqlite3'}", tmp_path / "target")

    def full(*_: object) -> None:
        raise DiskFullError("full")

    monkeypatch.setattr("storage.bulk.add_creations", full)
    with pytest.raises(DiskFullError):
        target.read(path)
    assert is_empty(target)
    target.database.close()


def test_failing_export_leaves_the_old_bundle(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(studio.database, studio.files)
    old = studio.write().read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("storage.bundle.os.fsync", full)
    with pytest.raises(DiskFullError):
        studio.write()
    assert (studio.folder / "out.zip").read_bytes() == old and not list(studio.folder.glob(".*"))


def test_database_is_not_opened_for_a_bad_bundle(database: Database, tmp_path: Path) -> None:
    (tmp_path / "bad.zip").write_bytes(b"nothing")
    with pytest.raises(BundleError), database.write():
        # Reading a bundle takes the writer's lock only after everything was checked.
        read_bundle(database, Stores(FileStore(tmp_path / "files"), FileStore(tmp_path / "adapters")), tmp_path / "bad.zip")
