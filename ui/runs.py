"""Runs as the Train page shows them, put together from what training, adapters and models know of each.

Knows the services; words and shapes are ui/view_run.py's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.errors import StudioError
from ui.handlers import error_view
from ui.i18n import Translator
from ui.view_run import fixed_view, live_view, row_view
from ui.view_train import last_figure, spark

if TYPE_CHECKING:
    from engine.jobs.job import JobSnapshot
    from engine.services.adapters import AdapterView
    from engine.services.runs import RunView
    from engine.studio import Studio

View = dict[str, Any]
Curve = tuple[list[float], float | None]


class RunsOf:
    """Rows and monitors of runs, in one language."""

    def __init__(self, studio: Studio, t: Translator, language: str) -> None:
        self.studio = studio
        self.t = t
        self.language = language
        self._curves: dict[tuple[str, int], Curve] = {}
        """Of runs that have ended, by id and attempts: their events stay as they are."""

    def rows(self, owner_id: str) -> list[View]:
        """A row for each run, newest first."""
        made = {view.record.id: view for view in self.studio.adapters.list(owner_id)}
        return [
            row_view(run, made.get(run.request.adapter_id), *self._curve(owner_id, run), self.t)
            for run in self.studio.training.runs(owner_id)
        ]

    def view(self, owner_id: str, run_id: str, *, is_first: bool) -> View:
        """One run that is watched; what stays the same comes only the first time. Raises NotFoundError."""
        snapshot = self.studio.jobs.get(owner_id, run_id)
        if not is_first and not snapshot.is_final:
            return live_view(snapshot, None, None, self.t)
        run = self.studio.training.run(owner_id, run_id)
        live = live_view(run.snapshot, self._made(owner_id, run), self._error(run.snapshot), self.t)
        if not is_first:
            return live
        folder = self.studio.training.tensorboard_dir(owner_id, run_id)
        return {**fixed_view(run, self.model_name(owner_id, run.request.base_model_id), str(folder), self.t), **live}

    def model_name(self, owner_id: str, model_id: str) -> str:
        """What a model is called; its id when it is no longer known."""
        return next((spec.name for spec in self.studio.models.specs(owner_id) if spec.id == model_id), model_id)

    def _made(self, owner_id: str, run: RunView) -> AdapterView | None:
        if run.adapter is None:
            return None
        return next((view for view in self.studio.adapters.list(owner_id) if view.record.id == run.adapter.id), None)

    def _curve(self, owner_id: str, run: RunView) -> Curve:
        """The sparkline and the newest held-out accuracy."""
        key = (run.run_id, run.job.attempts)
        if key in self._curves and run.snapshot.is_final:
            return self._curves[key]
        events = self.studio.training.events(owner_id, run.run_id)
        curve = spark(events), last_figure(events, "held_out_accuracy")
        if run.snapshot.is_final:
            self._curves[key] = curve
        return curve

    def _error(self, snapshot: JobSnapshot) -> str | None:
        """Why it failed, in the page's language."""
        if snapshot.status != "failed" or not snapshot.error:
            return None
        problem = StudioError(snapshot.error, key=snapshot.error_key, **dict(snapshot.error_values))
        return str(error_view(problem, self.language)["error"]["message"])
