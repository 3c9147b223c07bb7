"""Tails the events of a process that trains into the rows, each number once, and tells the followers of the job.

Knows events, rows and the job's snapshot; knows no process.
"""

from __future__ import annotations

import logging
import time
from typing import Any, Final

from engine.errors import StudioError
from engine.jobs.process import ChildEvent
from engine.jobs.runner import JobContext
from engine.services.edge import storage_errors
from engine.services.meters import Meters
from engine.services.runs import RunRequest, live_data
from storage.database import Database
from storage.records import JobRecord, Json, RunEventRecord

STORE_S: Final = 0.4
"""How often events go to the rows."""
METERS_S: Final = 1.0
BEFORE_STEPS: Final = ("load", "prepare")
"""Phases before the first step."""

log = logging.getLogger(__name__)


class EventTail:
    """Takes the process's events in, and lets rows and followers have them."""

    def __init__(self, job: JobRecord, request: RunRequest, database: Database, meters: Meters) -> None:
        self._job = job
        self._request = request
        self._database = database
        self._meters = meters
        with storage_errors(), self._database.read() as uow:
            self.stored_n = uow.run_events.last_n(job.id)
        self.n = self.stored_n
        """Number of the newest event that was taken in."""
        self.is_stopping = False
        """Somebody asked for the end, and the process saves what it has."""
        self._pending: list[RunEventRecord] = []
        self._progress: dict[str, Any] = dict(job.progress)
        self._last: dict[str, Any] = {}
        self._machine: Json = {}
        self._is_waiting = False
        self._is_short = False
        self._began_s: float | None = None
        """When the first attempt began, as its events say."""
        self._stored_at_s = self._metered_at_s = float("-inf")

    def take(self, events: list[ChildEvent], context: JobContext) -> None:
        """Take new events in; they reach rows and followers within STORE_S."""
        self._is_short = False
        for event in events:
            self._take(event)
        now_s = time.monotonic()
        if now_s - self._metered_at_s >= METERS_S:
            self._metered_at_s, self._machine = now_s, self._meters.read()
        if now_s - self._stored_at_s >= STORE_S:
            self._stored_at_s = now_s
            try:
                self.flush(context)
            except StudioError as error:  # they stay pending; the process goes on all the same
                log.warning("events of run %s were not written: %s", self._job.id, error)

    @property
    def last(self) -> Json:
        """The newest figures that the process told, by name."""
        return self._last

    def wait_for_memory(self, context: JobContext) -> None:
        """Tell the followers that it begins as soon as there is memory."""
        self._is_short = True
        self.flush(context)

    @storage_errors()
    def flush(self, context: JobContext) -> None:
        """Store what is pending, then tell the followers. Raises BusyError when it cannot be written; it stays pending."""
        if self._pending:
            with self._database.write() as uow:
                uow.run_events.add(self._job.id, self._pending)
                uow.commit()
            self._pending, self.stored_n = [], self._pending[-1].n
        data = live_data(
            self._request,
            self._progress,
            last=self._last,
            events_n=self.stored_n,
            is_waiting=self._is_waiting,
            is_stopping=self.is_stopping,
            is_short=self._is_short,
            machine=self._machine,
        )
        context.publish(data)
        progress = self._progress
        if progress:
            context.progress(progress["step"], progress["total"], phase=progress["phase"], eta_s=progress["eta_s"])

    def _take(self, event: ChildEvent) -> None:
        self.n, kind = int(event["n"]), str(event["kind"])
        body = {name: value for name, value in event.items() if name not in ("n", "kind")}
        if kind == "phase":
            is_new = body["phase"] != self._progress.get("phase")
            self._progress = {name: body.get(name) for name in ("phase", "step", "total")}
            self._progress["eta_s"] = self._left_s(body)
            if not is_new:
                return  # progress within a phase is in the job's row; what matters later is when phases began
        elif kind == "metrics":
            self._last.update(body)
        elif kind == "waiting":
            self._is_waiting = bool(body.get("on"))
        self._pending.append(RunEventRecord(self._job.id, self.n, kind, body))

    def _left_s(self, phase: Json) -> float | None:
        """Seconds left: what the process says; before its first step it cannot know, and the estimate stands in."""
        if phase.get("eta_s") is not None or phase["phase"] not in BEFORE_STEPS:
            eta_s: float | None = phase.get("eta_s")
            return eta_s
        if self._began_s is None and self.n == 1:
            self._began_s = float(phase["t"])
        if self._began_s is None:
            return None
        left_s = float(self._request.estimate.get("duration_s", 0.0)) - (float(phase["t"]) - self._began_s)
        return round(left_s, 1) if left_s > 0 else None
