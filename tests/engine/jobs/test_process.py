"""The child protocol: a real child that speaks, listens, is attached to, dies and starts again."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.errors import BusyError
from engine.jobs.process import Child, ChildReporter, attach, read_events, start_child

MODULE = "tests.engine.jobs.child"


@pytest.fixture
def job_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[3]))
    return tmp_path / "job"


@pytest.fixture
def start(job_dir: Path) -> Iterator[Callable[..., Child]]:
    """Start a child that speaks until it is asked to stop (tests/engine/jobs/child.py); ended after the test."""
    children: list[Child] = []

    def begin(**job: object) -> Child:
        children.append(start_child(MODULE, job_dir, job))
        return children[-1]

    yield begin
    for child in children:
        child.kill()


def wait_for(child: Child, kind: str, after: int = 0) -> list[dict[str, object]]:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        rows = [dict(event) for event in child.events(after)]
        if any(row["kind"] == kind for row in rows):
            return rows
        time.sleep(0.02)
    raise AssertionError(f"no {kind} event")


def ended(child: Child) -> None:
    deadline = time.monotonic() + 30
    while child.is_alive:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_it_reads_its_job_numbers_its_events_and_stops_when_asked(start: Callable[..., Child], job_dir: Path) -> None:
    child = start(word="héllo 中文")
    rows = wait_for(child, "step")
    assert rows[0]["kind"] == "hello" and rows[0]["word"] == "héllo 中文"
    assert child.is_alive and child.exit_code is None
    child.ask("stop")
    ended(child)
    events = child.events()
    assert child.exit_code == 0 and events[-1]["kind"] == "interrupted"
    assert [event["n"] for event in events] == list(range(1, len(events) + 1))
    assert child.events(events[-1]["n"]) == [] and child.events(2)[0]["n"] == 3  # forwards and back again


def test_somebody_else_attaches_to_a_living_child_and_ends_it(start: Callable[..., Child], job_dir: Path) -> None:
    assert attach(job_dir) is None
    child = start(word="a")
    wait_for(child, "step")
    with pytest.raises(BusyError):
        start_child(MODULE, job_dir, {})
    other = attach(job_dir)
    assert other is not None and other.is_alive and other.exit_code is None
    assert other.events()[0]["word"] == "a"
    other.kill()
    ended(child)
    assert child.exit_code == -signal.SIGKILL and attach(job_dir) is None


def test_numbers_go_on_after_a_kill_and_a_torn_line_is_dropped(start: Callable[..., Child], job_dir: Path) -> None:
    child = start(word="first")
    wait_for(child, "step")
    child.ask("cancel")
    child.kill()
    whole = child.events()
    with (job_dir / "events.jsonl").open("ab") as file:
        file.write(b'{"n": 99, "kind": "st')
    assert Child(job_dir).events() == whole
    again = start(word="second")
    rows = wait_for(again, "step", after=int(whole[-1]["n"]))
    assert rows[0]["kind"] == "hello" and rows[0]["word"] == "second"  # what was asked of the first one is forgotten
    assert rows[0]["n"] == whole[-1]["n"] + 1
    lines = (job_dir / "events.jsonl").read_bytes().splitlines()
    assert all(json.loads(line) for line in lines)


def test_waiting_ends_by_itself_when_nobody_repeats_it(tmp_path: Path) -> None:
    with ChildReporter(tmp_path) as reporter:
        child = Child(tmp_path)
        assert reporter.asked() == ""
        child.ask("wait")
        assert reporter.asked() == "wait"
        old = time.time() - 6
        os.utime(tmp_path / "control", (old, old))
        assert reporter.asked() == ""  # the server that asked has died
        child.ask("stop")
        os.utime(tmp_path / "control", (old, old))
        assert reporter.asked() == "stop"
        child.ask("")
        assert reporter.asked() == ""
        (tmp_path / "control").write_text("dance", encoding="ascii")
        assert reporter.asked() == ""


def test_events_are_strict_json_and_whole_lines(tmp_path: Path) -> None:
    with ChildReporter(tmp_path) as reporter:
        assert reporter.event("log", text="one\ntwo \ud800") == 1
        with pytest.raises(ValueError):
            reporter.event("metrics", loss=float("nan"))
    rows, offset = read_events(tmp_path / "events.jsonl")
    assert len(rows) == 1 and rows[0]["text"].startswith("one\ntwo")
    assert read_events(tmp_path / "events.jsonl", offset) == ([], offset)
    assert read_events(tmp_path / "none.jsonl") == ([], 0)
