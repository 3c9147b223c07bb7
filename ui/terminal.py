"""What the studio says on the terminal: whole lines, and how far the downloads are.

On a terminal the progress is one line rewritten in place; in a file or a pipe it is a plain line every ten percent.
Knows text streams and job snapshots; knows no page, no gradio and no server.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from engine.errors import StudioError
from storage.records import LOCAL_OWNER

if TYPE_CHECKING:
    from engine.jobs.job import JobSnapshot

DOWNLOAD = "download"
"""The kind of job that is shown."""
POLL_S = 0.5
_PHASES = {"download": "download", "verify": "check", "convert": "convert"}
logger = logging.getLogger("tastemaker.terminal")


class Jobs(Protocol):
    """The part of engine.services.jobs.JobsService that is needed here."""

    def active(self, owner_id: str) -> tuple[JobSnapshot, ...]:
        """Jobs that wait or run, oldest first."""

    def get(self, owner_id: str, job_id: str) -> JobSnapshot:
        """How a job stands, also after its end."""


class Terminal:
    """A stream that whole lines and one live line share. Thread-safe; a stream that is gone is no error."""

    def __init__(self, out: TextIO | None) -> None:
        self._out = out
        self._live = ""
        self._lock = threading.Lock()
        self.is_tty = out is not None and out.isatty()
        """Whether a line can be rewritten in place."""

    def say(self, line: str) -> None:
        """Print a whole line, above the live one."""
        with self._lock:
            self._write(f"{self._erased()}{_printable(line)}\n{self._live}")

    def show(self, line: str) -> None:
        """Rewrite the live line; "" removes it. Does nothing where lines cannot be rewritten."""
        if not self.is_tty:
            return
        with self._lock:
            erased = self._erased()
            self._live = _printable(line)[: shutil.get_terminal_size().columns - 1]
            self._write(erased + self._live)

    def _erased(self) -> str:
        return f"\r{' ' * len(self._live)}\r" if self._live else ""

    def _write(self, text: str) -> None:
        if self._out is None:
            return
        encoding = getattr(self._out, "encoding", None) or "utf-8"
        try:
            self._out.write(text.encode(encoding, "replace").decode(encoding))
            self._out.flush()
        except (OSError, ValueError):  # the reader of a pipe left, or the stream is closed: the pages go on
            self._out = None


class DownloadLines:
    """Says of each download how far it is, and once how it ended."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._names: dict[str, str] = {}
        self._said: dict[str, tuple[str, int]] = {}
        self._ended: set[str] = set()

    def update(self, snapshots: Iterable[JobSnapshot]) -> None:
        """Say what is new in the downloads' states."""
        running: list[JobSnapshot] = []
        ended: list[JobSnapshot] = []
        for snapshot in snapshots:
            if snapshot.data.get("name"):
                self._names[snapshot.job_id] = str(snapshot.data["name"])
            if snapshot.is_final:
                ended.append(snapshot)
            elif snapshot.progress.get("phase") in _PHASES:
                running.append(snapshot)
        self._terminal.show(self._live_line(running))
        for snapshot in ended:
            self._end(snapshot)
        for snapshot in () if self._terminal.is_tty else running:
            step = (str(snapshot.progress["phase"]), _percent(snapshot.progress) // 10)
            if self._said.get(snapshot.job_id) != step:
                self._said[snapshot.job_id] = step
                self._terminal.say(progress_line(self._name(snapshot), snapshot.progress))

    def _live_line(self, running: list[JobSnapshot]) -> str:
        if len(running) == 1:
            return progress_line(self._name(running[0]), running[0].progress)
        # Several have to fit into one line.
        parts = [f"{self._name(snapshot)} {_percent(snapshot.progress)} %" for snapshot in running]
        return f"Getting {', '.join(parts)}" if parts else ""

    def _end(self, snapshot: JobSnapshot) -> None:
        if snapshot.job_id in self._ended:
            return
        self._ended.add(snapshot.job_id)
        name = self._name(snapshot)
        sentences = {
            "done": f"{name} is ready.",
            "failed": snapshot.error or f"{name} could not be downloaded. Try again on the Models page.",
            "cancelled": f"The download of {name} was stopped.",
            "interrupted": f"The download of {name} goes on at the next start.",
        }
        self._terminal.say(sentences[snapshot.status])

    def _name(self, snapshot: JobSnapshot) -> str:
        return self._names.get(snapshot.job_id, "the model")


def follow_downloads(jobs: Jobs, terminal: Terminal, stop: threading.Event, *, interval_s: float = POLL_S) -> None:
    """Show the downloads that run now, and those that begin meanwhile, until all have ended or `stop` is set."""
    lines = DownloadLines(terminal)
    unfinished: set[str] = set()
    try:
        while not stop.is_set():
            found = {job.job_id: job for job in jobs.active(LOCAL_OWNER) if job.kind == DOWNLOAD}
            for job_id in unfinished - found.keys():
                found[job_id] = jobs.get(LOCAL_OWNER, job_id)
            lines.update(found.values())
            unfinished = {job_id for job_id, job in found.items() if not job.is_final}
            if not unfinished:
                break
            stop.wait(interval_s)
    except StudioError as error:  # the downloads go on, and the pages show them
        logger.info("the downloads cannot be followed: %s", error)
    finally:
        terminal.show("")


def progress_line(name: str, progress: Mapping[str, Any]) -> str:
    """One line like "Getting SmolLM2 135M Instruct: download 43 % (41 of 96 MB)"; `progress` counts bytes."""
    phase = str(progress["phase"])
    step, total = float(progress.get("step") or 0), float(progress.get("total") or 0)
    line = f"Getting {name}: {_PHASES[phase]} {_percent(progress)} %"
    if phase != "download" or total <= 0:
        return line
    if total >= 950_000_000:
        return f"{line} ({step / 1e9:.1f} of {total / 1e9:.1f} GB)"
    return f"{line} ({step / 1e6:.0f} of {total / 1e6:.0f} MB)"


def _percent(progress: Mapping[str, Any]) -> int:
    step, total = float(progress.get("step") or 0), float(progress.get("total") or 0)
    return int(100 * min(1.0, step / total)) if total > 0 else 0


def _printable(text: str) -> str:
    """Names and errors come from outside: nothing of them may steer the terminal."""
    return "".join(char if char.isprintable() else " " for char in text)
