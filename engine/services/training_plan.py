"""Plans a training: which model, method and settings a wish means, what that will take, and whether it can start.

Writes nothing. Knows models, datasets, the device and earlier runs; starts no process and knows no page.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from engine.device import Device
from engine.errors import BadOptionError, NoMemoryError, NoModelError, StudioError
from engine.models.catalog import ModelSpec
from engine.models.folder import read_weights
from engine.models.store import KnownHashes, ModelStore, gigabytes
from engine.services.datasets import DatasetPreview, DatasetService
from engine.services.edge import storage_errors
from engine.services.runs import KIND, RunRequest
from engine.training.args import TrainingSettings
from engine.training.dataset import prompt_key, prompt_of
from engine.training.estimate import Estimate, ModelShape, estimate, read_shape, row_tokens
from engine.training.presets import PRESETS, recipe, settings_for
from engine.types import DatasetOptions, TrainOptions
from storage.database import Database
from storage.records import DatasetRecord, DatasetRow, Json, Kind, Method, Split

SAMPLES: Final = 4
"""Fixed prompts that are answered at intervals."""
_MEASURED_ROWS: Final = 200
SIDES: Final[tuple[Split, ...]] = ("held_out", "train")


class Models(Protocol):
    """What is asked of the model service."""

    def default(self, task: str, owner_id: str) -> str:
        """Id of the model a task uses. Raises BadOptionError."""

    def require(self, model_id: str, owner_id: str) -> ModelSpec:
        """The spec of an installed model. Raises NotFoundError, NoModelError."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a training cannot start: an English sentence, and its key and values for other languages."""

    message: str
    key: str
    values: Json


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """What a wish means now."""

    task: Kind
    method: Method
    preset: str
    base_model_id: str
    settings: TrainingSettings
    """Complete; the preset's own where a changed one is refused (`reasons` says which)."""
    preset_settings: TrainingSettings
    """Without anybody's changes."""
    dataset: DatasetPreview | DatasetRecord
    """What would be frozen now, or the Dataset that was asked for."""
    estimates: Mapping[str, Estimate]
    """What each preset would take with the same changes; empty while there is nothing to learn from, or no model."""
    reasons: tuple[Reason, ...]
    """Why it cannot start; () when it can."""
    runs_ahead: int
    """Runs that wait or train: this one would wait for them."""

    @property
    def estimate(self) -> Estimate | None:
        """What it takes; None while there is nothing to learn from, or no model."""
        return self.estimates.get(self.preset)

    @property
    def can_start(self) -> bool:
        """Whether a start would be accepted."""
        return not self.reasons


@dataclass(frozen=True, slots=True)
class PlanParts:
    """What plans are made of."""

    database: Database
    datasets: DatasetService
    models: Models
    store: ModelStore
    device: Device
    most_bytes: Callable[[], int]
    """Memory of the device that a run could have when everything else of the studio was let go of."""


