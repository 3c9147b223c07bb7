"""Training: plan a run, start it, watch it, stop it, go on with it. One at a time; the others wait, also over a restart.

The work is in a process of its own (engine/services/training_job.py). Closing the studio leaves it working and the next start
takes hold of it again. Knows storage, the runner and runs' folders; knows no page and loads no model.
"""

from __future__ import annotations

import hashlib
import json
import logging
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from engine.errors import BadOptionError, NotFoundError
from engine.jobs.job import JobSnapshot, can_resume, snapshot_of
from engine.jobs.process import attach
from engine.jobs.runner import JobRunner
from engine.safety.limits import clean_label
from engine.services.edge import NOTHING_HERE, storage_errors
from engine.services.runs import KIND, SERIES_KINDS, RunRequest, RunView, run_data, run_view
from engine.services.training_job import TrainingParts, TrainJob, has_begun, run_dir
from engine.services.training_plan import Planner, TrainingPlan
from engine.training.estimate import row_tokens, work_tokens
from engine.types import DatasetOptions, TrainOptions
from storage.records import DatasetRecord, JobRecord, JobStatus, Json, Kind, RunEventRecord
from storage.unit_of_work import UnitOfWork

NAME_MAX_CHARS: Final = 80
PICTURE: Final = "run.png"
TENSORBOARD: Final = "tensorboard"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A run that was accepted. Its id is a job's."""

    run_id: str
    adapter_id: str
    """Of the adapter that it will make."""
    dataset_id: str
    settings: Json


