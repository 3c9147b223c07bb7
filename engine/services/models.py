"""Models: what there is, what fits this machine, getting and removing them, the default of each task, what is in memory.

A download is a background job around a child process (engine/models/fetch.py); one that a closing or killed studio left
unfinished starts again with the next one. Knows storage, the runner, the model store and host; knows no page.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from engine.device import Device, Hardware, hardware
from engine.errors import BadOptionError, BusyError, NoModelError, NotFoundError, StudioError
from engine.jobs.job import JobSnapshot
from engine.jobs.runner import JobContext, JobRunner
from engine.models.catalog import (
    STARTER_ENCODER_ID,
    STARTER_IMAGE_ID,
    STARTER_TEXT_ID,
    TASKS,
    AssetsSource,
    ModelSpec,
    Task,
    parse_source,
)
from engine.models.fetch import fetch
from engine.models.store import ModelStore, State, gigabytes
from engine.services.edge import NOTHING_HERE, storage_errors
from engine.services.model_card import ModelCard, make_card
from engine.services.model_list import ModelList
from engine.settings import Settings
from storage.database import Database
from storage.records import LOCAL_OWNER, JobRecord, JobStatus, Json

DOWNLOAD = "download"
"""Kind of the jobs that get a model."""
_DEFAULT_KEY = "models.default."
_STARTERS: Mapping[Task, str] = {"text": STARTER_TEXT_ID, "embedding": STARTER_ENCODER_ID, "image": STARTER_IMAGE_ID}
_ETA_AFTER_S = 2.0
"""A guess from less than this jumps."""


class LoadedView(Protocol):
    """What of a loaded model is needed here."""

    @property
    def id(self) -> str:
        """Model id."""

    @property
    def size_bytes(self) -> int:
        """Bytes it takes in memory."""


class Host(Protocol):
    """Where loaded models are (engine/models/host.py)."""

    def loaded(self) -> tuple[Any, ...]:
        """What is in memory."""

    def need_bytes(self, spec: ModelSpec) -> int:
        """What an installed model must have to be loaded. Raises BadFileError."""

    def unload(self, model_id: str) -> Any:
        """Let go of an idle model."""

    def warm(self, model_id: str) -> Any:
        """Load in the background."""


class ModelService:
    """Everything the Models page does. Thread-safe."""

    def __init__(
        self,
        models: ModelList,
        store: ModelStore,
        host: Host,
        runner: JobRunner,
        database: Database,
        settings: Settings,
        device: Device,
    ) -> None:
        self._models = models
        self._store = store
        self._host = host
        self._runner = runner
        self._database = database
        self._settings = settings
        self._device = device
        self._downloads: dict[str, str] = {}
        self._failures: dict[str, JobSnapshot] = {}
        self._lock = threading.Lock()

    def cards(self, owner_id: str = LOCAL_OWNER, *, counted: bool = True) -> tuple[ModelCard, ...]:
        """Every model with its state on this machine: the catalogue's order, then what the owner added.

        `counted`: with the memory of installed ones as the host counts it, from their files; else the catalogue's figure, for
        whoever asks every second and shows none.
        """
        machine = self.hardware()
        in_memory = {model.id for model in self._host.loaded()}
        defaults = {task: self.default(task, owner_id) for task in _STARTERS}
        return tuple(
            make_card(
                spec,
                state=self._state(spec),
                machine=machine,
                is_default=defaults.get(spec.task) == spec.id,
                is_loaded=spec.id in in_memory,
                job=self._download(spec.id),
                failure=self._failures.get(spec.id),
                need_bytes=self._need_bytes(spec) if counted else None,
            )
            for spec in self._models.specs(owner_id)
        )

    def names(self, owner_id: str = LOCAL_OWNER) -> dict[str, str]:
        """What models are called, by id."""
        return {spec.id: spec.name for spec in self._models.specs(owner_id)}

    def specs(self, owner_id: str = LOCAL_OWNER) -> tuple[ModelSpec, ...]:
        """Every model as the catalogue says it."""
        return self._models.specs(owner_id)

    @storage_errors()
    def get(self, owner_id: str, model_id: str) -> str:
        """Start getting a model and return the job's id; while it runs, the same job's. An installed one is verified again.

        Raises NotFoundError, BadOptionError for one that is nowhere to get, NoModelError when the studio runs offline.
        """
        spec = self._spec(model_id, owner_id)
        if not spec.is_stored:
            message = f"{spec.name} is used where it is; there is nothing to get."
            raise BadOptionError(message, key="error.model_in_place", name=spec.name)
        if self._settings.offline and self._store.state(spec) != "installed":
            raise _offline(spec)
        with self._lock:
            running = self._download(model_id)
            if running is not None:
                return running.job_id
            with self._database.write() as uow:
                job, _ = uow.jobs.add(owner_id, kind=DOWNLOAD, request={"model_id": model_id})
                uow.commit()
            self._failures.pop(model_id, None)
            self._downloads[model_id] = job.id
            self._pending(model_id).parent.mkdir(parents=True, exist_ok=True)
            self._pending(model_id).touch()
            self._start(owner_id, job, spec)
        return job.id

    def cancel_get(self, owner_id: str, model_id: str) -> bool:
        """Stop a download; what came so far is kept for the next time. Returns whether one ran."""
        running = self._download(self._spec(model_id, owner_id).id)
        return running is not None and self._runner.cancel(running.job_id)

    def verify(self, model_id: str, owner_id: str = LOCAL_OWNER) -> None:
        """Read every file of an installed model again. Raises BadFileError naming the first that differs."""
        self._store.verify(self._spec(model_id, owner_id))

    @storage_errors()
    def remove(self, model_id: str, owner_id: str = LOCAL_OWNER) -> None:
        """Delete an installed model's files, or forget one that the user added (whose own files stay).

        Raises NotFoundError, and BusyError while it writes or is being downloaded.
        """
        spec = self._spec(model_id, owner_id)
        running = self._download(model_id)
        if running is not None:
            raise BusyError(f"{spec.name} is being downloaded. Cancel that first.", key="error.model_busy", name=spec.name)
        self._host.unload(model_id)
        if self._models.is_added(owner_id, model_id):
            self._models.remove_added(owner_id, model_id)
        self._store.remove(spec)
        self._failures.pop(model_id, None)

    def remove_added(self, owner_id: str, model_id: str) -> None:
        """Forget a model that the user added, and its key. Raises NotFoundError."""
        if not self._models.is_added(owner_id, model_id):
            raise NotFoundError(NOTHING_HERE, key="error.not_found")
        self.remove(model_id, owner_id)

    @storage_errors()
    def default(self, task: str, owner_id: str = LOCAL_OWNER) -> str:
        """Return the id of the model a task uses: the chosen one, or the starter. It may not be installed yet.

        Summaries are written by the text model. Raises BadOptionError for a task that has no models.
        """
        task = "text" if task == "summary" else task
        starter = _STARTERS.get(_checked_task(task))
        with self._database.read() as uow:
            chosen = uow.settings.get(owner_id, _DEFAULT_KEY + task)
        found = next((spec for spec in self._models.specs(owner_id) if spec.id == chosen and spec.task == task), None)
        if found is not None and self._models.is_trusted(found):
            return found.id
        if starter is None:
            raise BadOptionError(f'There is no model for "{task}" yet.', key="error.task_unknown", task=task)
        return starter

    @storage_errors()
    def set_default(self, owner_id: str, task: str, model_id: str) -> None:
        """Choose the model a task uses. Raises NotFoundError, and BadOptionError for one that is made for another task."""
        spec = self._spec(model_id, owner_id)
        if spec.task != _checked_task(task):
            raise BadOptionError(f"{spec.name} cannot do that task.", key="error.model_task", name=spec.name)
        with self._database.write() as uow:
            uow.settings.set(owner_id, _DEFAULT_KEY + task, model_id)
            uow.commit()

    def add_local(self, owner_id: str, path: str | Path, name: str = "") -> ModelCard:
        """Add a folder with config.json, tokenizer.json and *.safetensors; it is read where it is. Raises BadFileError."""
        return self._card(self._models.add_local(owner_id, path, name))

    def add_server(self, owner_id: str, name: str, url: str, model: str, key: str = "") -> ModelCard:
        """Add a model behind an OpenAI-compatible server; nothing is sent to it yet. Raises BadOptionError."""
        return self._card(self._models.add_server(owner_id, name, url, model, key))

    def hardware(self) -> Hardware:
        """What this machine has, memory in bytes."""
        return hardware(self._device)

    def loaded(self) -> tuple[Any, ...]:
        """The models in memory (engine.models.host.LoadedModel)."""
        return tuple(self._host.loaded())

    def unload(self, model_id: str) -> None:
        """Free an idle model's memory; it loads again when it is needed."""
        self._host.unload(model_id)

    def require(self, model_id: str, owner_id: str = LOCAL_OWNER) -> ModelSpec:
        """Return the spec of a model that can be used now.

        Raises NotFoundError for an unknown id, NoModelError, which says how far its download is, for one that is not here.
        """
        spec = self._spec(model_id, owner_id)
        if not self._models.is_trusted(spec):
            raise NoModelError(
                f"The server {spec.name} came with an imported bundle, so nothing is sent to it. "
                "Remove it on the Models page and add it again if you trust it.",
                key="error.server_untrusted",
                name=spec.name,
            )
        if self._store.state(spec) == "installed":
            for other_id in spec.needs:
                self.require(other_id, owner_id)
            return spec
        running = self._download(model_id)
        if running is not None:
            percent = round(100 * _fraction(running))
            raise NoModelError(
                f"{spec.name} is being downloaded ({percent} %). Your text is kept; try again when it is here.",
                key="error.model_downloading",
                name=spec.name,
                percent=percent,
            )
        if self._settings.offline and spec.is_stored:
            raise _offline(spec)
        if isinstance(parse_source(spec.source), AssetsSource):
            text = f"{spec.name} is not in this copy of the studio: its weights are missing. Choose another model."
            raise NoModelError(text, key="error.model_not_shipped", name=spec.name)
        raise NoModelError(
            f"{spec.name} is not installed. Get it on the Models page, or choose another model.",
            key="error.model_missing_get",
            name=spec.name,
        )

    @storage_errors()
    def ensure_starters(self, owner_id: str = LOCAL_OWNER) -> tuple[str, ...]:
        """Start the downloads of missing starter models, and of those that an earlier start left unfinished; the jobs' ids."""
        if self._settings.offline:
            return ()
        stored = [spec for spec in self._models.specs(owner_id) if spec.is_stored]
        wanted = [spec for spec in stored if spec.id in _STARTERS.values() or self._pending(spec.id).exists()]
        return tuple(self.get(owner_id, spec.id) for spec in wanted if self._store.state(spec) != "installed")

    def warm(self, owner_id: str = LOCAL_OWNER) -> None:
        """Load the default text model in the background, if it is installed and not a server's."""
        spec = self._spec(self.default("text", owner_id), owner_id)
        if self._store.state(spec) == "installed" and spec.family != "openai":
            self._host.warm(spec.id)

    def _start(self, owner_id: str, job: JobRecord, spec: ModelSpec) -> None:
        def end(context: JobContext, status: JobStatus, error: str | None) -> None:
            if status != "interrupted":  # by nobody's wish: the next start goes on with it
                self._pending(spec.id).unlink(missing_ok=True)

        data = {"model_id": spec.id, "name": spec.name}
        self._runner.start(job, lambda context: self._fetch(context, spec), lane="background", data=data, on_end=end)

    def _fetch(self, context: JobContext, spec: ModelSpec) -> Json:
        if self._store.state(spec) == "installed":
            context.progress(0, 1, phase="verify")
            self._store.verify(spec)
            return {"model_id": spec.id, "size_bytes": self._store.size_bytes(spec)}
        pace = _Pace()

        def on_event(event: Mapping[str, Any]) -> None:
            phase, step, total = str(event["phase"]), int(event["step_bytes"]), int(event["total_bytes"])
            context.progress(step, total, phase=phase, eta_s=pace.eta_s(phase, step, total))

        job_dir = self._settings.runs_dir / context.job_id
        fetch(spec, self._store, job_dir, on_event, context.cancel)
        shutil.rmtree(job_dir, ignore_errors=True)  # a failed one keeps its log
        return {"model_id": spec.id, "size_bytes": self._store.size_bytes(spec)}

    def _pending(self, model_id: str) -> Path:
        """An empty file while a download is wanted. Not a row: rows travel in bundles, and so would the wish."""
        return self._settings.runs_dir / "wanted-models" / model_id

    def _state(self, spec: ModelSpec) -> State:
        return self._store.state(spec) if self._models.is_trusted(spec) else "missing"

    def _download(self, model_id: str) -> JobSnapshot | None:
        """The running download's snapshot; a failed one is remembered for the card until the next try."""
        job_id = self._downloads.get(model_id)
        snapshot = self._runner.snapshot(job_id) if job_id else None
        if snapshot is None or not snapshot.is_final:
            return snapshot
        if snapshot.status == "failed":
            self._failures[model_id] = snapshot
        return None

    def _spec(self, model_id: str, owner_id: str) -> ModelSpec:
        found = next((spec for spec in self._models.specs(owner_id) if spec.id == model_id), None)
        if found is None:
            name = str(model_id)[:100]
            raise NotFoundError(f'There is no model "{name}".', key="error.model_unknown", model=name)
        return found

    def _card(self, spec: ModelSpec) -> ModelCard:
        return make_card(spec, state=self._state(spec), machine=self.hardware(), need_bytes=self._need_bytes(spec))

    def _need_bytes(self, spec: ModelSpec) -> int | None:
        """As the host counts it; None for one that is not here or cannot be read."""
        if spec.family == "openai" or self._state(spec) != "installed":
            return None
        try:
            return self._host.need_bytes(spec)
        except StudioError:
            return None


