"""`python launch.py` as people start it: the ready line, the exit codes, one studio for a data folder, one line for a refusal."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
START_S = 90.0
"""Patience, not a target: a test machine may be busy with other things."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Place:
    """Where a studio of a test lives."""

    data_dir: Path
    models_dir: Path
    port: int

    def command(self, *arguments: str) -> list[str]:
        folders = ["--data-dir", str(self.data_dir), "--models-dir", str(self.models_dir)]
        return [
            sys.executable,
            str(ROOT / "launch.py"),
            *folders,
            "--port",
            str(self.port),
            "--no-browser",
            "--offline",
            *arguments,
        ]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "data", tmp_path / "models", free_port())


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run to the end, away from the checkout."""
    return subprocess.run(command, capture_output=True, text=True, timeout=START_S, cwd="/", check=False)


def refused(command: list[str]) -> str:
    """The one sentence of a refused start."""
    done = run(command)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("tastemaker: ")
    return lines[0]


@contextmanager
def running(place: Place, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A studio that has said it is ready; killed at the end if it still runs."""
    log = place.data_dir.with_name("stderr.txt")
    with log.open("a+", encoding="utf-8") as errors:
        process = subprocess.Popen(place.command(*arguments), stdout=subprocess.PIPE, stderr=errors, text=True, cwd="/")
        try:
            assert process.stdout is not None
            line = process.stdout.readline()  # ends when the process does
            assert line.startswith("Tastemaker is ready: "), log.read_text(encoding="utf-8")
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(20)
            if process.stdout is not None:
                process.stdout.close()


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_is_answers_there_and_stops_with_0(place: Place, signal_number: signal.Signals) -> None:
    with running(place) as process:
        with urllib.request.urlopen(f"http://127.0.0.1:{place.port}/", timeout=20) as page:
            assert page.status == 200
        process.send_signal(signal_number)
        assert process.wait(20) == 0
    assert "Traceback" not in place.data_dir.with_name("stderr.txt").read_text(encoding="utf-8")
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", place.port)) != 0


def test_a_second_one_on_the_same_data_folder_is_refused_until_the_first_is_killed(place: Place) -> None:
    with running(place) as process:
        other = Place(place.data_dir, place.models_dir, free_port())
        sentence = refused(other.command())
        assert str(place.data_dir) in sentence
        assert str(process.pid) in sentence
        process.send_signal(signal.SIGKILL)
        assert process.wait(20) == -signal.SIGKILL
    with running(place) as process:  # its lock was the process's, not the file's
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0


def test_a_used_port_is_named_with_a_way_out(place: Place) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", place.port))
        other.listen()
        sentence = refused(place.command())
    assert str(place.port) in sentence
    assert "--port" in sentence


def test_a_file_in_the_data_folders_place_is_refused(place: Place) -> None:
    place.data_dir.write_text("not a folder")
    assert str(place.data_dir) in refused(place.command())
    assert place.data_dir.read_text() == "not a folder"


def test_a_damaged_database_is_refused_and_left_as_it_is(place: Place) -> None:
    place.data_dir.mkdir()
    database = place.data_dir / "tastemaker.db"
    database.write_bytes(b"this is no database" * 1000)
    before = database.read_bytes()
    refused(place.command())
    assert database.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--share",), "--share"),
        (("--host", "0.0.0.0"), "0.0.0.0"),
        (("--host", "::"), "::"),
        (("--auth", "me:secret"), "--auth"),
        (("--port", "99999"), "--port"),
        (("--device", "abacus"), "--device"),
        (("--colour",), "--colour"),
    ],
)
def test_what_is_not_possible_is_refused_before_anything_is_made(place: Place, arguments: tuple[str, ...], named: str) -> None:
    sentence = refused(place.command(*arguments))
    assert named in sentence
    assert "secret" not in sentence
    assert not place.data_dir.exists()


def test_a_bad_variable_is_refused_too(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASTEMAKER_HOST", "0.0.0.0")
    assert "0.0.0.0" in refused(place.command())


def test_nothing_is_written_into_the_checkout(place: Place) -> None:
    before = _files()
    with running(place) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert _files() == before


def test_help_loads_nothing_heavy() -> None:
    done = run([sys.executable, "-X", "importtime", str(ROOT / "launch.py"), "--help"])
    assert done.returncode == 0
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert not loaded & {"gradio", "torch", "sqlalchemy", "transformers", "fastapi"}
    assert re.search(r"--data-dir\s+DIR", done.stdout)


def test_building_the_studio_loads_no_torch(place: Place) -> None:
    code = (
        "import sys; from engine.bootstrap import build_studio; from engine.settings import read_settings\n"
        "build_studio(read_settings({'data_dir': sys.argv[1], 'models_dir': sys.argv[2], 'offline': True})).close()\n"
        "print(sorted({'torch', 'transformers', 'gradio'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(place.data_dir), str(place.models_dir)],
        capture_output=True,
        text=True,
        timeout=START_S,
        env=environment,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def _files() -> set[Path]:
    skipped = {".git", "__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache"}
    return {
        path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file() and not skipped & set(path.relative_to(ROOT).parts)
    }