class TrainingService:
    """Everything the Train page and /train do. Thread-safe."""

    def __init__(self, runner: JobRunner, planner: Planner, parts: TrainingParts) -> None:
        self._runner = runner
        self._planner = planner
        self._parts = parts
        self._database = parts.database

    def plan(self, owner_id: str, rater_id: str, options: TrainOptions | None = None) -> TrainingPlan:
        """Say what a wish means now, what it takes and whether it can start; nothing is written.

        Raises NotFoundError for an unknown dataset or model, BadOptionError for a task or recipe that there is not.
        """
        return self._planner.plan(owner_id, rater_id, options or TrainOptions())

    @storage_errors()
    def train(self, owner_id: str, rater_id: str, options: TrainOptions | None = None) -> RunStarted:
        """Freeze data and settings and queue the run. The same idempotency key again is the same run.

        Raises NotEnoughDataError with what is missing, NoModelError, BadOptionError, NotFoundError, and BusyError while the
        studio closes.
        """
        wish = options or TrainOptions()
        known = self._known(owner_id, wish.idempotency_key)
        if known is not None:
            return _started(known)
        planner = self._planner
        name = clean_label(wish.name, max_chars=NAME_MAX_CHARS, what="The name")
        method = planner.method(wish)
        if method is not None:
            planner.settings(method, wish, examples=1)  # a bad one is refused before anything is frozen
        spec = planner.trainable(owner_id, wish.base or planner.default(owner_id, wish.task), wish.task)
        record = self._dataset(owner_id, rater_id, wish)
        settings = planner.settings(record.method, wish, int(record.counts["train"]))
        rows = planner.rows(owner_id, record)
        takes = planner.estimate(owner_id, spec, settings, record.counts, rows)
        planner.check_memory(spec, takes)
        work = work_tokens(
            settings,
            train=int(record.counts["train"]),
            held_out=int(record.counts["held_out"]),
            tokens=row_tokens(rows, settings.max_length),
        )
        request = RunRequest(
            task=wish.task,
            recipe=record.method,
            preset=wish.preset,
            name=name or self._next_name(owner_id),
            adapter_id=uuid.uuid4().hex,
            base_model_id=spec.id,
            base_sha256=planner.base_sha256(spec),
            dataset_id=record.id,
            dataset_sha256=record.sha256,
            device=self._parts.device.name,
            settings=settings.to_json(),
            samples=planner.samples(owner_id, record),
            estimate=asdict(takes),
            work=work,
            overrides=dict(wish.settings or {}),
        )
        with self._database.write() as uow:
            job, is_new = uow.jobs.add(owner_id, kind=KIND, request=request.to_json(), idempotency_key=wish.idempotency_key)
            uow.commit()
        if is_new:
            self._start(job, begin=True)
        return _started(job)

    @storage_errors()
    def runs(self, owner_id: str, task: Kind | None = None) -> tuple[RunView, ...]:
        """The owner's runs, newest first, without their series (see `events`)."""
        with self._database.read() as uow:
            jobs = uow.jobs.list(owner_id, KIND)
            views = [run_view(uow, job, self._snapshot(uow, job, data={})) for job in jobs]
        return tuple(view for view in views if task is None or view.request.task == task)

    @storage_errors()
    def changes(self, owner_id: str) -> str:
        """A text that is another one when a run of the owner has begun, gone on or ended."""
        with self._database.read() as uow:
            jobs = uow.jobs.list(owner_id, KIND)
        states = [(job.id, job.attempts, self._status(job)) for job in jobs]
        return hashlib.sha256(repr(states).encode()).hexdigest()[:16]

    @storage_errors()
    def run(self, owner_id: str, run_id: str) -> RunView:
        """One run with all its series. Raises NotFoundError."""
        with self._database.read() as uow:
            job = uow.jobs.get(owner_id, run_id, KIND)
            return run_view(uow, job, self._snapshot(uow, job), uow.run_events.list(job.id, kinds=SERIES_KINDS))

    @storage_errors()
    def events(self, owner_id: str, run_id: str, after: int = 0) -> tuple[RunEventRecord, ...]:
        """The run's events with a number above `after`. Raises NotFoundError."""
        with self._database.read() as uow:
            return uow.run_events.list(uow.jobs.get(owner_id, run_id, KIND).id, after=after)

    @storage_errors()
    def stop(self, owner_id: str, run_id: str) -> JobSnapshot:
        """Ask a run to save what it has and end; `resume` goes on from there. One that waits does not begin. Harmless when it
        has ended. Raises NotFoundError.
        """
        with self._database.read() as uow:
            job = uow.jobs.get(owner_id, run_id, KIND)
        self._runner.cancel(job.id, "interrupted")
        with self._database.read() as uow:
            return self._snapshot(uow, uow.jobs.get(owner_id, run_id, KIND))

    @storage_errors()
    def resume(self, owner_id: str, run_id: str) -> str:
        """Queue a run that was cut off or failed again, as the same run: it goes on from its last complete checkpoint.

        Returns the id; harmless while it waits or runs. Raises NotFoundError, NoModelError when its model is gone, and
        BadOptionError for one that is done or was discarded.
        """
        with self._database.read() as uow:
            job = uow.jobs.get(owner_id, run_id, KIND)
        request = RunRequest.from_json(job.request)
        self._planner.trainable(owner_id, request.base_model_id, request.task)
        with self._database.write() as uow:
            job = uow.jobs.get(owner_id, run_id, KIND)
            if job.status in ("queued", "running"):
                return job.id
            if not can_resume(KIND, job.status):
                raise BadOptionError("This training has ended; there is nothing to go on with.", key="error.run_over")
            again = {"status": "queued", "result": None, "error": None, "finished_at": None, "attempts": job.attempts + 1}
            job = uow.jobs.update(job.id, **again)
            uow.commit()
        self._start(job, begin=True)
        return job.id

    @storage_errors()
    def picture(self, owner_id: str, run_id: str) -> Path:
        """A PNG of the run's curves, drawn anew while it goes on. Raises NotFoundError before there is anything to draw."""
        with self._database.read() as uow:
            job = uow.jobs.get(owner_id, run_id, KIND)
            events = uow.run_events.list(job.id, kinds=SERIES_KINDS)
        path = run_dir(self._parts.runs_dir, job.id) / PICTURE
        if job.status == "done" and path.is_file():
            return path
        if not any(event.kind == "metrics" for event in events):
            raise NotFoundError(NOTHING_HERE, key="error.not_found")
        from engine.training.picture import draw

        path.parent.mkdir(parents=True, exist_ok=True)
        draw([{"n": event.n, "kind": event.kind, **event.body} for event in events], path, title=str(job.request["name"]))
        return path

    @storage_errors()
    def tensorboard_dir(self, owner_id: str, run_id: str) -> Path:
        """The folder with the run's TensorBoard files, which may not exist yet. Raises NotFoundError."""
        with self._database.read() as uow:
            return run_dir(self._parts.runs_dir, uow.jobs.get(owner_id, run_id, KIND).id) / TENSORBOARD

    def going_on(self) -> tuple[str, ...]:
        """One sentence for each run whose process works on when the studio closes, for the terminal."""
        sentences = []
        for snapshot in self._runner.active():
            if snapshot.kind == KIND and attach(run_dir(self._parts.runs_dir, snapshot.job_id)) is not None:
                step, total = snapshot.progress.get("step"), snapshot.progress.get("total")
                where = f" (step {step} of {total})" if total else ""
                name = snapshot.data.get("name", "")
                sentences.append(f'The training "{name}"{where} goes on by itself; start Tastemaker again to watch it.')
        return tuple(sentences)

    @storage_errors()
    def take_up(self) -> None:
        """At a start: take hold of the run that still works, conclude those whose process is gone, queue those that waited."""
        with self._database.read() as uow:
            jobs = uow.jobs.unfinished(KIND)
        self._stop_strays({job.id for job in jobs})
        # The one that works comes first: the others wait for it.
        for job in sorted(jobs, key=lambda job: (job.status == "queued", job.seq)):
            self._start(job, begin=job.status == "queued" or not has_begun(self._parts.runs_dir, job.id))

    def _stop_strays(self, known: set[str]) -> None:
        """Ask processes to save and end whose runs are over for the rows: another backup was restored meanwhile."""
        for folder in self._parts.runs_dir.glob("*/job.json"):
            if folder.parent.name in known or not _is_run(folder):
                continue
            child = attach(folder.parent)
            if child is not None:
                log.warning("run %s trains but is not known any more; it is stopped", folder.parent.name)
                child.ask("stop")

    def _start(self, job: JobRecord, *, begin: bool) -> None:
        attempt = TrainJob(job, self._parts, begin=begin)
        self._runner.start(job, attempt.body, lane="training", data=attempt.data(), on_end=attempt.end, outlives=True)

    def _status(self, job: JobRecord) -> JobStatus:
        live = self._runner.snapshot(job.id)
        return live.status if live else job.status

    def _snapshot(self, uow: UnitOfWork, job: JobRecord, *, data: Json | None = None) -> JobSnapshot:
        live = self._runner.snapshot(job.id)
        return live or snapshot_of(job, seq=1, data=run_data(uow, job) if data is None else data)

    def _dataset(self, owner_id: str, rater_id: str, wish: TrainOptions) -> DatasetRecord:
        if wish.dataset is not None:
            record = self._planner.frozen(owner_id, wish)
        else:
            frozen = DatasetOptions(task=wish.task, kind=self._planner.method(wish))
            record = self._parts.datasets.freeze(owner_id, rater_id, frozen)
        return self._parts.datasets.with_replay(owner_id, record.id)

    def _known(self, owner_id: str, idempotency_key: str | None) -> JobRecord | None:
        if idempotency_key is None:
            return None
        with self._database.read() as uow:
            return next((job for job in uow.jobs.list(owner_id, KIND) if job.idempotency_key == idempotency_key), None)

    def _next_name(self, owner_id: str) -> str:
        with self._database.read() as uow:
            return f"Taste {len(uow.jobs.list(owner_id, KIND)) + 1}"


def _started(job: JobRecord) -> RunStarted:
    request = RunRequest.from_json(job.request)
    return RunStarted(job.id, request.adapter_id, request.dataset_id, request.settings)


def _is_run(job_path: Path) -> bool:
    """Whether a folder is a training's, not a download's."""
    try:
        job: Any = json.loads(job_path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(job, dict) and "run_id" in job and "adapter_id" in job
