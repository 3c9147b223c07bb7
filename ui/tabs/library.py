"""The Library tab: find, open, rate, mark, export and import what was made.

The page keeps its own state (filter, selection, place in the list) and asks for one page of 50 at a time; nothing is kept here.
Drawn by assets/js/library.js, worded by assets/i18n/*/library.json. Knows the services; knows no storage and no model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from engine.errors import BadOptionError, StudioError
from engine.types import BAD_REASONS, GOOD_REASONS, RateOptions
from storage.records import CreationFilter, CreationRecord
from ui import view_images, view_summary
from ui.components.frame import Frame
from ui.components.widget import widget
from ui.handlers import Action, Answer, acting, action_id, error_view
from ui.i18n import Translator
from ui.uploads import uploaded_file
from ui.view import markdown
from ui.view_library import Names, detail_view, filter_from, page_view
from ui.view_lineage import lineage_view
from ui.view_thread import figures, state_note

if TYPE_CHECKING:
    from engine.studio import Studio

FORMATS = ("sft", "dpo", "kto", "csv", "bundle")
VERSIONS_WITH_SCORES = 20
IMPORT_ERRORS_SHOWN = 100

View = dict[str, Any]


def build(studio: Studio, frame: Frame, t: Translator) -> None:
    """Mount the Library into its page."""
    page = LibraryPage(studio, t, frame.language)

    kinds = {
        "text": (GOOD_REASONS, BAD_REASONS),
        "image": (view_images.GOOD_REASONS, view_images.BAD_REASONS),
        "summary": (view_summary.GOOD_REASONS, view_summary.BAD_REASONS),
    }
    reasons = {kind: {"good": list(good), "bad": list(bad)} for kind, (good, bad) in kinds.items()}
    value = {"reasons": reasons}
    widget("library", value, elem_id="library", act=acting(frame, page.actions))


class LibraryPage:
    """What the page can ask for, by the action's type. Each takes (owner_id, action) and answers one JSON object."""

    def __init__(self, studio: Studio, t: Translator, language: str) -> None:
        self.studio = studio
        self.t = t
        self.language = language
        self.actions: dict[str, Answer] = {
            "search": self.search,
            "facets": self.facets,
            "open": self.open,
            "lineage": self.lineage,
            "rate": self.rate,
            "star": self.star,
            "tag": self.tag,
            "trash": self.trash,
            "restore": self.restore,
            "write": self.write,
            "draw": self.draw,
            "reproduce": self.reproduce,
            "reproduced": self.reproduced,
            "export": self.export,
            "import": self.import_file,
        }

    def search(self, owner_id: str, action: Action) -> View:
        """One page of what the filter passes, newest first."""
        wanted = filter_from(action.get("filter"))
        page = self.studio.library.search(owner_id, owner_id, wanted, page=action.get("page", 1))
        return page_view(page, self._names(owner_id), wanted.query)

    def facets(self, owner_id: str, action: Action) -> View:
        """What the filter chips offer: models and adapters as {id, name}, tags."""
        facets, names = self.studio.library.facets(owner_id), self._names(owner_id)
        return {
            "models": [{"id": model, "name": names.model(model)} for model in facets["models"]],
            "adapters": [{"id": adapter, "name": names.adapter(adapter)} for adapter in facets["adapters"]],
            "tags": list(facets["tags"]),
        }

    def open(self, owner_id: str, action: Action) -> View:
        """Everything about one Creation."""
        detail, names = self.studio.library.get(owner_id, owner_id, action_id(action)), self._names(owner_id)
        scores: dict[str, float | None] = {}
        for version in detail.versions[-VERSIONS_WITH_SCORES:]:
            rating = self.studio.feedback.rating(owner_id, version.id)
            scores[version.id] = rating.score if rating else None
        return {
            **detail_view(detail, names, scores),
            **self._said(detail.creation, {**names.models, **names.adapters}),
            "next_training_in": self.studio.feedback.counts(owner_id, detail.creation.kind)["next_training_in"],
        }

    def _said(self, creation: CreationRecord, names: Mapping[str, str]) -> View:
        """Its state, its small grey line and its settings, in the words of its kind."""
        if creation.kind != "image":
            return {"note": state_note(creation, self.t), "figures": figures(creation, self.t, names)}
        return {
            "note": view_images.note_of(creation.status, creation.finish_reason, creation.error, self.t),
            "figures": [part for part in (*view_images.batch_facts(creation, self.t), names.get(creation.model_id, "")) if part],
            "facts": view_images.facts_of(creation, names, self.t),
        }

    def lineage(self, owner_id: str, action: Action) -> View:
        """Where one Creation comes from: adapter, training, dataset, single ratings."""
        names = self._names(owner_id)
        return lineage_view(self.studio.adapters.lineage(owner_id, action_id(action)), names.models)

    def rate(self, owner_id: str, action: Action) -> View:
        """Set the rating, or withdraw it (null); says what it did and shows history and preferences again."""
        options = RateOptions(reasons=tuple(action.get("reasons") or ()), comment=str(action.get("comment") or ""))
        result = self.studio.feedback.rate(owner_id, owner_id, action_id(action), action.get("score"), options)
        detail = self.open(owner_id, action)
        return {"rating": detail["rating"], "next_training_in": result.next_training_in, "detail": detail}

    def star(self, owner_id: str, action: Action) -> View:
        """Star or unstar."""
        return {"changed": self.studio.library.star(owner_id, _ids(action), bool(action.get("on")))}

    def tag(self, owner_id: str, action: Action) -> View:
        """Add and remove tags; the facets come back for the chips."""
        add, remove = action.get("add") or (), action.get("remove") or ()
        changed = self.studio.library.tag(owner_id, _ids(action), add=add, remove=remove)
        return {"changed": changed, "facets": self.facets(owner_id, action)}

    def trash(self, owner_id: str, action: Action) -> View:
        """Into the trash."""
        return {"changed": self.studio.library.trash(owner_id, _ids(action))}

    def restore(self, owner_id: str, action: Action) -> View:
        """Out of the trash."""
        return {"changed": self.studio.library.restore(owner_id, _ids(action))}

    def write(self, owner_id: str, action: Action) -> View:
        """Where the Creation came from: its conversation (turned to this version), or for a one-shot its prompt and settings."""
        creation = self.studio.library.get(owner_id, owner_id, action_id(action)).creation
        if creation.conversation_id and creation.trashed_at is None:
            conversation = self.studio.conversations.get(owner_id, creation.conversation_id)
            if conversation.trashed_at is None:
                self.studio.conversations.show_version(owner_id, conversation.id, creation.id)
                return {"conversation_id": conversation.id}
        return {"prompt": creation.prompt, "params": {**creation.params, "model": creation.model_id, "seed": creation.seed}}

    def draw(self, owner_id: str, action: Action) -> View:
        """{prompt, options}: what the Images page needs to make the same picture again, its seed among it."""
        creation = self.studio.library.get(owner_id, owner_id, action_id(action)).creation
        return {"prompt": creation.prompt, "options": {**view_images.options_of(creation), "seed": creation.seed}}

    def reproduce(self, owner_id: str, action: Action) -> View:
        """Start making the Creation again, exactly; the page asks `reproduced` how far it is."""
        creation = self.studio.library.get(owner_id, owner_id, action_id(action)).creation
        again = self.studio.image.reproduce if creation.kind == "image" else self.studio.text.reproduce
        return {"job_id": again(owner_id, creation.id)}

    def reproduced(self, owner_id: str, action: Action) -> View:
        """How far a reproduction is, and what came of it."""
        job = self.studio.jobs.get(owner_id, str(action.get("job_id")))
        if job.status in ("queued", "running"):
            return {"done": False}
        if job.status != "done" or not job.result:
            problem = StudioError(job.error or "", key=getattr(job, "error_key", ""), **dict(getattr(job, "error_values", {})))
            message = error_view(problem, self.language)["error"]["message"] if job.error else self.t("library.reproduce.stopped")
            return {"done": True, "identical": None, "text": "", "message": message}
        same = bool(job.result.get("identical"))
        text = "" if same else str(job.result.get("text", ""))
        words = "images.redraw" if job.kind == "redraw" else "library.reproduce"
        message = self.t(f"{words}.same" if same else f"{words}.differs")
        return {"done": True, "identical": same, "text": text, "message": message}

    def export(self, owner_id: str, action: Action) -> View:
        """Write what the filter shows into a file; the page downloads it from `url`."""
        format = action.get("format")
        if format not in FORMATS:
            raise BadOptionError(f'"format" must be one of {", ".join(FORMATS)}.', key="error.one_of", names=", ".join(FORMATS))
        shown = CreationFilter() if format == "bundle" else filter_from(action.get("filter"))  # a bundle holds everything
        made = self.studio.exports.export(owner_id, owner_id, format=format, filter=shown)
        return {"url": f"/exports/{made.id}", "name": made.name, "rows": made.rows}

    def import_file(self, owner_id: str, action: Action) -> View:
        """Read an uploaded bundle or JSONL file in; the rows that could not be read are named."""
        file = uploaded_file(action.get("path"))
        try:
            result = self.studio.exports.import_file(owner_id, owner_id, file)
        finally:
            file.unlink(missing_ok=True)
        first = result.errors[:IMPORT_ERRORS_SHOWN]
        shown = [{"row": row, "message": message.removeprefix(f"Row {row}: ")} for row, message in first]
        return {"added": result.added, "skipped": result.skipped, "failed": len(result.errors), "errors": shown}

    def _names(self, owner_id: str) -> Names:
        models = {spec.id: spec.name for spec in self.studio.models.specs()}
        return Names(models, self.studio.adapters.names(owner_id), base=self.t("library.base"), render=markdown)


def _ids(action: Action) -> list[str]:
    ids = action.get("ids")
    return ids if isinstance(ids, list) else [str(ids)]
