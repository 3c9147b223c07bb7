"""Adapters: which one writes, which ones there are, and how one becomes the one in use.

What "promoted" means is the newest promotion's row, so promoting and rolling back take effect with the next request, in the
pages and in the API alike. Knows storage, the adapters' folders and the gate's verdict; knows no page and loads no weights.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from engine.errors import BadFileError, BadOptionError, BusyError, GateError, StudioError
from engine.evaluation.preference import Gate, Reason
from engine.models.adapters import CONFIG_NAME, WEIGHTS_NAME, AdapterRef, sha256_of
from engine.models.store import KnownHashes
from engine.safety.limits import clean_label, clean_text
from engine.services.edge import storage_errors
from engine.services.evaluations import KIND, Standing, result_of, standing_of
from engine.services.lineage import Lineage, lineage_of
from storage.database import Database
from storage.records import BASE, AdapterRecord, Json, Kind, PromotionRecord
from storage.unit_of_work import UnitOfWork

log = logging.getLogger(__name__)

PROMOTED = "promoted"
"""The option that means "whatever is in use"."""
NAME_MAX_CHARS = 80
OVERRIDE_MAX_CHARS = 500

State = Literal["candidate", "promoted", "retired"]


@dataclass(frozen=True, slots=True)
class AdapterView:
    """An adapter as lists show it. `result` is its newest blind test's (see engine.services.evaluations.result_of), or None."""

    record: AdapterRecord
    state: State
    result: Json | None
    evaluation_id: str | None

    @property
    def marks(self) -> tuple[str, ...]:
        """Ids of what it was trained on that was withdrawn or deleted since."""
        return self.record.marks


