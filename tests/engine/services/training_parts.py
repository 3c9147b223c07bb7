"""For tests of the training service: rows to learn from, a model's folder, and one start of the services after another."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.device import Device
from engine.jobs.job import JobSnapshot
from engine.jobs.process import attach
from engine.jobs.runner import JobContext, JobRunner
from engine.memory import Arbiter, Machine
from engine.models.catalog import ModelSpec
from engine.models.store import ModelStore
from engine.services.datasets import DatasetService
from engine.services.jobs import JobsService, RowJobStore
from engine.services.runs import KIND
from engine.services.training import TrainingService
from engine.services.training_job import TrainingParts
from engine.services.training_plan import Planner, PlanParts
from engine.training.dataset import content_sha256
from engine.types import TrainOptions
from storage.database import Database, open_database
from storage.records import LOCAL_OWNER, DatasetRecord, DatasetRow, JobRecord, Json, Kind, RunEventRecord
from tests.engine.services.fakes import DEADLINE_S, wait_for
from tests.engine.services.training_stand_in import MODULE

OWNER = LOCAL_OWNER
MODEL_ID = "tiny"
CPU = Device("cpu", "float32", 1)
SUBJECTS = ("tea", "bread", "rain", "a walk", "snow", "music", "a nap", "chess", "the sea", "a song", "soup", "a train")


def write_model(folder: Path) -> Path:
    """What looks like a model from outside: a config and weights of zeros."""
    import numpy as np
    from safetensors.numpy import save_file

    folder.mkdir(parents=True)
    config = {"model_type": "llama", "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2, "vocab_size": 32}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file({"w": np.zeros((32, 8), np.float32)}, folder / "model.safetensors")
    return folder


class OneModel:
    """The model service with one model in a folder."""

    def __init__(self, folder: Path) -> None:
        self.spec = ModelSpec(MODEL_ID, "Tiny", "text", "llama", f"local:{folder}", languages=("en",))

    def default(self, task: str, owner_id: str) -> str:
        return MODEL_ID

    def require(self, model_id: str, owner_id: str) -> ModelSpec:
        assert model_id == MODEL_ID
        return self.spec


@dataclass(frozen=True)
class TrainingStudio:
    """One start of the services."""

    folder: Path
    database: Database
    runner: JobRunner
    jobs: JobsService
    training: TrainingService

    def dataset(self, method: str = "dpo", *, held_out: int = 3, task: Kind = "text") -> DatasetRecord:
        """A frozen dataset of twelve rows."""
        rows = tuple(
            DatasetRow(n, "held_out" if n < held_out else "train", row(method, subject, n), ())
            for n, subject in enumerate(SUBJECTS)
        )
        counts = {"train": len(rows) - held_out, "held_out": held_out, "duplicates": 0, "by_source": {}}
        with self.database.write() as uow:
            record = uow.datasets.add(
                OWNER, task=task, method=method, name="", sha256=content_sha256(rows), filter={}, counts=counts, rows=rows
            )
            uow.commit()
        return record

    def train(self, **options: Any) -> str:
        """Start a run; its id."""
        wish = TrainOptions(**{"dataset": self.dataset().id, "preset": "quick", **options})
        return self.training.train(OWNER, OWNER, wish).run_id

    def end(self, run_id: str) -> JobSnapshot:
        """Wait for a run's end."""
        snapshot = self.runner.wait(run_id, DEADLINE_S)
        assert snapshot is not None and snapshot.is_final, snapshot
        assert self.row(run_id).status == snapshot.status
        return snapshot

    def row(self, run_id: str) -> JobRecord:
        with self.database.read() as uow:
            return uow.jobs.get(OWNER, run_id)

    def events(self, run_id: str, *kinds: str) -> list[RunEventRecord]:
        return [event for event in self.training.events(OWNER, run_id) if not kinds or event.kind in kinds]

    def wait_for_step(self, run_id: str, step: int) -> None:
        """Until the rows have this step's figures."""
        wait_for(lambda: any(event.body["step"] >= step for event in self.events(run_id, "metrics")))

    def is_alive(self, run_id: str) -> bool:
        """Whether a process works for the run."""
        return attach(self.folder / "runs" / run_id) is not None

    @contextmanager
    def somebody_writing(self) -> Iterator[None]:
        """A person waits for an answer."""
        with self.database.write() as uow:
            job, _ = uow.jobs.add(OWNER, kind="write", request={})
            uow.commit()

        def write(context: JobContext) -> Json | None:
            context.cancel.wait(DEADLINE_S)
            context.cancel.check()
            return None

        self.runner.start(job, write, lane="interactive")
        try:
            yield
        finally:
            self.runner.cancel(job.id)
            self.runner.wait(job.id, DEADLINE_S)


@contextmanager
def training_studio(
    folder: Path,
    *,
    module: str = MODULE,
    model: Path | None = None,
    arbiter: Arbiter | None = None,
    most_bytes: Callable[[], int] | None = None,
) -> Iterator[TrainingStudio]:
    """Open the services on a folder as a start does, and close them as Ctrl-C does."""
    model = model or (folder / "model" if (folder / "model").exists() else write_model(folder / "model"))
    database = open_database(f"sqlite:///{folder / 'tastemaker.db'}")
    with database.write() as uow:
        uow.jobs.interrupt_unfinished(but=(KIND,))
        uow.commit()
    runner = JobRunner(RowJobStore(database))
    models, store, datasets = OneModel(model), ModelStore(folder / "models"), DatasetService(database)
    parts = TrainingParts(
        database,
        datasets,
        runs_dir=folder / "runs",
        adapters_dir=folder / "adapters",
        device=CPU,
        model_dir=lambda owner_id, model_id: model,
        people_work=lambda: runner.idle_s("interactive") < 0.1,
        arbiter=arbiter or Machine(CPU),
        module=module,
    )
    plan_parts = PlanParts(database, datasets, models, store, CPU, most_bytes or (lambda: 10**12))
    training = TrainingService(runner, Planner(plan_parts), parts)
    try:
        training.take_up()
        yield TrainingStudio(folder, database, runner, JobsService(database, runner), training)
    finally:
        runner.shutdown(5.0)
        database.close()


def row(method: str, subject: str, number: int) -> dict[str, Any]:
    """One row in TRL's format."""
    prompt = [{"role": "user", "content": f"Would you like {subject}?"}]
    good, bad = ([{"role": "assistant", "content": text}] for text in (f"Yes! {subject} gladly!", f"no, rather not {subject}"))
    if method == "dpo":
        return {"prompt": prompt, "chosen": good, "rejected": bad}
    if method == "kto":
        return {"prompt": prompt, "completion": good if number % 2 else bad, "label": bool(number % 2)}
    return {"messages": [*prompt, *good]}