class Planner:
    """Resolves wishes."""

    def __init__(self, parts: PlanParts) -> None:
        self._parts = parts
        self._hashes = KnownHashes()

    def plan(self, owner_id: str, rater_id: str, options: TrainOptions) -> TrainingPlan:
        """Say what the wish means now; nothing is written. Raises NotFoundError for an unknown dataset or model,
        BadOptionError for a task or recipe that there is not.
        """
        found = self._data(owner_id, rater_id, options)
        method = found.method
        counts = found.counts if isinstance(found, DatasetRecord) else found.counts[method]
        reasons = [Reason(text, key, values) for text, (key, values) in _lacks(found)]
        base_id = options.base or self.default(owner_id, options.task)
        preset, settings, refused = self._settings(method, options, int(counts["train"]))
        reasons += [refused] if refused else []
        estimates: dict[str, Estimate] = {}
        try:
            spec = self.trainable(owner_id, base_id, options.task)
            rows = self._rows(owner_id, found)
            for name in PRESETS if rows else ():
                _, wished, _ = self._settings(method, replace(options, preset=name), int(counts["train"]))
                estimates[name] = self.estimate(owner_id, spec, wished, counts, rows)
            if options.preset in estimates:
                self.check_memory(spec, estimates[options.preset])
        except NoModelError as error:
            reasons.append(_reason(error))
        with storage_errors(), self._parts.database.read() as uow:
            ahead = len(uow.jobs.active(owner_id, kind=KIND))
        return TrainingPlan(
            options.task, method, options.preset, base_id, settings, preset, found, estimates, tuple(reasons), ahead
        )

    def settings(self, method: Method, options: TrainOptions, examples: int) -> TrainingSettings:
        """Complete settings for the wish. Raises BadOptionError that names a bad or unknown one."""
        device_kind = self._parts.device.kind
        return settings_for(
            method,
            options.preset,
            examples=examples,
            device_kind=device_kind,
            task=options.task,
            overrides=options.settings,
        )

    def method(self, options: TrainOptions) -> Method | None:
        """The recipe that was asked for. Raises BadOptionError for one that there is not."""
        return None if options.recipe is None else recipe(str(options.recipe))

    def default(self, owner_id: str, task: Kind) -> str:
        """Id of the model that is trained unless another is asked for. Raises BadOptionError for a task without models."""
        return self._parts.models.default(task, owner_id)

    def trainable(self, owner_id: str, model_id: str, task: Kind) -> ModelSpec:
        """The installed model to train on. Raises NotFoundError, and NoModelError for one that is not here, that runs on a
        server or that does another task.
        """
        spec = self._parts.models.require(model_id, owner_id)
        if spec.family == "openai":
            text = f"{spec.name} runs on a server; training needs a model on this machine. Choose another one."
            raise NoModelError(text, key="error.train_server", name=spec.name)
        if spec.task != "text" or task == "image":
            raise NoModelError(f"{spec.name} cannot do that task.", key="error.model_task", name=spec.name)
        return spec

    def estimate(
        self, owner_id: str, spec: ModelSpec, settings: TrainingSettings, counts: Json, rows: Sequence[Json]
    ) -> Estimate:
        """What a run will take. Raises NoModelError when the model's folder cannot be read."""
        return estimate(
            settings,
            self._shape(spec),
            device_kind=self._parts.device.kind,
            train=int(counts["train"]),
            held_out=int(counts["held_out"]),
            tokens=row_tokens(rows, settings.max_length),
            seconds_per_token=self._pace(owner_id, spec.id),
        )

    def check_memory(self, spec: ModelSpec, takes: Estimate) -> None:
        """Raises NoMemoryError when there is too little for it, whatever of the studio is let go of."""
        most = self._parts.most_bytes()
        if takes.memory_bytes > most:
            raise too_little_memory(spec.name, takes.memory_bytes, most)

    def samples(self, owner_id: str, record: DatasetRecord) -> tuple[Json, ...]:
        """[{messages, seed}]: prompts to answer at intervals, held-out ones first."""
        found: dict[str, list[Json]] = {}
        for split in SIDES:
            for row in self._parts.datasets.rows(owner_id, record.id, split):
                messages = prompt_of(row.row)
                found.setdefault(prompt_key(messages), [dict(message) for message in messages])
                if len(found) == SAMPLES:
                    break
        return tuple({"messages": messages, "seed": seed} for seed, messages in enumerate(list(found.values())[:SAMPLES], 1))

    def base_sha256(self, spec: ModelSpec) -> str:
        """The hash of the model's weights: of the file, or of the hashes of several. An adapter fits no others."""
        files = read_weights(self._parts.store.path(spec)).files
        manifest = self._parts.store.manifest(spec)
        listed = manifest["files"] if manifest else {}
        hashes = [listed[path.name]["sha256"] if path.name in listed else self._hashes.sha256(path) for path in files]
        return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode("ascii")).hexdigest()

    def rows(self, owner_id: str, record: DatasetRecord) -> list[Json]:
        """Some rows of a Dataset, to estimate with."""
        rows: Sequence[DatasetRow] = self._parts.datasets.rows(owner_id, record.id, "train")
        return [row.row for row in rows[:_MEASURED_ROWS]]

    def _data(self, owner_id: str, rater_id: str, options: TrainOptions) -> DatasetPreview | DatasetRecord:
        method = self.method(options)
        if options.dataset is None:
            return self._parts.datasets.preview(owner_id, rater_id, DatasetOptions(task=options.task, kind=method))
        return self.frozen(owner_id, options)

    def frozen(self, owner_id: str, options: TrainOptions) -> DatasetRecord:
        """The Dataset that was asked for. Raises NotFoundError, BadOptionError when it is for another task or recipe."""
        record = self._parts.datasets.get(owner_id, str(options.dataset))
        method = self.method(options)
        if record.task != options.task:
            raise BadOptionError(f'That dataset is for "{record.task}".', key="error.train_task", task=record.task)
        if method is not None and method != record.method:
            text = f'That dataset has rows for "{record.method}", not for "{method}".'
            raise BadOptionError(text, key="error.train_method", method=record.method, wanted=method)
        return record

    def _settings(
        self, method: Method, options: TrainOptions, examples: int
    ) -> tuple[TrainingSettings, TrainingSettings, Reason | None]:
        """The preset's settings, those of the wish, and why they are refused."""
        device_kind = self._parts.device.kind
        preset = settings_for(method, options.preset, examples=examples, device_kind=device_kind, task=options.task)
        try:
            return preset, self.settings(method, options, examples), None
        except BadOptionError as error:
            return preset, preset, _reason(error)

    def _rows(self, owner_id: str, found: DatasetPreview | DatasetRecord) -> list[Json]:
        return self.rows(owner_id, found) if isinstance(found, DatasetRecord) else list(found.examples)

    def _pace(self, owner_id: str, model_id: str) -> float | None:
        """What the newest measured run of this model on this device took for a token."""
        with storage_errors(), self._parts.database.read() as uow:
            for job in uow.jobs.list(owner_id, KIND):
                pace: Any = (job.result or {}).get("seconds_per_token") if job.status == "done" else None
                request = RunRequest.from_json(job.request)
                if pace and (request.base_model_id, request.device) == (model_id, self._parts.device.name):
                    return float(pace)
        return None

    def _shape(self, spec: ModelSpec) -> ModelShape:
        try:
            return read_shape(self._parts.store.path(spec))
        except StudioError as error:
            raise NoModelError(error.message, key=error.message_key, **error.values) from error


def too_little_memory(name: str, needs_bytes: int, have_bytes: int) -> NoMemoryError:
    """The error for a training of that name that the machine cannot have room for."""
    needs, have = gigabytes(needs_bytes), gigabytes(max(0, have_bytes))
    return NoMemoryError(
        f"Training {name} needs about {needs} of memory, have {have}. "
        "Close other programs, choose a smaller model, or lower micro_batch_size.",
        key="error.train_memory",
        needs_bytes=needs_bytes,
        have_bytes=have_bytes,
        name=name,
        needs=needs,
        have=have,
    )


def _lacks(found: DatasetPreview | DatasetRecord) -> list[tuple[str, tuple[str, Json]]]:
    if isinstance(found, DatasetRecord):
        return []
    return list(zip(found.missing, found.missing_keys, strict=True))


def _reason(error: StudioError) -> Reason:
    return Reason(error.message, error.message_key, dict(error.values))
