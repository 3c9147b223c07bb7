"""The Train tab: what your ratings are enough for, a training while it runs, all trainings and the data behind them.

A run's figures go to the page as numbered events: it asks each second for what is new, so a reload, a second window or another
device shows the same. Drawn by assets/js/train*.js and chart.js. Knows the services; knows no model and no database.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.errors import BadOptionError
from engine.types import DatasetOptions, EvaluateOptions, TrainOptions, options_from_json
from storage.records import CreationFilter, DatasetRecord, Json, Method
from ui.components.frame import Frame
from ui.components.widget import widget
from ui.handlers import Action, Answer, acting, action_id, in_words, task_of
from ui.i18n import Translator
from ui.runs import RunsOf
from ui.tabs.library import LibraryPage
from ui.view_dataset import METHODS, data_view, dataset_view, headline
from ui.view_train import new_events
from ui.view_train_form import form_groups, label_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from engine.services.datasets import DatasetPreview
    from engine.studio import Studio

View = dict[str, Any]
FORM = ("task", "preset", "recipe", "base", "dataset", "name", "settings")


def build(studio: Studio, frame: Frame, t: Translator) -> None:
    """Mount the tab into its page."""
    page = TrainPage(studio, t, frame.language)

    widget("train", elem_id="train", act=acting(frame, page.actions))


class TrainPage:
    """What the page can ask for, by the action's type. Each takes (owner_id, action) and answers one JSON object."""

    def __init__(self, studio: Studio, t: Translator, language: str) -> None:
        self.studio = studio
        self.t = t
        self.language = language
        self.runs_of = RunsOf(studio, t, language)
        library = LibraryPage(studio, t, language)
        self.actions: dict[str, Answer] = {
            "show": self.show,
            "runs": self.runs,
            "changes": self.changes,
            "run": self.run,
            "plan": self.plan,
            "start": self.start,
            "stop": self.stop,
            "cancel": self.cancel,
            "resume": self.resume,
            "evaluate": self.evaluate,
            "promote": self.promote,
            "facets": library.facets,
            "freeze": self.freeze,
            "export": self.export,
            "import": library.import_file,
        }

    # -- the page --------------------------------------------------------------------------------------------------------

    def show(self, owner_id: str, action: Action) -> View:
        """{runs, bases, data}: everything but the plan and the run that is watched; `data` is of the action's task."""
        task = task_of(action.get("task", "text"))
        preview = self.studio.datasets.preview(owner_id, owner_id, DatasetOptions(task=task))
        missing = self._missing(preview)
        frozen = [dataset_view(record, self.t) for record in self.studio.datasets.list(owner_id, task)]
        panel = data_view(preview.counts, preview.suggested, missing, preview.examples, self.t)
        bases = [card for card in self.studio.models.cards(owner_id) if card.task == "text" and card.state == "installed"]
        return {
            **self.runs(owner_id, action),
            "bases": [{"id": card.id, "name": card.name} for card in bases if not card.source.startswith("openai:")],
            "data": {**panel, "task": task, "datasets": frozen},
        }

    def runs(self, owner_id: str, action: Action) -> View:
        """{runs, changes}: a row for each, newest first."""
        return {**self.changes(owner_id, action), "runs": self.runs_of.rows(owner_id)}

    def changes(self, owner_id: str, action: Action) -> View:
        """{changes}: a text that is another one when a run has begun, gone on or ended; cheap enough for each second."""
        return {"changes": self.studio.training.changes(owner_id)}

    def run(self, owner_id: str, action: Action) -> View:
        """{since, after, view, metrics, samples, log, alarms, changes}: what is new of one run past event number `after`."""
        after = _number(action.get("after"))
        # The state first: once it says that the run is over, all its events are in the rows.
        view = self.runs_of.view(owner_id, action_id(action), is_first=after == 0)
        events = self.studio.training.events(owner_id, action_id(action), after)
        seen = new_events(events, self.t, self.language)
        return {**seen, **self.changes(owner_id, action), "since": after, "after": max(after, seen["after"]), "view": view}

    def plan(self, owner_id: str, action: Action) -> View:
        """What starting with this form would do, how long it would take with each preset, and why it can't where it can't."""
        plan = self.studio.training.plan(owner_id, owner_id, _options(_form(action)))
        found = plan.dataset
        counts: Mapping[Method, Json] = {found.method: found.counts} if isinstance(found, DatasetRecord) else found.counts
        rows = counts.get(plan.method, {})
        return {
            **headline(counts, plan.method, not isinstance(found, DatasetRecord) and not found.is_ready, self.t, task=plan.task),
            "task": plan.task,
            "method": plan.method,
            "suggested": None if isinstance(found, DatasetRecord) else found.suggested,
            "base_name": self.runs_of.model_name(owner_id, plan.base_model_id),
            "rows": {"train": rows.get("train", 0), "held_out": rows.get("held_out", 0)},
            "is_busy": plan.runs_ahead > 0,
            "can_start": plan.can_start,
            "reasons": self._said([one.message for one in plan.reasons], [(one.key, one.values) for one in plan.reasons]),
            "estimates": {
                name: {"duration_s": takes.duration_s, "memory_bytes": takes.memory_bytes}
                for name, takes in plan.estimates.items()
            },
            "settings": form_groups(plan.settings, plan.preset_settings, plan.settings.choices, self.t),
        }

    # -- one run ---------------------------------------------------------------------------------------------------------

    def start(self, owner_id: str, action: Action) -> View:
        """Start a training, or put it into the queue. The same key twice is one training."""
        options = _options(_form(action), key=str(action.get("key") or "") or None)
        return {"run_id": self.studio.training.train(owner_id, owner_id, options).run_id}

    def stop(self, owner_id: str, action: Action) -> View:
        """Save its state and stop it; it can go on later."""
        self.studio.training.stop(owner_id, action_id(action))
        return {}

    def cancel(self, owner_id: str, action: Action) -> View:
        """End it without an adapter."""
        return {"status": self.studio.jobs.cancel(owner_id, action_id(action))}

    def resume(self, owner_id: str, action: Action) -> View:
        """Go on from the last complete checkpoint."""
        self.studio.training.resume(owner_id, action_id(action))
        return {}

    def evaluate(self, owner_id: str, action: Action) -> View:
        """Start the blind test of a run's adapter against what is in use; {evaluation_id} for the Arena."""
        return {"evaluation_id": self.studio.arena.evaluate(owner_id, self._adapter_id(owner_id, action), EvaluateOptions())}

    def promote(self, owner_id: str, action: Action) -> View:
        """Use a run's adapter from now on. Needs a passed blind test; the Arena can do without, with a reason."""
        adapter_id = self._adapter_id(owner_id, action)
        self.studio.adapters.promote(owner_id, adapter_id)
        record = self.studio.adapters.get(owner_id, adapter_id)
        return {"notice": self.t("train.promoted.notice", name=record.name)}

    def freeze(self, owner_id: str, action: Action) -> View:
        """Freeze the ratings of what a Library filter passes; {id, title} of the dataset, the same one for the same rows."""
        given = action.get("filter")
        wanted = (
            {name: value for name, value in given.items() if value not in (None, "", False)} if isinstance(given, dict) else None
        )
        task = task_of(action.get("task", "text"))
        options = DatasetOptions(task=task, filter=wanted, name=str(action.get("name") or ""))
        record = self.studio.datasets.freeze(owner_id, owner_id, options)
        return {"id": record.id, "title": dataset_view(record, self.t)["title"]}

    def export(self, owner_id: str, action: Action) -> View:
        """{url, name, rows}: the rows of one frozen dataset, or of all ratings as they are now, in TRL's format."""
        if action.get("dataset"):
            file = self.studio.exports.export_dataset(owner_id, str(action["dataset"]))
        else:
            format = str(action.get("format"))
            if format not in METHODS:
                raise BadOptionError(f"Choose one of: {', '.join(METHODS)}.", key="error.one_of", names=", ".join(METHODS))
            task = task_of(action.get("task", "text"))
            file = self.studio.exports.export(owner_id, owner_id, format=format, task=task, filter=CreationFilter())
        return {"url": f"/exports/{file.id}", "name": file.name, "rows": file.rows}

    def _adapter_id(self, owner_id: str, action: Action) -> str:
        adapter = self.studio.training.run(owner_id, action_id(action)).adapter
        if adapter is None:
            raise BadOptionError("This training has made no adapter.", key="error.no_adapter")
        return adapter.id

    def _missing(self, preview: DatasetPreview) -> list[str]:
        return self._said(preview.missing, preview.missing_keys)

    def _said(self, messages: Iterable[str], keys: Iterable[tuple[str, Json]]) -> list[str]:
        """Sentences in the page's language: the English one says most, the others are made from its key and values. Settings are
        called what the form calls them.
        """
        said = []
        for message, (key, values) in zip(messages, keys, strict=True):
            if key.rpartition(".")[2].startswith("setting_"):
                said.append(self.t(key, **{**values, "name": label_of(str(values.get("name")), self.t)}))
            else:
                said.append(message if self.language == "en" else self.t(key, **in_words(values, self.language)))
        return said


def _form(action: Action) -> View:
    """The page's form {task, preset, recipe, base, dataset, name, settings}; what is missing or empty is left to the plan."""
    given = action.get("form")
    if not isinstance(given, dict):
        raise BadOptionError("Options must be one JSON object or null.", key="error.options_object")
    form = {name: given[name] for name in FORM if given.get(name) not in (None, "", {})}
    return {"preset": "balanced", **form}


def _options(form: Mapping[str, Any], *, key: str | None = None) -> TrainOptions:
    settings = form.get("settings") or None
    if settings is not None and not isinstance(settings, dict):
        raise BadOptionError("Options must be one JSON object or null.", key="error.options_object")
    task = task_of(form.get("task", "text"))
    return options_from_json(TrainOptions, {**form, "task": task, "settings": settings, "idempotency_key": key})


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