class _Pace:
    """Guesses the time left of a phase from its own speed."""

    def __init__(self) -> None:
        self._phase = ""
        self._began_s = 0.0
        self._first_step = 0

    def eta_s(self, phase: str, step: int, total: int) -> float | None:
        now_s = time.monotonic()
        if phase != self._phase or step < self._first_step:
            self._phase, self._began_s, self._first_step = phase, now_s, step
        elapsed_s, done = now_s - self._began_s, step - self._first_step
        if elapsed_s < _ETA_AFTER_S or done <= 0 or total <= step:
            return None
        return elapsed_s / done * (total - step)


def _fraction(snapshot: JobSnapshot) -> float:
    step, total = float(snapshot.progress.get("step") or 0), float(snapshot.progress.get("total") or 0)
    return min(1.0, step / total) if total > 0 else 0.0


def _checked_task(task: str) -> Task:
    for known in TASKS:
        if task == known:
            return known
    raise BadOptionError(f'There is no task "{str(task)[:100]}".', key="error.task_unknown", task=str(task)[:100])


def _offline(spec: ModelSpec) -> NoModelError:
    return NoModelError(
        f"{spec.name} ({gigabytes(spec.download_bytes)}) is not installed and the studio runs offline. "
        "Start it once without --offline to get it, or add a model folder of your own on the Models page.",
        key="error.model_offline",
        name=spec.name,
        size=gigabytes(spec.download_bytes),
    )
