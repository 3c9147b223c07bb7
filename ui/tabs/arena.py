"""The Arena tab: blind tests of a new version against the one in use, and the switch from one to the other.

The page keeps the id of the test in its address and nothing else; while answers are being written it asks each second.
Drawn by assets/js/arena.js, worded by assets/i18n/*/arena.json. Knows the services; knows no model and no storage.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, get_args

from engine.errors import BadOptionError, NotFoundError, StudioError
from engine.types import EvaluateOptions
from storage.records import Choice, PromotionRecord
from ui.components.frame import Frame
from ui.components.widget import widget
from ui.handlers import Action, Answer, acting, error_view, task_of
from ui.i18n import Translator
from ui.view import LIVE
from ui.view_arena import Versions, history_view, in_use_view, is_over, match_view, result_view, version_view

if TYPE_CHECKING:
    from engine.jobs.job import JobSnapshot
    from engine.services.arena import EvaluationView
    from engine.studio import Studio

HISTORY_SHOWN = 50
View = dict[str, Any]


def build(studio: Studio, frame: Frame, t: Translator) -> None:
    """Mount the tab into its page."""
    widget("arena", elem_id="arena", act=acting(frame, ArenaPage(studio, t, frame.language).actions))


class ArenaPage:
    """What the page can ask for, by the action's type. Every answer but that of `evaluate` is the page again."""

    def __init__(self, studio: Studio, t: Translator, language: str) -> None:
        self.studio = studio
        self.t = t
        self.language = language
        self.actions: dict[str, Answer] = {
            "show": self.show,
            "evaluate": self.evaluate,
            "vote": self.vote,
            "undo": self.undo,
            "cancel": self.cancel,
            "resume": self.resume,
            "promote": self.promote,
            "rollback": self.roll_back,
        }

    def show(self, owner_id: str, action: Action) -> View:
        """The test of the address: {test, history}. Without one the list: {test: null, in_use, open, versions, history}."""
        run_id = action.get("run")
        if run_id:
            test = self._test(owner_id, str(run_id))
            if test["result"] is None:
                return {"test": test, "history": []}  # nothing on the page but the prompt and two answers
            return {"test": test, "history": self._history(owner_id, self._versions(owner_id))}
        adapters, versions = self.studio.adapters.list(owner_id), self._versions(owner_id)
        datasets = {dataset.id: dataset for dataset in self.studio.datasets.list(owner_id)}
        begun = self.studio.arena.open_evaluations(owner_id, owner_id)
        return {
            "test": None,
            "in_use": in_use_view(self.studio.adapters.history(owner_id), versions, self.t),
            "open": [self._open(owner_id, view, versions) for view in begun],
            "versions": [version_view(view, versions, datasets, self.t) for view in adapters],
            "history": self._history(owner_id, versions),
        }

    def evaluate(self, owner_id: str, action: Action) -> View:
        """Start a blind test; the page goes to it."""
        votes = action.get("n")
        options = EvaluateOptions(against=str(action.get("against") or "promoted"), n=votes if isinstance(votes, int) else 30)
        return {"run": self.studio.arena.evaluate(owner_id, str(action.get("adapter_id")), options)}

    def vote(self, owner_id: str, action: Action) -> View:
        """Keep a choice; answers with the next pair."""
        choice = action.get("choice")
        if choice not in get_args(Choice):
            names = ", ".join(get_args(Choice))
            raise BadOptionError(f"Choose one of: {names}.", key="error.one_of", names=names)
        self.studio.arena.vote(owner_id, owner_id, str(action.get("match_id")), choice)
        return self.show(owner_id, action)

    def undo(self, owner_id: str, action: Action) -> View:
        """Take the last vote back; its pair is shown again."""
        match = self.studio.arena.undo(owner_id, owner_id, str(action.get("run")))
        shown = self.show(owner_id, action)
        return {**shown, "test": {**shown["test"], "match": match_view(match)}}

    def cancel(self, owner_id: str, action: Action) -> View:
        """Stop a test whose answers are being written."""
        self.studio.jobs.cancel(owner_id, str(action.get("run")))
        return self.show(owner_id, action)

    def resume(self, owner_id: str, action: Action) -> View:
        """Go on writing the answers of a test that was cut off."""
        self.studio.arena.resume(owner_id, str(action.get("run")))
        return self.show(owner_id, action)

    def promote(self, owner_id: str, action: Action) -> View:
        """Switch to an adapter: its gate has passed, or there is a reason to overrule it."""
        override = str(action.get("override") or "").strip() or None
        made = self.studio.adapters.promote(owner_id, str(action.get("adapter_id")), override=override)
        return self._switched(owner_id, action, made)

    def roll_back(self, owner_id: str, action: Action) -> View:
        """Switch back to what was in use before."""
        task = task_of(action.get("task", "text"))
        return self._switched(owner_id, action, self.studio.adapters.roll_back(owner_id, task, str(action.get("base_id"))))

    def _switched(self, owner_id: str, action: Action, made: PromotionRecord) -> View:
        return {**self.show(owner_id, action), "switched": self._versions(owner_id).name(made.adapter_id)}

    def _test(self, owner_id: str, run_id: str) -> View:
        job = self.studio.jobs.get(owner_id, run_id)
        if job.kind != "evaluate":
            raise NotFoundError("Nothing with this id.", key="error.not_found")
        result = self.studio.arena.result(owner_id, owner_id, run_id)
        over = is_over(result)
        match = None if over else self.studio.arena.match(owner_id, owner_id, run_id)
        made, needed = result["matches"], result["needed"] or int(job.progress.get("total") or 0)
        return {
            "status": job.status,
            "is_live": job.status in LIVE,
            "made": made,
            "needed": needed,
            "votes": result["votes"],
            "eta_s": job.progress.get("eta_s"),
            "match": match_view(match) if match else None,
            "error": error_text(job, self.language),
            "can_resume": job.can_resume and made < needed,
            "result": self._result(owner_id, result) if over else None,
        }

    def _result(self, owner_id: str, result: Mapping[str, Any]) -> View:
        versions = self._versions(owner_id)
        adapter_id = result["adapter_id"]
        adapter = next((view for view in self.studio.adapters.list(owner_id) if view.record.id == adapter_id), None)
        base_id = adapter.record.base_model_id if adapter else None
        in_use = self.studio.adapters.promoted(owner_id, adapter.record.task, base_id) if adapter else None
        return {
            **result_view(result, self.t),
            "adapter_id": adapter_id,
            "name": versions.name(adapter_id),
            "against": versions.name(result["against_id"]),
            "base_id": base_id,
            "task": adapter.record.task if adapter else None,
            "is_promoted": in_use == adapter_id,
            "can_promote": adapter is not None and in_use != adapter_id,
            "is_current": in_use in (result["against_id"], adapter_id),
        }

    def _open(self, owner_id: str, view: EvaluationView, versions: Versions) -> View:
        is_live = view.status in LIVE
        return {
            "run": view.run_id,
            "name": versions.name(view.adapter_id),
            "is_live": is_live,
            "made": view.matches,
            "needed": view.needed,
            "votes": view.votes,
            "eta_s": self.studio.jobs.get(owner_id, view.run_id).progress.get("eta_s") if is_live else None,
        }

    def _history(self, owner_id: str, versions: Versions) -> list[View]:
        return history_view(self.studio.adapters.history(owner_id)[:HISTORY_SHOWN], versions, self.t)

    def _versions(self, owner_id: str) -> Versions:
        return Versions(self.studio.adapters.names(owner_id), self.studio.models.names(owner_id), self.t)


def error_text(job: JobSnapshot, language: str) -> str | None:
    """Why a job failed, in the page's language."""
    if not job.error:
        return None
    problem = StudioError(job.error, key=job.error_key, **dict(job.error_values))
    return str(error_view(problem, language)["error"]["message"])
