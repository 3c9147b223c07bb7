"""Fetching a model in a child process, and the child itself: `python -m engine.models.fetch JOB_DIR`.

    JOB_DIR/job.json      what to fetch and where to (written by the parent before it starts the child)
    JOB_DIR/events.jsonl  {"n", "phase": download|verify|convert|done|failed|cancelled, "step_bytes", "total_bytes"}, appended;
                          "failed" also has "error": {code, message, key, values}
    JOB_DIR/control       "cancel" asks the child to stop
    JOB_DIR/lock          held by the child while it lives

Two studios that share a models folder fetch a model once: the second waits for the first. Knows no database.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import engine
from engine.errors import BadFileError, BadOptionError, BusyError, CancelledError, NoModelError, StudioError
from engine.jobs.job import CancelToken
from engine.models.catalog import ModelSpec, spec_from_json
from engine.models.store import ModelStore

FetchEvent = Mapping[str, Any]
_ERRORS = {kind.code: kind for kind in (StudioError, NoModelError, BadFileError, BusyError, BadOptionError)}
_FINAL = ("done", "failed", "cancelled")
_POLL_S = 0.1
_CANCEL_GRACE_S = 8.0

logger = logging.getLogger(__name__)


def fetch(spec: ModelSpec, store: ModelStore, job_dir: Path, on_event: Callable[[FetchEvent], None], cancel: CancelToken) -> None:
    """Fetch and install one model; return when it is installed.

    `on_event` hears every event in order. Raises CancelledError when cancelled (the child has ended by then), and a
    StudioError in one sentence when it fails. A child that is left behind by a crash of this process finishes on its own.
    """
    job_dir.mkdir(parents=True, exist_ok=True)
    for name in ("events.jsonl", "control"):
        (job_dir / name).unlink(missing_ok=True)
    job = {"spec": {**dataclasses.asdict(spec), "sha256": dict(spec.sha256)}, "models_dir": str(store.models_dir)}
    (job_dir / "job.json").write_text(json.dumps(job), encoding="utf-8")
    root = str(Path(engine.__file__).resolve().parent.parent)
    path = os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH", "")) if part)
    with (job_dir / "child.log").open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "engine.models.fetch", str(job_dir)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "PYTHONPATH": path},
            close_fds=True,
            start_new_session=True,
        )
    try:
        last = _follow(child, job_dir / "events.jsonl", job_dir / "control", on_event, cancel)
    finally:
        _end(child)
    _raise_unless_done(spec, last, child.returncode)


def _follow(
    child: subprocess.Popen[bytes], events: Path, control: Path, on_event: Callable[[FetchEvent], None], cancel: CancelToken
) -> FetchEvent | None:
    """Pass events on until the child has ended; return the last one."""
    offset = 0
    last: FetchEvent | None = None
    deadline: float | None = None
    while True:
        ended = child.poll() is not None
        rows, offset = _read_events(events, offset)
        for last in rows:
            on_event(last)
        if ended:
            return last
        if cancel.cancelled and deadline is None:
            control.write_text("cancel", encoding="ascii")
            deadline = time.monotonic() + _CANCEL_GRACE_S
        if deadline is not None and time.monotonic() > deadline:
            return {"phase": "cancelled"}
        if deadline is None:
            cancel.wait(_POLL_S)
        else:
            time.sleep(_POLL_S)


def _read_events(path: Path, offset: int) -> tuple[list[FetchEvent], int]:
    """Read the whole lines that were appended since `offset`."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read()
    except FileNotFoundError:
        return [], offset
    whole = data[: data.rfind(b"\n") + 1]
    return [json.loads(line) for line in whole.splitlines()], offset + len(whole)


