"""A training run as rows have it: what was frozen when it was started, and what its events say.

Knows jobs of kind "train" and their events; knows no process and no page. Works inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from engine.jobs.job import JobSnapshot, can_resume
from storage.errors import RecordNotFoundError
from storage.records import AdapterRecord, DatasetRecord, JobRecord, Json, Kind, Method, RunEventRecord
from storage.unit_of_work import UnitOfWork

KIND = "train"
"""Kind of the jobs that train."""
SERIES_KINDS = ("metrics", "sample", "log", "alarm")
"""Events that a run's view is made of; phases are in the job's progress."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """Everything a run needs, frozen when it was started: the request of its job. `settings` are complete."""

    task: Kind
    recipe: Method
    preset: str
    name: str
    adapter_id: str
    base_model_id: str
    base_sha256: str
    dataset_id: str
    dataset_sha256: str
    device: str
    settings: Json
    samples: tuple[Json, ...]
    """[{messages, seed}]: what is answered at intervals."""
    estimate: Json
    work: float
    """Tokens that the estimate counts on; with the time that the run takes, the next estimate's pace."""
    overrides: Json = field(default_factory=dict)
    """The settings that somebody changed; the others are the preset's."""

    def to_json(self) -> dict[str, Any]:
        """As the job's row keeps it."""
        return {**asdict(self), "samples": [dict(sample) for sample in self.samples]}

    @classmethod
    def from_json(cls, value: Json) -> RunRequest:
        """Read what `to_json` wrote; names of a later version are left out."""
        known = {one.name for one in fields(cls)}
        given = {name: item for name, item in value.items() if name in known}
        return cls(**{**given, "samples": tuple(given["samples"])})


@dataclass(frozen=True, slots=True)
class RunView:
    """A run as pages and the API show it. In lists the series are empty: `TrainingService.events` has them."""

    job: JobRecord
    snapshot: JobSnapshot
    request: RunRequest
    dataset: DatasetRecord | None
    adapter: AdapterRecord | None
    """None until it is done, or when it was deleted."""
    metrics: tuple[Json, ...] = ()
    """Rows {step, loss, held_out_loss, accuracy, …, t}, any subset, oldest first. After a resume steps may come again: the later
    row counts."""
    samples: tuple[Json, ...] = ()
    """{step, index, prompt, text, seed}; step 0 is before training."""
    logs: tuple[str, ...] = ()
    alarms: tuple[Json, ...] = ()
    """{name, message, values}."""

    @property
    def run_id(self) -> str:
        """The job's id."""
        return self.job.id

    @property
    def settings(self) -> Json:
        """The complete settings, as they were frozen; `TrainOptions(settings=...)` takes them back."""
        return self.request.settings

    @property
    def can_resume(self) -> bool:
        """Whether it may go on."""
        return can_resume(KIND, self.snapshot.status)

    @property
    def can_stop(self) -> bool:
        """Whether it waits or runs."""
        return not self.snapshot.is_final


def run_view(uow: UnitOfWork, job: JobRecord, snapshot: JobSnapshot, events: Iterable[RunEventRecord] = ()) -> RunView:
    """Put a run's view together."""
    request = RunRequest.from_json(job.request)
    by_kind: dict[str, list[Json]] = {kind: [] for kind in SERIES_KINDS}
    for event in events:
        if event.kind in by_kind:
            by_kind[event.kind].append(event.body)
    return RunView(
        job=job,
        snapshot=snapshot,
        request=request,
        dataset=_dataset(uow, job.owner_id, request.dataset_id),
        adapter=adapter_of(uow, job.owner_id, request.adapter_id),
        metrics=tuple(by_kind["metrics"]),
        samples=tuple(by_kind["sample"]),
        logs=tuple(str(body.get("text", "")) for body in by_kind["log"]),
        alarms=tuple(by_kind["alarm"]),
    )


def run_data(uow: UnitOfWork, job: JobRecord) -> Json:
    """What a run's snapshot shows once memory no longer has it; the same names as `live_data`."""
    last: dict[str, Any] = {}
    for event in uow.run_events.list(job.id, kinds=("metrics",)):
        last.update(event.body)
    return live_data(RunRequest.from_json(job.request), job.progress, last=last, events_n=uow.run_events.last_n(job.id))


def live_data(
    request: RunRequest,
    progress: Json,
    *,
    last: Mapping[str, Any],
    events_n: int,
    is_waiting: bool = False,
    is_stopping: bool = False,
    is_short: bool = False,
    machine: Json | None = None,
) -> Json:
    """What a run's snapshot shows: where it is, its newest figures, and the number of its newest event that can be read."""
    return {
        "name": request.name,
        "adapter_id": request.adapter_id,
        "phase": progress.get("phase", ""),
        "step": progress.get("step", 0),
        "total": progress.get("total", 0),
        "eta_s": progress.get("eta_s"),
        "last": dict(last),
        "events_n": events_n,
        "is_waiting": is_waiting,
        "is_stopping": is_stopping,
        "is_short": is_short,
        "machine": dict(machine or {}),
    }


def adapter_of(uow: UnitOfWork, owner_id: str, adapter_id: str) -> AdapterRecord | None:
    """The adapter's row, None before there is one."""
    try:
        return uow.adapters.get(owner_id, adapter_id)
    except RecordNotFoundError:
        return None


def _dataset(uow: UnitOfWork, owner_id: str, dataset_id: str) -> DatasetRecord | None:
    try:
        return uow.datasets.get(owner_id, dataset_id)
    except RecordNotFoundError:
        return None
