"""The protocol between the studio and a child process that works for it: files in one folder, and a lock that says "alive".

    JOB_DIR/job.json      what to do, written by the parent before it starts the child
    JOB_DIR/events.jsonl  one line an event, {"n", "t", "kind", …}, appended by the child; numbers go on over its attempts
    JOB_DIR/control       one word for the child: "stop", "cancel" or "wait"; missing or empty says nothing
    JOB_DIR/lock          held by the child while it lives: liveness is this lock, never a process id
    JOB_DIR/child.log     what it printed

A child opens no database and outlives the server that started it; the next server attaches to it. "wait" counts only while
the file is fresh, so that a server that died never holds anybody up. Knows no work that a child may do.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeAlias
from uuid import uuid4

import engine
from engine.errors import BadFileError, BadOptionError, BusyError, NoModelError, NotEnoughDataError, StudioError, TooLongError

ChildEvent: TypeAlias = Mapping[str, Any]
Word: TypeAlias = Literal["stop", "cancel", "wait", ""]

WAIT_FRESH_S: Final = 5.0
"""How long one "wait" counts; whoever wants a longer one repeats it."""
FINAL_EVENTS: Final = frozenset({"done", "failed", "interrupted", "cancelled"})
_ERRORS: Final[Mapping[str, type[StudioError]]] = {
    kind.code: kind
    for kind in (StudioError, BadFileError, BadOptionError, BusyError, NoModelError, NotEnoughDataError, TooLongError)
}
_LOCK_S = 10.0
_WORDS: Final[tuple[Word, ...]] = ("stop", "cancel", "wait")


class Child:
    """The parent's side: one child, started here or found alive."""

    def __init__(self, job_dir: Path, process: subprocess.Popen[bytes] | None = None) -> None:
        self.job_dir = job_dir
        self._process = process
        self._seen: tuple[int, int] = (0, 0)

    @property
    def is_alive(self) -> bool:
        """Whether it works, or is about to: its own process, or whoever holds the lock."""
        return self._process.poll() is None if self._process is not None else _is_locked(self.job_dir)

    @property
    def exit_code(self) -> int | None:
        """How it ended, negative for a signal; None while it lives and for a child that somebody else started."""
        return self._process.poll() if self._process is not None else None

    def events(self, after_n: int = 0) -> list[ChildEvent]:
        """Return the whole events with a number above `after_n`, in order."""
        n, offset = self._seen if self._seen[0] <= after_n else (0, 0)
        rows, offset = read_events(self.job_dir / "events.jsonl", offset)
        if rows:
            n = int(rows[-1]["n"])
        self._seen = (n, offset)
        return [row for row in rows if int(row["n"]) > after_n]

    def ask(self, word: Word) -> None:
        """Say one word to the child; it hears it before its next piece of work. "" takes the last one back."""
        control = self.job_dir / "control"
        if not word:
            control.unlink(missing_ok=True)
            return
        part = control.with_name(f".control.{uuid4().hex}")
        part.write_text(word, encoding="ascii")
        os.replace(part, control)

    def let_go(self) -> None:
        """It works on without this process, which does not wait for its end any more; `attach` finds it again."""
        if self._process is not None and self._process.poll() is None:
            self._process.returncode = 0  # or Popen warns that nobody waited
            self._process = None

    def kill(self) -> None:
        """End it and all it started, at once; returns when its own process is gone."""
        if self._process is not None:
            if self._process.poll() is None:
                _kill_group(self._process.pid)
            self._process.wait()
            return
        pid = _living_pid(self.job_dir)
        if pid is not None and _is_locked(self.job_dir):
            _kill_group(pid)


def start_child(module: str, job_dir: Path, job: Mapping[str, Any]) -> Child:
    """Start `python -m module JOB_DIR` in a session of its own. Events of an earlier attempt stay; what was asked of it goes.

    Raises BusyError while another child works in this folder.
    """
    job_dir.mkdir(parents=True, exist_ok=True)
    if _is_locked(job_dir):
        raise BusyError("This is running already.", key="error.child_runs")
    (job_dir / "control").unlink(missing_ok=True)
    write_json(job_dir / "job.json", job)
    root = str(Path(engine.__file__).resolve().parent.parent)
    path = os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH", "")) if part)
    with (job_dir / "child.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", module, str(job_dir)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "PYTHONPATH": path},
            close_fds=True,
            start_new_session=True,
        )
    return Child(job_dir, process)


