"""Bundles that nobody honest wrote: each is refused whole, and changes nothing."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storage.errors import BundleError, StorageError
from tests.storage.filled import Studio, fill, is_empty


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


def _refused(path: Path, tmp_path: Path) -> None:
    target = Studio(f"sqlite:///{tmp_path / f'{path.stem}.target.sqlite3'}", tmp_path / f"{path.stem}.target")
    with pytest.raises(BundleError):
        target.read(path)
    assert is_empty(target)
    target.database.close()


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
    "newer": _manifest(format=99),
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
