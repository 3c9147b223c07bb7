"""One run's job: starts the process that trains, or finds it alive, tails its events into the rows, and says how it ended.

The process (engine/training/run.py) is the one that works; this only watches, so that it can let go when the studio closes and
take hold again at the next start. Knows the child protocol, rows and the adapters' folders; knows no page and loads no model.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engine.device import Device
from engine.errors import (
    BadFileError,
    CancelledError,
    NoMemoryError,
    PoisonError,
)
from engine.jobs.process import (
    FINAL_EVENTS,
    Child,
    ChildEvent,
    attach,
    error_of,
    read_events,
    resident_bytes,
    start_child,
    write_json,
)
from engine.jobs.runner import JobContext
from engine.memory import Arbiter
from engine.services.datasets import DatasetService
from engine.services.edge import storage_errors
from engine.services.meters import Meters
from engine.services.runs import RunRequest, adapter_of, live_data
from engine.services.training_plan import too_little_memory
from engine.services.training_tail import EventTail
from engine.training import artifact
from engine.training.estimate import measured
from storage.database import Database
from storage.records import JobRecord, JobStatus, Json

CHILD: Final = "engine.training.run"
POLL_S: Final = 0.1
"""How soon the process hears that somebody needs the machine."""
REPEAT_WAIT_S: Final = 1.0
"""A "wait" counts for a few seconds only (engine/jobs/process.py), so it is repeated."""
STOP_GRACE_S: Final = 300.0
"""Longest time to save a checkpoint: the process stops within a step, which may take a minute on a busy machine."""
CANCEL_GRACE_S: Final = 8.0
MEMORY_WAIT_S: Final = 1.0
"""How often it is asked whether the memory is there that something at work takes now."""
NEWBORN_S: Final = 10.0
"""Longest time from a process's start to its lock, on a busy machine."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrainingParts:
    """What runs work with."""

    database: Database
    datasets: DatasetService
    runs_dir: Path
    adapters_dir: Path
    device: Device
    model_dir: Callable[[str, str], Path]
    """(owner_id, model_id) → the model's folder. Raises StudioError when it is gone."""
    people_work: Callable[[], bool]
    """Whether somebody waits for an answer just now: training gives way."""
    arbiter: Arbiter
    """Counts the process's memory, and makes room for it."""
    module: str = CHILD