def attach(job_dir: Path) -> Child | None:
    """Return the child that lives in this folder, whoever started it; None when nobody holds its lock."""
    return Child(job_dir) if _is_locked(job_dir) else None


def resident_bytes(job_dir: Path) -> int:
    """Memory of the child that lives in this folder and of all that it started, without what is shared; 0 when there is none."""
    import psutil

    pid = _living_pid(job_dir)
    if pid is None:
        return 0
    total = 0
    try:
        whole = psutil.Process(pid)
        for process in (whole, *whole.children(recursive=True)):
            figures = process.memory_info()
            total += figures.rss - getattr(figures, "shared", 0)
    except psutil.Error:  # it ended meanwhile
        pass
    return total


def read_events(path: Path, offset: int = 0) -> tuple[list[ChildEvent], int]:
    """Read the whole lines from byte `offset` on; return them and the offset after them."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read()
    except FileNotFoundError:
        return [], offset
    whole = data[: data.rfind(b"\n") + 1]
    return [json.loads(line) for line in whole.splitlines()], offset + len(whole)


def error_fields(error: StudioError) -> dict[str, Any]:
    """An error as an event carries it; `error_of` makes it an error again."""
    values = {name: str(value) for name, value in error.values.items()}
    return {"code": error.code, "message": error.message, "key": error.message_key, "values": values}


def error_of(fields: Mapping[str, Any]) -> StudioError:
    """The error that a child reported; a kind that is not known here is a plain StudioError."""
    return _ERRORS.get(fields["code"], StudioError)(fields["message"], key=fields["key"], **fields["values"])


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file that is whole or not there: a temporary name, synced, then renamed."""
    part = path.with_name(f".{path.name}.{uuid4().hex}")
    with part.open("w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


class ChildReporter:
    """The child's side: `with ChildReporter(job_dir) as reporter`. Holds the lock for its life."""

    def __init__(self, job_dir: Path) -> None:
        from filelock import FileLock

        self.job_dir = job_dir
        self._control = job_dir / "control"
        self._lock = FileLock(job_dir / "lock", timeout=_LOCK_S)
        self._n = 0

    def __enter__(self) -> Self:
        """Take the lock and go on after the last whole event. Raises filelock.Timeout when another child holds it."""
        self._lock.acquire()
        _write_pid(self.job_dir)
        path = self.job_dir / "events.jsonl"
        rows, whole_bytes = read_events(path)
        self._n = int(rows[-1]["n"]) if rows else 0
        self._file = path.open("ab")
        self._file.truncate(whole_bytes)  # what a killed child left of its last line
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()
        self._lock.release()

    def event(self, kind: str, **body: Any) -> int:
        """Append one event and return its number. Checkpoints and ends are on the disk when this returns."""
        self._n += 1
        line = json.dumps({"n": self._n, "t": time.time(), "kind": kind, **body}, ensure_ascii=False, allow_nan=False)
        self._file.write(line.encode("utf-8", errors="replace") + b"\n")
        self._file.flush()
        if kind in FINAL_EVENTS or kind == "checkpoint":
            os.fsync(self._file.fileno())
        return self._n

    def asked(self) -> Word:
        """What the parent asks for now; a stale "wait" and anything unknown is ""."""
        try:
            word = self._control.read_text(encoding="ascii", errors="replace").strip()
            age_s = abs(time.time() - self._control.stat().st_mtime)
        except FileNotFoundError:
            return ""
        if word == "wait" and age_s > WAIT_FRESH_S:
            return ""
        return next((known for known in _WORDS if known == word), "")


def _is_locked(job_dir: Path) -> bool:
    from filelock import FileLock, Timeout

    if not (job_dir / "lock").exists():
        return False
    try:
        with FileLock(job_dir / "lock", timeout=0):
            return False
    except Timeout:
        return True


def _write_pid(job_dir: Path) -> None:
    import psutil

    write_json(job_dir / "pid.json", {"pid": os.getpid(), "started": psutil.Process().create_time()})


def _living_pid(job_dir: Path) -> int | None:
    """The child's process id, if that is still the same process: numbers are used again."""
    import psutil

    try:
        row = json.loads((job_dir / "pid.json").read_text(encoding="utf-8"))
        same = abs(psutil.Process(row["pid"]).create_time() - row["started"]) < 1.0
    except (OSError, ValueError, KeyError, psutil.Error):
        return None
    return int(row["pid"]) if same else None


def _kill_group(pid: int) -> None:
    """A child leads its own session, so its group is everything it started."""
    try:
        if os.name == "posix":
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return
