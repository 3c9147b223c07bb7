"""Bundles: what goes out comes back to the byte, on either database, and a hostile one changes nothing."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storage.bundle import read_bundle, write_bundle
from storage.database import Database, open_database
from storage.errors import BundleError, DiskFullError, StorageError
from storage.files import FileStore
from tests.postgres import PostgresCluster
from tests.storage.filled import fill


class Studio:
    """A database with its files."""

    def __init__(self, url: str, folder: Path) -> None:
        self.database = open_database(url)
        self.files = FileStore(folder / "files")
        self.folder = folder

    def write(self, name: str = "out.zip", owner_id: str | None = None) -> Path:
        write_bundle(self.database, self.files, self.folder / name, owner_id=owner_id, created_by="Tastemaker test")
        return self.folder / name

    def read(self, path: Path, owner_id: str | None = None) -> dict[str, dict[str, int]]:
        return read_bundle(self.database, self.files, path, owner_id=owner_id)


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


def rewrite(path: Path, change: Callable[[dict[str, bytes], dict[str, Any]], None], *, sign: bool = True) -> Path:
    """The bundle with other members: `change` gets members and manifest; hashes and sizes are made right again if `sign`."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    manifest = json.loads(members.pop("manifest.json"))
    change(members, manifest)
    if sign and isinstance(manifest["members"], dict):
        for name, data in members.items():
            said = manifest["members"].setdefault(name, {})
            said |= {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
    target = path.with_name("changed.zip")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
        archive.writestr("manifest.json", json.dumps(manifest))
    return target


def change_row(table: str, number: int, **values: Any) -> Callable[[dict[str, bytes], dict[str, Any]], None]:
    def change(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
        rows = [json.loads(line) for line in members[f"{table}.jsonl"].splitlines()]
        rows[number] |= values
        members[f"{table}.jsonl"] = "".join(json.dumps(row) + "\n" for row in rows).encode()

    return change


def is_empty(studio: Studio) -> bool:
    with studio.database.read() as uow:
        rows = uow.connection.exec_driver_sql("SELECT (SELECT count(*) FROM creations) + (SELECT count(*) FROM conversations)")
        return rows.scalar_one() == 0 and studio.files.names() == () and uow.settings.all("owner") == {}


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
    import threading

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
        counts = [write_bundle(studio.database, studio.files, studio.folder / f"{n}.zip", created_by="test") for n in range(5)]
    finally:
        stop.set()
        writer.join()
    assert all(count["creations"] == count["ratings"] for count in counts)


def _member(name: str, data: bytes = b"x") -> Callable[[dict[str, bytes], dict[str, Any]], None]:
    def change(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
        members[name] = data

    return change


def _manifest(**values: Any) -> Callable[[dict[str, bytes], dict[str, Any]], None]:
    def change(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
        manifest.update(values)

    return change


def _without(name: str) -> Callable[[dict[str, bytes], dict[str, Any]], None]:
    def change(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
        del members[name]

    return change


HOSTILE = {
    "parent folder": _member("files/../../evil"),
    "absolute": _member("/etc/evil"),
    "absolute in files": _member("files//etc/evil"),
    "drive": _member("files/C:\\evil"),
    "hidden": _member("files/.evil"),
    "device": _member("files/CON"),
    "stranger": _member("notes.txt"),
    "code": _member("files.py"),
    "newer": _manifest(format=2),
    "no counts": _manifest(counts=None),
    "wrong counts": _manifest(counts={"creations": 7}),
    "format as text": _manifest(format="1"),
    "members as list": _manifest(members=[]),
    "member lost": _without("creations.jsonl"),
    "file lost": _without("files/media/owner.png"),
    "unknown column": change_row("creations", 0, evil=1),
    "bad kind": change_row("creations", 0, kind="virus"),
    "bad id": change_row("creations", 0, id="../../x"),
    "number for text": change_row("creations", 0, prompt=5),
    "text for number": change_row("creations", 0, seed="5"),
    "number too big": change_row("creations", 0, seed=2**70),
    "flag as number": change_row("creations", 0, starred=1),
    "no time zone": change_row("creations", 0, created_at="2026-01-01T00:00:00"),
    "no time": change_row("creations", 0, created_at="yesterday"),
    "list for object": change_row("creations", 0, params=[]),
    "null": change_row("creations", 0, output=None),
    "NUL": change_row("creations", 0, output="a\0b"),
    "half a character": change_row("creations", 0, output="\ud800"),
    "half a character in JSON": change_row("creations", 0, params={"a": ["\ud800"]}),
    "bad tags": change_row("creations", 0, tags=[1]),
    "score out of range": change_row("ratings", 1, score=5),
    "score not finite": change_row("ratings", 1, score=float("inf")),
    "itself as context": change_row("creations", 0, context_id="SELF"),
    "missing context": change_row("creations", 0, context_id="0" * 32),
    "missing head": change_row("conversations", 0, head_id="0" * 32),
    "missing conversation": change_row("creations", 0, conversation_id="0" * 32),
    "rating of nothing": change_row("ratings", 0, creation_id="0" * 32),
    "same creation twice": change_row("preferences", 0, chosen_id="X", rejected_id="X"),
    "bad file name": change_row("creations", 2, media_name="../../etc/passwd"),
    "file with other hash": change_row("creations", 2, media_sha256="0" * 64),
    "not JSON": _member("creations.jsonl", b"{"),
    "too deep": _member("creations.jsonl", b"[" * 100_000),
    "not UTF-8": _member("creations.jsonl", b"\xff\xfe"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bundle_changes_nothing(studio: Studio, tmp_path: Path, name: str) -> None:
    fill(studio.database, studio.files)
    changed = rewrite(studio.write(), HOSTILE[name])
    target = Studio(f"sqlite:///{tmp_path / 'target.sqlite3'}", tmp_path / "target")
    for owner_id in (None, "owner"):
        with pytest.raises(BundleError):
            target.read(changed, owner_id)
        assert is_empty(target)
    assert not [path for path in tmp_path.rglob("*") if "evil" in path.name]
    target.database.close()


def test_two_rows_with_one_id_are_refused(studio: Studio, tmp_path: Path) -> None:
    fill(studio.database, studio.files)

    def double(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
        members["personas.jsonl"] *= 2
        manifest["counts"]["personas"] = 2

    _refused(rewrite(studio.write(), double), tmp_path)


def test_wrong_checksum_is_refused(studio: Studio, tmp_path: Path) -> None:
    fill(studio.database, studio.files)
    _refused(rewrite(studio.write(), _member("files/media/owner.png", b"other"), sign=False), tmp_path)
    _refused(rewrite(studio.write(), change_row("creations", 0, prompt="other"), sign=False), tmp_path)


def test_damaged_zip_is_refused(studio: Studio, tmp_path: Path) -> None:
    fill(studio.database, studio.files)
    good = studio.write().read_bytes()
    for position, data in enumerate((b"", b"PK", good[: len(good) // 2], good[100:], b"\0" * 1000, _flipped(good))):
        path = tmp_path / f"{position}.zip"
        path.write_bytes(data)
        _refused(path, tmp_path)
    target = Studio(f"sqlite:///{tmp_path / 'x.sqlite3'}", tmp_path / "x")
    with pytest.raises(StorageError):
        target.read(tmp_path / "missing.zip")
    target.database.close()


def _flipped(data: bytes) -> bytes:
    """One bit of a member's content is another."""
    at = data.index(b"creations.jsonl") + 60
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_links_folders_and_doubles_are_refused(studio: Studio, tmp_path: Path) -> None:
    fill(studio.database, studio.files)
    good = studio.write()

    def append(name: str, info: zipfile.ZipInfo, data: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(good.read_bytes())
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(info, data)
        return path

    link = zipfile.ZipInfo("files/link")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    _refused(append("link.zip", link, b"/etc/passwd"), tmp_path)
    _refused(append("folder.zip", zipfile.ZipInfo("files/folder/"), b""), tmp_path)
    with pytest.warns(UserWarning, match="Duplicate"):
        double = append("double.zip", zipfile.ZipInfo("creations.jsonl"), b"")
    _refused(double, tmp_path)


def test_bomb_is_refused_before_it_goes_off(studio: Studio, tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("creations.jsonl", "w", force_zip64=True) as member:
            for _ in range(300):
                member.write(b"0" * (1 << 20))
        archive.writestr("manifest.json", "{}")
    assert path.stat().st_size < 1_000_000
    with pytest.raises(BundleError, match="far more"):
        studio.read(path)


def test_row_cannot_reach_a_file_that_was_here_before(studio: Studio, tmp_path: Path) -> None:
    """Otherwise an import would show, or replace, somebody else's picture."""
    fill(studio.database, studio.files)
    path = studio.write(owner_id="owner")
    replaced = rewrite(path, _member("files/media/bob.png", b"other")).rename(tmp_path / "replaced.zip")
    stolen = rewrite(path, change_row("creations", 2, media_name="media/bob.png", media_sha256=None))
    target = Studio(f"sqlite:///{tmp_path / 'target.sqlite3'}", tmp_path / "target")
    target.files.put("media/bob.png", b"bob's own")
    for bundle in (stolen, replaced):
        with pytest.raises(BundleError):
            target.read(bundle, "guest")
        assert target.files.names() == ("media/bob.png",) and target.files.path("media/bob.png").read_bytes() == b"bob's own"
    target.database.close()


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


def _refused(path: Path, tmp_path: Path) -> None:
    target = Studio(f"sqlite:///{tmp_path / f'{path.stem}.target.sqlite3'}", tmp_path / f"{path.stem}.target")
    with pytest.raises(BundleError):
        target.read(path)
    assert is_empty(target)
    target.database.close()


def test_database_is_not_opened_for_a_bad_bundle(database: Database, tmp_path: Path) -> None:
    (tmp_path / "bad.zip").write_bytes(b"nothing")
    with pytest.raises(BundleError), database.write():
        # Reading a bundle takes the writer's lock only after everything was checked.
        read_bundle(database, FileStore(tmp_path / "files"), tmp_path / "bad.zip")
