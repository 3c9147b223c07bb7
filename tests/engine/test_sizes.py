"""Counting a folder while others write and delete in it."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from engine.sizes import file_sizes
from storage.files import FileStore


@pytest.fixture
def busy(tmp_path: Path) -> Path:
    """A folder with one lasting file, and a hundred others in nested folders that come and go."""
    (tmp_path / "kept").write_bytes(b"123")
    return tmp_path


def _come_and_go(folder: Path, ended: threading.Event) -> None:
    while not ended.is_set():
        for n in range(20):
            deep = folder / f"a{n}" / "b" / "c"
            deep.mkdir(parents=True)
            for name in "xyz":
                (deep / name).write_bytes(b"1234")
        for n in range(20):
            shutil.rmtree(folder / f"a{n}")


@pytest.mark.parametrize("count", [lambda folder: sum(file_sizes(folder)), lambda folder: FileStore(folder).size_bytes()])
def test_what_vanishes_while_it_is_counted_does_not_count(busy: Path, count: object) -> None:
    assert callable(count)
    ended = threading.Event()
    other = threading.Thread(target=_come_and_go, args=(busy, ended))
    other.start()
    try:
        assert all(3 <= count(busy) <= 3 + 20 * 3 * 4 for _ in range(300))
    finally:
        ended.set()
        other.join()
    assert count(busy) == 3


def test_links_count_as_themselves_and_a_missing_folder_is_empty(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "large").write_bytes(b"0" * 1000)
    (tmp_path / "near").mkdir()
    (tmp_path / "near" / "link").symlink_to(tmp_path / "far" / "large")
    (tmp_path / "near" / "folder").symlink_to(tmp_path / "far")
    assert sum(file_sizes(tmp_path / "near")) < 500
    assert sum(file_sizes(tmp_path / "nowhere")) == 0