class AdapterService:
    """Resolve, list, promote, roll back, rename, remove."""

    def __init__(self, database: Database, adapters_dir: Path, default_model: Callable[[str, str], str]) -> None:
        """`default_model(task, owner_id)` names the model that "base" means when nothing else does."""
        self._database = database
        self._dir = adapters_dir
        self._default_model = default_model
        self._hashes = KnownHashes()

    @storage_errors()
    def resolve(self, owner_id: str, model_id: str, option: str, task: Kind = "text") -> tuple[str, AdapterRef | None]:
        """Which adapter a request means: (its id, where it lies), or (BASE, None) for the model as it was installed.

        `option` is an adapter's id, "base" or "promoted". What was chosen is used or refused, never replaced by the base model:
        raises NotFoundError, BadOptionError when it belongs to another model or task, BadFileError when it was removed or is
        damaged.
        """
        with self._database.read() as uow:
            record = _chosen(uow, owner_id, model_id, option, task)
        return (BASE, None) if record is None else (record.id, self._ref(record))

    @storage_errors()
    def get(self, owner_id: str, adapter_id: str) -> AdapterRecord:
        """The record, removed or not. Raises NotFoundError."""
        with self._database.read() as uow:
            return uow.adapters.get(owner_id, adapter_id)

    @storage_errors()
    def list(self, owner_id: str, task: Kind | None = None) -> tuple[AdapterView, ...]:
        """The adapters that are there, of a task or all, newest first, with their state and their newest blind test."""
        with self._database.read() as uow:
            tests = uow.jobs.list(owner_id, KIND)
            history = uow.promotions.history(owner_id, task)
            views = []
            for record in uow.adapters.list(owner_id, task=task):
                job = next((job for job in tests if job.request["adapter_id"] == record.id), None)
                result = result_of(standing_of(uow, owner_id, owner_id, job)) if job else None
                views.append(AdapterView(record, _state(record, history), result, job.id if job else None))
        return tuple(views)

    @storage_errors()
    def names(self, owner_id: str) -> dict[str, str]:
        """What the owner's adapters are called, by id; removed ones too, for the answers they wrote."""
        with self._database.read() as uow:
            return {record.id: record.name for record in uow.adapters.list(owner_id, removed=True)}

    @storage_errors()
    def promoted(self, owner_id: str, task: Kind = "text", model_id: str | None = None) -> str:
        """Id of the adapter in use on a model, or BASE."""
        model = model_id or self._default_model(task, owner_id)
        with self._database.read() as uow:
            return _current_id(uow, owner_id, task, model)

    @storage_errors()
    def history(self, owner_id: str, task: Kind | None = None) -> tuple[PromotionRecord, ...]:
        """Every switch, newest first."""
        with self._database.read() as uow:
            return uow.promotions.history(owner_id, task)

    @storage_errors()
    def promote(
        self,
        owner_id: str,
        adapter_id: str,
        *,
        task: Kind | None = None,
        override: str | None = None,
        model_id: str | None = None,
    ) -> PromotionRecord:
        """Use this adapter for its task from the next request on; BASE goes back to the model as it was installed, for `task`.

        An adapter needs a passed gate against what is in use now; `override` is the reason to do without. BASE needs neither.
        What is in use already stays, without another row. Raises GateError with the reasons, NotFoundError, BadOptionError,
        BadFileError.
        """
        reason = clean_text(override or "", max_chars=OVERRIDE_MAX_CHARS, what="The reason").strip()
        if adapter_id != BASE:
            self._ref(_live(self.get(owner_id, adapter_id)))
        with self._database.write() as uow:
            record = None if adapter_id == BASE else _live(uow.adapters.get(owner_id, adapter_id))
            if record is not None and task not in (None, record.task):
                raise _of_another_task(record)
            task = record.task if record else task or "text"
            model = record.base_model_id if record else model_id or self._default_model(task, owner_id)
            current = uow.promotions.current(owner_id, task, model)
            in_use = current.adapter_id if current else BASE
            if current is not None and in_use == adapter_id:
                return current
            gate, test = _gate(uow, owner_id, record, in_use) if record else (Gate(True, 0, 0), None)
            if not gate.passed and not reason:
                raise _refused(gate)
            made = uow.promotions.add(
                owner_id,
                task=task,
                base_model_id=model,
                adapter_id=adapter_id,
                previous_id=in_use,
                evaluation_id=test.job.id if test else None,
                override="" if gate.passed else reason,
                gate=gate.as_json(),
            )
            uow.commit()
        return made

    @storage_errors()
    def roll_back(self, owner_id: str, task: Kind = "text", base_model_id: str | None = None) -> PromotionRecord:
        """Use what was in use before; again, what was before that, and so on to the base model. Removed adapters are passed over.

        Raises BadOptionError when there is nothing before, BadFileError when it is damaged.
        """
        model = base_model_id or self._default_model(task, owner_id)
        with self._database.write() as uow:
            rows = [row for row in reversed(uow.promotions.history(owner_id, task)) if row.base_model_id == model]
            before = _stack(rows)
            in_use, steps = before.pop(), 1
            while len(before) > 1 and before[-1] != BASE and uow.adapters.get(owner_id, before[-1]).removed_at is not None:
                before.pop()
                steps += 1
            if not before:
                raise BadOptionError("Nothing was promoted here, so there is nothing to roll back.", key="error.nothing_before")
            if before[-1] != BASE:
                self._ref(uow.adapters.get(owner_id, before[-1]))
            made = uow.promotions.add(
                owner_id,
                task=task,
                base_model_id=model,
                adapter_id=before[-1],
                previous_id=in_use,
                evaluation_id=None,
                override="",
                gate={"rolled_back": steps},
            )
            uow.commit()
        return made

    @storage_errors()
    def rename(self, owner_id: str, adapter_id: str, name: str) -> AdapterRecord:
        """Give it another name. Raises NotFoundError, BadOptionError for an empty one."""
        cleaned = clean_label(name, max_chars=NAME_MAX_CHARS, what="The name")
        if not cleaned:
            raise BadOptionError("Give the adapter a name; it keeps the one it has.", key="error.adapter_name")
        with self._database.write() as uow:
            record = uow.adapters.update(owner_id, adapter_id, name=cleaned)
            uow.commit()
        return record

    @storage_errors()
    def remove(self, owner_id: str, adapter_id: str) -> AdapterRecord:
        """Delete its files; its row stays, for the answers it wrote.

        Raises NotFoundError, BusyError while it is in use or being tested.
        """
        with self._database.write() as uow:
            record = uow.adapters.get(owner_id, adapter_id)
            if _current_id(uow, owner_id, record.task, record.base_model_id) == adapter_id:
                raise BusyError("This adapter is in use. Roll back first, then remove it.", key="error.adapter_in_use")
            tested = (job.request for job in uow.jobs.active(owner_id, kind=KIND))
            if any(adapter_id in (request["adapter_id"], request["against_id"]) for request in tested):
                raise BusyError("This adapter is being tested. Stop the test first.", key="error.adapter_tested")
            if record.removed_at is None:
                record = uow.adapters.update(owner_id, adapter_id, removed_at=datetime.now(UTC))
                uow.commit()
        shutil.rmtree(self._dir / record.id, ignore_errors=True)
        return record

    @storage_errors()
    def lineage(self, owner_id: str, creation_id: str, rater_id: str | None = None) -> Lineage:
        """Where an answer comes from, back to single ratings. Raises NotFoundError."""
        with self._database.read() as uow:
            return lineage_of(uow, owner_id, rater_id or owner_id, creation_id)

    def _ref(self, record: AdapterRecord) -> AdapterRef:
        """Where an adapter lies, once its weights are what was trained. Raises BadFileError."""
        folder = self._dir / record.id
        if record.removed_at is not None:
            raise _removed(record)
        try:
            found = self._hashes.sha256(folder / WEIGHTS_NAME)
            is_whole = found == record.sha256 and (folder / CONFIG_NAME).is_file()
            reason = "its weights are not the ones that were trained"
        except OSError:
            is_whole, reason = False, f"{WEIGHTS_NAME} cannot be read"
        if is_whole:
            return AdapterRef(record.id, record.sha256, folder)
        text = f'The adapter {record.name} is damaged: {reason}. Use another version or "base".'
        raise BadFileError(text, key="error.adapter_damaged", name=record.name, reason=reason)


