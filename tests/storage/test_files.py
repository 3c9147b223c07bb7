"""Files are whole or not there, and no name leads outside."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.errors import RecordNotFoundError, StorageError
from storage.files import FileStore, is_good_name

BAD_NAMES = (
    *("", ".", "..", "../x", "a/../../x", "/etc/passwd", "a//b", "a/", "/a", "a\\b", "..\\x", "C:\\x", "C:x", "\\\\host\\x"),
    *("a\0b", "a\nb", " a", "a b", ".hidden", "a/.hidden", "a.", "CON", "nul.png", "com1", "x/LPT9.txt", "a/b/c/d/e"),
    *("é", "x.tmp", "a" * 200, "%2e%2e/x", "file://x", "~/x", "-rf"),
)


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "files")


def test_put_and_read_back(store: FileStore, tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    assert store.put("ab/one.png", data) == hashlib.sha256(data).hexdigest() == store.sha256("ab/one.png")
    with store.open("ab/one.png") as file:
        assert file.read() == data
    assert store.put("ab/one.png", iter([b"ne", b"w"])) == hashlib.sha256(b"new").hexdigest()
    assert store.path("ab/one.png").read_bytes() == b"new"
    assert store.names() == ("ab/one.png",) and store.size_bytes() == 3
    assert not list(tmp_path.rglob("*.tmp"))
    assert store.path("ab/one.png").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_lead_elsewhere_are_refused(store: FileStore, tmp_path: Path, name: str) -> None:
    assert not is_good_name(name)
    for call in (store.path, store.open, store.delete, store.exists, lambda n: store.put(n, b"x")):
        with pytest.raises(StorageError):
            call(name)
    assert list(tmp_path.rglob("*")) == []


def test_links_that_lead_outside_are_refused(store: FileStore, tmp_path: Path) -> None:
    store.put("in.txt", b"x")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (tmp_path / "files" / "door").symlink_to(outside)
    (tmp_path / "files" / "link").symlink_to(outside / "secret")
    for name in ("door/secret", "link", "door/new"):
        with pytest.raises(StorageError):
            store.open(name)
        with pytest.raises(StorageError):
            store.put(name, b"overwritten")
    store.sweep({"in.txt"})
    assert (outside / "secret").read_text() == "secret"


def test_failed_put_leaves_the_old_file(store: FileStore, tmp_path: Path) -> None:
    store.put("a", b"old")

    def broken() -> Iterator[bytes]:
        yield b"half"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.put("a", broken())
    assert store.path("a").read_bytes() == b"old" and not list(tmp_path.rglob("*.tmp"))


def test_sweep_removes_what_no_row_knows(store: FileStore, tmp_path: Path) -> None:
    store.put("kept", b"1")
    store.put("a/kept", b"2")
    store.put("a/orphan", b"3")
    (tmp_path / "files" / ".123.tmp").write_bytes(b"half")
    assert store.sweep(frozenset({"kept", "a/kept", "missing"})) == 2
    assert store.names() == ("a/kept", "kept")
    assert FileStore(tmp_path / "none").sweep(set()) == 0


def test_missing_file(store: FileStore) -> None:
    assert not store.exists("none") and not store.delete("none")
    with pytest.raises(RecordNotFoundError):
        store.open("none")
    store.put("a", b"")
    assert store.delete("a") and not store.exists("a")


def test_a_file_named_by_its_content_is_written_once_and_again_when_it_is_damaged(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    name, sha256 = store.keep("documents", "json", b"{}")
    assert name == f"documents/{sha256}.json" and store.read(name, sha256) == b"{}"
    written = store.path(name).stat().st_mtime_ns
    assert store.keep("documents", "json", b"{}") == (name, sha256) and store.path(name).stat().st_mtime_ns == written
    store.path(name).write_bytes(b"{")
    assert store.read(name, sha256) is None
    store.keep("documents", "json", b"{}")
    assert store.read(name, sha256) == b"{}" and store.read("documents/gone.json", sha256) is None
