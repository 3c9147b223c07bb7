"""Fetching a model in a child process, and the child itself: `python -m engine.models.fetch JOB_DIR`.

Its events (engine/jobs/process.py) are of kind "progress", with {"phase": download|verify|convert|done|failed|cancelled,
"step_bytes", "total_bytes"}; "failed" also has "error": {code, message, key, values}.

Two studios that share a models folder fetch a model once: the second waits for the first. Knows no database.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path

from engine.errors import CancelledError, StudioError
from engine.jobs.job import CancelToken
from engine.jobs.process import Child, ChildEvent, ChildReporter, error_fields, error_of, start_child
from engine.models.catalog import ModelSpec, spec_from_json
from engine.models.store import ModelStore

_FINAL = ("done", "failed", "cancelled")
_POLL_S = 0.1
_CANCEL_GRACE_S = 8.0

logger = logging.getLogger(__name__)


def fetch(spec: ModelSpec, store: ModelStore, job_dir: Path, on_event: Callable[[ChildEvent], None], cancel: CancelToken) -> None:
    """Fetch and install one model; return when it is installed.

    `on_event` hears every event in order. Raises CancelledError when cancelled (the child has ended by then), and a
    StudioError in one sentence when it fails. A child that is left behind by a crash of this process finishes on its own.
    """
    (job_dir / "events.jsonl").unlink(missing_ok=True)  # a fetch starts over, and so do its numbers
    job = {
        "spec": {**dataclasses.asdict(spec), "sha256": dict(spec.sha256), "drawing": dict(spec.drawing)},
        "models_dir": str(store.models_dir),
    }
    child = start_child("engine.models.fetch", job_dir, job)
    try:
        last = _follow(child, on_event, cancel)
    finally:
        child.kill()
    _raise_unless_done(spec, last, child.exit_code)


def _follow(child: Child, on_event: Callable[[ChildEvent], None], cancel: CancelToken) -> ChildEvent | None:
    """Pass events on until the child has ended; return the last one."""
    last: ChildEvent | None = None
    deadline: float | None = None
    while True:
        ended = not child.is_alive
        for event in child.events(last["n"] if last else 0):
            on_event(event)
            last = event
        if ended:
            return last
        if cancel.cancelled and deadline is None:
            child.ask("cancel")
            deadline = time.monotonic() + _CANCEL_GRACE_S
        if deadline is not None and time.monotonic() > deadline:
            return {"phase": "cancelled"}
        if deadline is None:
            cancel.wait(_POLL_S)
        else:
            time.sleep(_POLL_S)


def _raise_unless_done(spec: ModelSpec, last: ChildEvent | None, returncode: int | None) -> None:
    phase = last["phase"] if last else None
    if phase == "done":
        return
    if phase == "cancelled":
        raise CancelledError(f"The download of {spec.name} was stopped.", key="error.download_stopped", name=spec.name)
    if last is not None and phase == "failed":
        raise error_of(last["error"])
    raise StudioError(
        f"The download of {spec.name} ended unexpectedly (exit code {returncode}). Nothing was installed; try again.",
        key="error.download_died",
        name=spec.name,
        returncode=returncode,
    )


class _Progress:
    """The child's progress, as events that are not too many."""

    def __init__(self, reporter: ChildReporter) -> None:
        self._reporter = reporter
        self._phase = ""
        self._spoke_at = 0.0

    def step(self, phase: str, step_bytes: int, total_bytes: int) -> None:
        """Report where it is: at each change of phase, at its end, and otherwise ten times a second.

        Raises CancelledError when the parent asked for the end.
        """
        if phase not in _FINAL and self._reporter.asked() == "cancel":
            raise CancelledError("The download was stopped.", key="error.download_stopped")
        now = time.monotonic()
        if phase == self._phase and step_bytes != total_bytes and now - self._spoke_at < _POLL_S:
            return
        self._phase, self._spoke_at = phase, now
        self.say(phase, step_bytes, total_bytes)

    def say(self, phase: str, step_bytes: int = 0, total_bytes: int = 0, **more: object) -> None:
        self._reporter.event("progress", phase=phase, step_bytes=step_bytes, total_bytes=total_bytes, **more)


def _run(job_dir: Path) -> int:
    job = json.loads((job_dir / "job.json").read_text(encoding="utf-8"))
    spec, store = spec_from_json(job["spec"]), ModelStore(Path(job["models_dir"]))
    with ChildReporter(job_dir) as reporter:
        progress = _Progress(reporter)
        try:
            _install_once(spec, store, progress)
        except CancelledError:
            progress.say("cancelled")
        except StudioError as error:
            progress.say("failed", error=error_fields(error))
            return 1
        except OSError as error:
            message = f"{spec.name} could not be written to {store.models_dir}: {error.strerror or error}. Nothing was installed."
            progress.say("failed", error=error_fields(StudioError(message, key="error.models_dir", name=spec.name)))
            logger.exception("fetching %s", spec.id)
            return 1
    return 0


def _install_once(spec: ModelSpec, store: ModelStore, progress: _Progress) -> None:
    from filelock import FileLock, Timeout

    from engine.models.install import install

    store.models_dir.mkdir(parents=True, exist_ok=True)
    lock = FileLock(store.lock_path(spec))
    while True:
        progress.step("download", 0, spec.download_bytes)
        try:
            lock.acquire(timeout=0.2)
            break
        except Timeout:
            continue
    try:
        if store.state(spec) == "installed":
            progress.step("done", spec.download_bytes, spec.download_bytes)
        else:
            install(spec, store, progress.step)
    finally:
        lock.release()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    sys.exit(_run(Path(sys.argv[1])))