def _chosen(uow: UnitOfWork, owner_id: str, model_id: str, option: str, task: Kind) -> AdapterRecord | None:
    adapter_id = _current_id(uow, owner_id, task, model_id) if option == PROMOTED else option
    if adapter_id == BASE:
        return None
    record = uow.adapters.get(owner_id, adapter_id)
    if record.task != task:
        raise _of_another_task(record)
    if record.base_model_id != model_id:
        text = f"The adapter {record.name} was trained on {record.base_model_id}, so it cannot be used with {model_id}."
        raise BadOptionError(text, key="error.adapter_model", name=record.name, trained_on=record.base_model_id, model=model_id)
    return record


def _current_id(uow: UnitOfWork, owner_id: str, task: Kind, model_id: str) -> str:
    current = uow.promotions.current(owner_id, task, model_id)
    return current.adapter_id if current else BASE


def _live(record: AdapterRecord) -> AdapterRecord:
    if record.removed_at is not None:
        raise _removed(record)
    return record


def _of_another_task(record: AdapterRecord) -> BadOptionError:
    text = f"The adapter {record.name} is for {record.task}. Use one that was trained for this."
    return BadOptionError(text, key="error.adapter_task", name=record.name, task=record.task)


def _removed(record: AdapterRecord) -> BadFileError:
    text = f'The adapter {record.name} was removed. Use another version or "base".'
    return BadFileError(text, key="error.adapter_removed", name=record.name)


def _state(record: AdapterRecord, history: Sequence[PromotionRecord]) -> State:
    """From the switches of its task on its model, newest first."""
    place = (record.task, record.base_model_id)
    here = [row.adapter_id for row in history if (row.task, row.base_model_id) == place]
    if here and here[0] == record.id:
        return "promoted"
    return "retired" if record.id in here else "candidate"


def _stack(rows: Sequence[PromotionRecord]) -> list[str]:
    """What was in use, oldest first, with what was rolled back taken off again; the last one is in use now."""
    stack = [BASE]
    for row in rows:
        steps = row.gate.get("rolled_back")
        if isinstance(steps, int):
            del stack[max(1, len(stack) - steps) :]
        else:
            stack.append(row.adapter_id)
    return stack


def _gate(uow: UnitOfWork, owner_id: str, record: AdapterRecord, in_use: str) -> tuple[Gate, Standing | None]:
    """The verdict of the newest complete blind test against what is in use; else why there is none."""
    unfinished: Standing | None = None
    for job in uow.jobs.list(owner_id, KIND):
        wanted: dict[str, Any] = {"adapter_id": record.id, "against_id": in_use, "adapter_sha256": record.sha256}
        if job.request.get("automatic_only") or any(job.request.get(name) != value for name, value in wanted.items()):
            continue
        standing = standing_of(uow, owner_id, owner_id, job)
        if standing.is_judged:
            return standing.gate, standing
        unfinished = unfinished or standing
    if unfinished is not None:
        return unfinished.gate, unfinished
    text = "It has not been tested blindly against the version in use."
    return Gate(None, 0, 0, (Reason(text, "error.gate_untested", {}),)), None


def _refused(gate: Gate) -> GateError:
    reasons = " ".join(reason.text for reason in gate.reasons)
    text = f"Not promoted. {reasons} To promote it anyway, give a reason."
    return GateError(text, key="error.gate", reasons=reasons)


def check_adapter(found: object, wanted: AdapterRef | None) -> None:
    """Make sure that an answer came from the weights it was asked of; `found` is its path's "adapter".

    Raises StudioError: an answer must never be shown under the name of another model.
    """
    if found != sha256_of(wanted):
        name = BASE if wanted is None else wanted.id
        log.error("an answer asked of %s (%s) came from %s", name, sha256_of(wanted), found)
        raise StudioError(
            "An answer came from other weights than the ones asked for, so it was not kept. Try again.",
            key="error.other_weights",
        )