def _raise_unless_done(spec: ModelSpec, last: FetchEvent | None, returncode: int | None) -> None:
    phase = last["phase"] if last else None
    if phase == "done":
        return
    if phase == "cancelled":
        raise CancelledError(f"The download of {spec.name} was stopped.", key="error.download_stopped", name=spec.name)
    if last is not None and phase == "failed":
        error = last["error"]
        raise _ERRORS.get(error["code"], StudioError)(error["message"], key=error["key"], **error["values"])
    raise StudioError(
        f"The download of {spec.name} ended unexpectedly (exit code {returncode}). Nothing was installed; try again.",
        key="error.download_died",
        name=spec.name,
        returncode=returncode,
    )


def _end(child: subprocess.Popen[bytes]) -> None:
    """Make sure that neither the child nor what it started goes on."""
    if child.poll() is not None:
        return
    if os.name == "posix":
        os.killpg(child.pid, signal.SIGKILL)
    else:
        child.kill()
    child.wait()


class _Reporter:
    """The child's side of events.jsonl and control."""

    def __init__(self, job_dir: Path) -> None:
        self._control = job_dir / "control"
        self._file = (job_dir / "events.jsonl").open("a", encoding="utf-8")
        self._n = 0
        self._phase = ""
        self._spoke_at = 0.0

    def check(self) -> None:
        """Raise CancelledError when the parent asked for the end."""
        try:
            asked = self._control.read_text(encoding="ascii").strip() == "cancel"
        except FileNotFoundError:
            return
        if asked:
            raise CancelledError("The download was stopped.", key="error.download_stopped")

    def step(self, phase: str, step_bytes: int, total_bytes: int) -> None:
        """Report where it is: at each change of phase, at its end, and otherwise ten times a second."""
        if phase not in _FINAL:
            self.check()
        now = time.monotonic()
        if phase == self._phase and step_bytes != total_bytes and now - self._spoke_at < _POLL_S:
            return
        self._phase, self._spoke_at = phase, now
        self.write({"phase": phase, "step_bytes": step_bytes, "total_bytes": total_bytes})

    def write(self, event: Mapping[str, Any]) -> None:
        self._n += 1
        self._file.write(json.dumps({"n": self._n, **event}) + "\n")
        self._file.flush()


def _run(job_dir: Path) -> int:
    from filelock import FileLock

    job = json.loads((job_dir / "job.json").read_text(encoding="utf-8"))
    spec, store = spec_from_json(job["spec"]), ModelStore(Path(job["models_dir"]))
    with FileLock(job_dir / "lock"):
        reporter = _Reporter(job_dir)
        try:
            _install_once(spec, store, reporter)
        except CancelledError:
            reporter.write({"phase": "cancelled", "step_bytes": 0, "total_bytes": 0})
        except StudioError as error:
            values = {name: str(value) for name, value in error.values.items()}
            details = {"code": error.code, "message": error.message, "key": error.message_key, "values": values}
            reporter.write({"phase": "failed", "step_bytes": 0, "total_bytes": 0, "error": details})
            return 1
        except OSError as error:
            message = f"{spec.name} could not be written to {store.models_dir}: {error.strerror or error}. Nothing was installed."
            details = {"code": "error", "message": message, "key": "error.models_dir", "values": {"name": spec.name}}
            reporter.write({"phase": "failed", "step_bytes": 0, "total_bytes": 0, "error": details})
            logger.exception("fetching %s", spec.id)
            return 1
    return 0


def _install_once(spec: ModelSpec, store: ModelStore, reporter: _Reporter) -> None:
    from filelock import FileLock, Timeout

    from engine.models.install import install

    store.models_dir.mkdir(parents=True, exist_ok=True)
    lock = FileLock(store.lock_path(spec))
    while True:
        reporter.step("download", 0, spec.download_bytes)
        try:
            lock.acquire(timeout=0.2)
            break
        except Timeout:
            continue
    try:
        if store.state(spec) == "installed":
            reporter.step("done", spec.download_bytes, spec.download_bytes)
        else:
            install(spec, store, reporter.step)
    finally:
        lock.release()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    sys.exit(_run(Path(sys.argv[1])))