class TrainJob:
    """One attempt at one run, as the runner's body and end."""

    def __init__(self, job: JobRecord, parts: TrainingParts, *, begin: bool) -> None:
        """`begin` starts a process; otherwise the one that works is looked for, or what it left."""
        self.request = RunRequest.from_json(job.request)
        self._job = job
        self._parts = parts
        self._begin = begin
        self._dir = run_dir(parts.runs_dir, job.id)
        self._folder = parts.adapters_dir / self.request.adapter_id
        self._tail = EventTail(job, self.request, parts.database, Meters(parts.device))
        self._wait_at_s: float | None = None

    def data(self) -> Json:
        """What followers see before the body runs."""
        return live_data(self.request, self._job.progress, last={}, events_n=self._tail.stored_n)

    def body(self, context: JobContext) -> Json:
        """Watch the run to its end and return its result. Raises CancelledError (also when this studio only lets go of it),
        NoMemoryError when the machine cannot have room for it, PoisonError, and what the process says went wrong.
        """
        with ExitStack() as counted:
            child = self._hold(context, counted)
            if child is not None:
                self._follow(child, context)
            else:  # what it said while no studio listened
                self._tail.take(Child(self._dir).events(self._tail.n), context)
        self._tail.flush(context)
        return self._conclude(child, context)

    def end(self, context: JobContext, status: JobStatus, error: str | None) -> None:
        """Leave nothing behind that only a resume would need, when there will be none."""
        if status == "cancelled":
            child = attach(self._dir)
            if child is not None:  # cancelled before the body could take hold of it
                child.kill()
            shutil.rmtree(self._dir / "checkpoints", ignore_errors=True)
        if status in ("cancelled", "failed"):
            shutil.rmtree(artifact.part_of(self._folder), ignore_errors=True)

    # -- the process -----------------------------------------------------------------------------------------------------

    def _hold(self, context: JobContext, counted: ExitStack) -> Child | None:
        """The process, counted while `counted` is open."""
        child = attach(self._dir)
        if not self._begin:
            child = child or self._newborn(context)
            if child is not None:
                self._count(context, counted, is_running=True)
            return child
        deadline_s = time.monotonic() + STOP_GRACE_S
        while child is not None and child.is_alive:  # an earlier attempt that still saves what it has
            child.ask("stop")
            context.cancel.check()
            if time.monotonic() > deadline_s:
                child.kill()
            time.sleep(POLL_S)
        self._count(context, counted, is_running=False)
        return self._start()

    def _count(self, context: JobContext, counted: ExitStack, *, is_running: bool) -> None:
        """Have the process's memory counted; wait while what is at work takes it. Raises NoMemoryError when that cannot help."""
        need = int(self.request.estimate.get("memory_bytes", 0))
        while True:
            context.cancel.check()
            try:
                child = self._parts.arbiter.child(self.request.name, need, self._resident_bytes, is_running=is_running)
                counted.enter_context(child)
                return
            except NoMemoryError as error:
                if not error.passes:
                    raise too_little_memory(self.request.name, need, error.have_bytes) from error
            self._tail.wait_for_memory(context)
            context.cancel.wait(MEMORY_WAIT_S)

    def _resident_bytes(self) -> int:
        """Memory of the device that the process holds: on a GPU what it says itself."""
        if self._parts.device.kind == "cuda":
            return int(self._tail.last.get("gpu_bytes") or 0)
        return resident_bytes(self._dir)

    def _newborn(self, context: JobContext) -> Child | None:
        """A process that was started a moment before the studio died takes its lock a moment later."""
        job_path = self._dir / "job.json"
        while job_path.exists() and not self._attempt() and time.time() - job_path.stat().st_mtime < NEWBORN_S:
            child = attach(self._dir)
            if child is not None:
                return child
            context.cancel.wait(POLL_S)
            context.cancel.check()
        return None

    def _start(self) -> Child:
        request, events = self.request, self._dir / "events.jsonl"
        again = (self._dir / "job.json").exists()
        self._parts.datasets.write_files(self._job.owner_id, request.dataset_id, self._dir / "data")
        before_n = _last_n(events)
        if before_n < self._tail.stored_n:  # the folder was lost (a backup has none): numbers must go on all the same
            text = "The files of the earlier attempt are gone; training starts again."
            row = {"n": self._tail.stored_n, "t": time.time(), "kind": "log", "text": text}
            events.write_text(json.dumps(row) + "\n", encoding="utf-8")
            before_n = self._tail.stored_n
        job = {
            "run_id": self._job.id,
            "adapter_id": request.adapter_id,
            "name": request.name,
            "task": request.task,
            "recipe": request.recipe,
            "model_dir": str(self._parts.model_dir(self._job.owner_id, request.base_model_id)),
            "base_sha256": request.base_sha256,
            "base_model_id": request.base_model_id,
            "dataset_dir": str(self._dir / "data"),
            "dataset_sha256": request.dataset_sha256,
            "output_dir": str(self._folder),
            "device": self._parts.device.name,
            "threads": self._parts.device.threads,
            "settings": dict(request.settings),
            "samples": [dict(sample) for sample in request.samples],
            "resume": again,
            "events_before": before_n,
        }
        return start_child(self._parts.module, self._dir, job)

    def _follow(self, child: Child, context: JobContext) -> None:
        """Pass the events on until the process has ended. Raises CancelledError when the studio lets go of it."""
        deadline_s: float | None = None
        while True:
            is_over = not child.is_alive
            self._tail.take(child.events(self._tail.n), context)
            if is_over:
                return
            if context.cancel.cancelled:
                deadline_s = self._ask_to_end(child, context, deadline_s)
                time.sleep(POLL_S)
            else:
                self._give_way(child)
                context.cancel.wait(POLL_S)

    def _ask_to_end(self, child: Child, context: JobContext, deadline_s: float | None) -> float:
        reason = context.cancel.reason
        if context.cancel.is_asked:
            child.ask("stop" if reason == "interrupted" else "cancel")
            self._tail.is_stopping = True
        elif self._wait_at_s is not None:
            child.ask("")
        if context.cancel.is_left:
            child.let_go()
            self._tail.flush(context)
            context.cancel.check()
        grace_s = STOP_GRACE_S if reason == "interrupted" else CANCEL_GRACE_S
        deadline_s = min(deadline_s or float("inf"), time.monotonic() + grace_s)
        if time.monotonic() >= deadline_s:
            child.kill()
        return deadline_s

    def _give_way(self, child: Child) -> None:
        """Hold the process up while somebody waits for an answer."""
        now_s = time.monotonic()
        if self._parts.people_work():
            if self._wait_at_s is None or now_s - self._wait_at_s > REPEAT_WAIT_S:
                child.ask("wait")
                self._wait_at_s = now_s
        elif self._wait_at_s is not None:
            child.ask("")
            self._wait_at_s = None

    # -- the end ---------------------------------------------------------------------------------------------------------

    def _conclude(self, child: Child | None, context: JobContext) -> Json:
        last = self._last_event()
        kind = last["kind"] if last else None
        if kind == "done":
            return self._finish()
        if last is not None and kind == "failed":
            raise error_of(last["error"])
        if kind == "cancelled":
            context.cancel.cancel("cancelled")
        elif kind == "interrupted" or context.cancel.cancelled:
            context.cancel.cancel("interrupted")
        else:
            code = child.exit_code if child else None
            log.warning("the process of run %s is gone (exit code %s); %s says more", self._job.id, code, self._dir / "child.log")
            self._note_death()
            context.cancel.cancel("interrupted")
        raise CancelledError("This was stopped.", key="error.cancelled")

    def _last_event(self) -> ChildEvent | None:
        """The event that this attempt ended with, None when its process died without one."""
        events = self._attempt()
        return events[-1] if events and events[-1]["kind"] in FINAL_EVENTS else None

    def _attempt(self) -> list[ChildEvent]:
        """The events of the newest process."""
        try:
            before_n = int(json.loads((self._dir / "job.json").read_text(encoding="utf-8")).get("events_before", 0))
        except (OSError, ValueError):
            return []
        rows, _ = read_events(self._dir / "events.jsonl")
        return [row for row in rows if row["n"] > before_n]

    @storage_errors()
    def _finish(self) -> Json:
        """Verify the adapter and keep it. Doing it twice is harmless: the studio may have died in between."""
        manifest, request = artifact.verify(self._folder), self.request
        if manifest.run_id != self._job.id or manifest.adapter_id != request.adapter_id:
            text = f"The adapter {self._folder.name} belongs to another run."
            raise BadFileError(text, key="error.adapter_of_other_run", name=self._folder.name)
        with self._parts.database.write() as uow:
            if adapter_of(uow, self._job.owner_id, request.adapter_id) is None:
                uow.adapters.add(
                    self._job.owner_id,
                    id=request.adapter_id,
                    task=request.task,
                    name=request.name,
                    base_model_id=request.base_model_id,
                    base_sha256=request.base_sha256,
                    run_id=self._job.id,
                    dataset_id=request.dataset_id,
                    method=request.recipe,
                    recipe=request.recipe,
                    sha256=manifest.sha256,
                    size_bytes=manifest.size_bytes,
                    metrics=dict(manifest.metrics),
                )
                uow.commit()
        duration_s = working_s(read_events(self._dir / "events.jsonl")[0])
        (self._dir / "deaths.json").unlink(missing_ok=True)
        return {
            "adapter_id": request.adapter_id,
            "sha256": manifest.sha256,
            "metrics": dict(manifest.metrics),
            "stopped_early": manifest.stopped_early,
            "duration_s": round(duration_s, 1),
            "seconds_per_token": None if manifest.stopped_early else measured(duration_s, request.work, self._parts.device.kind),
        }

    def _note_death(self) -> None:
        """Raise PoisonError when the process died before at the same place: another try would do the same."""
        path, reached = self._dir / "deaths.json", self._reached()
        try:
            before = json.loads(path.read_text(encoding="utf-8"))["reached"]
        except (OSError, ValueError, KeyError):
            before = None
        write_json(path, {"reached": reached})
        if reached == before:
            path.unlink(missing_ok=True)  # who looks at it and tries again has two tries more
            text = "Training broke off twice at the same place. The run's log says more; change its settings, or resume it."
            raise PoisonError(text, key="error.poison")

    def _reached(self) -> str:
        """Where the process died: its last phase and step, and the newest checkpoint of all attempts."""
        events, (everything, _) = self._attempt(), read_events(self._dir / "events.jsonl")
        phases = [event for event in events if event["kind"] == "phase"]
        steps = [int(event["step"]) for event in events if event["kind"] in ("metrics", "phase")]
        saved = [int(event["step"]) for event in everything if event["kind"] == "checkpoint"]
        return f"{phases[-1]['phase'] if phases else 'start'} {max(steps, default=0)} {max(saved, default=0)}"


def run_dir(runs_dir: Path, run_id: str) -> Path:
    """The folder of a run's process."""
    return runs_dir / run_id


def has_begun(runs_dir: Path, run_id: str) -> bool:
    """Whether a process was ever started for it."""
    return (run_dir(runs_dir, run_id) / "job.json").exists()


def working_s(events: list[ChildEvent]) -> float:
    """Seconds that the process worked, over all its attempts, without those in which it gave way."""
    total = 0.0
    for before, after in zip(events, events[1:], strict=False):
        is_start = after["kind"] == "phase" and after["phase"] == "load"  # of another attempt
        is_pause = before["kind"] in FINAL_EVENTS or (before["kind"] == "waiting" and before.get("on"))
        if not is_start and not is_pause:
            total += max(0.0, float(after["t"]) - float(before["t"]))
    return total


def _last_n(path: Path) -> int:
    rows, _ = read_events(path)
    return int(rows[-1]["n"]) if rows else 0
