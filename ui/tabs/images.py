"""The Images page: a prompt becomes pictures to choose from. Turns the page's actions into calls of services, records into views.

Keeps no state of a reader: every action carries its ids. A handler never waits for a model: it starts a job, and the page follows
it (`follow`), so that a reload or a second window shows the same. Drawn by assets/js/image*.js. Knows the services; knows no
model, no database and no picture's bytes beyond handing them on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

from engine.errors import BadFileError, BadOptionError, NotFoundError
from engine.types import ImagineOptions, ImagineRequest, PreferOptions, options_from_json
from ui.components.frame import Frame
from ui.components.widget import widget
from ui.handlers import Action, acting, action_id, action_text
from ui.i18n import Translator
from ui.job_page import CreationPage, View, follow_jobs
from ui.uploads import uploaded_file
from ui.view_images import (
    BAD_REASONS,
    DRAWING_KINDS,
    GOOD_REASONS,
    batch_view,
    form_view,
    found_view,
    job_view,
    live_view,
)
from ui.view_lineage import lineage_view

if TYPE_CHECKING:
    from engine.services.image_records import Batch, ImagineStarted
    from engine.studio import Studio

UPDATE_INTERVAL_S: Final = 0.12
"""At most 8 updates a second: previews come four times a second, and a browser should not do more for them."""
BATCHES_SHOWN: Final = 12
READ_LIMIT_BYTES: Final = 64 * 1024 * 1024 + 1
"""One byte more than the engine takes, so that it is the engine that refuses a larger file."""


def build(studio: Studio, frame: Frame, t: Translator) -> None:
    """Mount the page's widget and the small one that live pictures arrive in."""
    page = ImagesPage(studio, t, frame.language)
    reasons = {"good": list(GOOD_REASONS), "bad": list(BAD_REASONS)}
    images = widget("images", {"reasons": reasons}, elem_id="images", act=acting(frame, page.actions), events=("follow",))
    live = widget("imageLive", elem_id="image-live")
    follow_jobs(page, frame, images, live)


class ImagesPage(CreationPage):
    """The actions of the page; what all pages of Creations answer is in CreationPage."""

    task = "image"

    # ------------------------------------------------------------ reading

    def do_open(self, owner_id: str, action: Action) -> View:
        """{form, batches, more, jobs, next_training_in}: the page as it is now."""
        choices = self.studio.image.choices(owner_id)
        return {
            "form": form_view(choices, self.t),
            **self._batches(owner_id, None),
            **self.do_jobs(owner_id, action),
            "next_training_in": self._next_training_in(owner_id),
        }

    def do_earlier(self, owner_id: str, action: Action) -> View:
        """{batches, more}: those before the job `before`."""
        return self._batches(owner_id, action_text(action, "before"))

    def do_batch(self, owner_id: str, action: Action) -> View:
        """One batch as it is now."""
        batch = self.studio.image.batch(owner_id, owner_id, action_text(action, "job_id"))
        return {"batch": self._batch(owner_id, batch)}

    def do_item(self, owner_id: str, action: Action) -> View:
        """The batch that a picture belongs to: an address may name one that is not in sight. Raises NotFoundError."""
        creation = self.studio.library.get(owner_id, owner_id, action_id(action)).creation
        if creation.kind != "image" or not creation.job_id:
            raise NotFoundError("There is no picture with this address.", key="error.no_picture")
        return self.do_batch(owner_id, {"job_id": creation.job_id})

    def do_jobs(self, owner_id: str, action: Action) -> View:
        """The jobs that draw or wait to, oldest first."""
        return {"jobs": [job_view(job) for job in self.studio.jobs.active(owner_id) if job.kind in DRAWING_KINDS]}

    def do_lineage(self, owner_id: str, action: Action) -> View:
        """Where a picture comes from: adapter, training, dataset, single ratings."""
        return lineage_view(self.studio.adapters.lineage(owner_id, action_id(action)), self._names(owner_id))

    def _batches(self, owner_id: str, before: str | None) -> View:
        found = self.studio.image.recent(owner_id, owner_id, limit=BATCHES_SHOWN + 1, before_job_id=before)
        shown = found[:BATCHES_SHOWN]
        return {"batches": [self._batch(owner_id, batch) for batch in shown], "more": len(found) > len(shown)}

    def _batch(self, owner_id: str, batch: Batch) -> View:
        return batch_view(batch, self._names(owner_id), self.t)

    def _names(self, owner_id: str) -> dict[str, str]:
        """What models and adapters are called, by id."""
        return {**self.studio.adapters.names(owner_id), **{spec.id: spec.name for spec in self.studio.models.specs(owner_id)}}

    def do_use_model(self, owner_id: str, action: Action) -> View:
        """Draw with this model from now on."""
        self.studio.models.set_default(owner_id, "image", action_id(action))
        return {}

    # ------------------------------------------------------------ drawing

    def do_imagine(self, owner_id: str, action: Action) -> View:
        """Start drawing. `source` and `mask` are uploaded files' paths, or nothing; a Creation to start from is an option."""
        options = options_from_json(ImagineOptions, action.get("options"))
        request = ImagineRequest(
            str(action.get("prompt") or ""),
            options,
            picture=file_bytes(action.get("source")),
            mask=file_bytes(action.get("mask")),
            idempotency_key=action_text(action, "key"),
        )
        return self._started(owner_id, self.studio.image.imagine(owner_id, request))

    def do_vary(self, owner_id: str, action: Action) -> View:
        """The same settings with new seeds, as versions."""
        key, n = action_text(action, "key"), int(action.get("n") or 4)
        return self._started(owner_id, self.studio.image.vary(owner_id, action_id(action), n, idempotency_key=key))

    def do_enlarge(self, owner_id: str, action: Action) -> View:
        """A larger version of one picture."""
        key, factor = action_text(action, "key"), int(action.get("factor") or 2)
        return self._started(owner_id, self.studio.image.upscale(owner_id, action_id(action), factor, idempotency_key=key))

    def do_resume(self, owner_id: str, action: Action) -> View:
        """Draw what is missing of a job that ended early."""
        return self._started(owner_id, self.studio.image.resume(owner_id, action_text(action, "job_id")))

    def do_skip(self, owner_id: str, action: Action) -> View:
        """Leave out the picture that is being drawn, or the one named."""
        creation_id = str(action["id"]) if action.get("id") else None
        return {"skipped": self.studio.image.skip(owner_id, action_text(action, "job_id"), creation_id)}

    def _started(self, owner_id: str, started: ImagineStarted) -> View:
        batch = self.studio.image.batch(owner_id, owner_id, started.job_id)
        return {"job_id": started.job_id, "batch": self._batch(owner_id, batch), **self.do_jobs(owner_id, {})}

    async def follow(self, owner_id: str, job_id: str) -> AsyncIterator[View]:
        """The live pictures of a job, to its end. Ending this never stops the job."""
        async for snapshot in self.studio.jobs.follow(owner_id, job_id, interval_s=UPDATE_INTERVAL_S):
            yield live_view(snapshot, self._job_error(snapshot), self.t)

    # ------------------------------------------------------------ prompt and files

    def do_expand(self, owner_id: str, action: Action) -> View:
        """Let the text model add detail to a prompt; the page polls `do_expanded`."""
        key = action_text(action, "key")
        return {"job_id": self.studio.image.expand(owner_id, str(action.get("prompt") or ""), idempotency_key=key)}

    def do_expanded(self, owner_id: str, action: Action) -> View:
        """{text, done, error}: how far it is."""
        snapshot = self.studio.jobs.get(owner_id, action_text(action, "job_id"))
        result = snapshot.result or {}
        text = str(result.get("expanded") or snapshot.data.get("text") or "")
        return {"text": text, "done": snapshot.is_final, "ok": snapshot.status == "done", "error": self._job_error(snapshot)}

    def do_read(self, owner_id: str, action: Action) -> View:
        """What a dropped picture says about how it was made; `settings` is None when it says nothing. Raises BadFileError."""
        data = file_bytes(action.get("path"))
        try:
            found = self.studio.image.read_settings(owner_id, data or b"")
        except BadFileError as error:
            if error.message_key != "error.image_no_settings":
                raise
            return {"settings": None}
        return {"settings": found_view(found, self.t)}

    def do_redraw(self, owner_id: str, action: Action) -> View:
        """Draw a picture again from what its row records; the page polls `do_redrawn`."""
        return {"job_id": self.studio.image.reproduce(owner_id, action_id(action))}

    def do_redrawn(self, owner_id: str, action: Action) -> View:
        """How far it is, and whether every pixel is the same."""
        snapshot = self.studio.jobs.get(owner_id, action_text(action, "job_id"))
        if not snapshot.is_final:
            return {"done": False, "preview": snapshot.data.get("preview")}
        if snapshot.status != "done" or not snapshot.result:
            return {"done": True, "identical": None, "message": self._job_error(snapshot) or self.t("images.redraw.stopped")}
        same = bool(snapshot.result.get("identical"))
        return {"done": True, "identical": same, "message": self.t("images.redraw.same" if same else "images.redraw.differs")}

    # ------------------------------------------------------------ choosing

    def do_prefer(self, owner_id: str, action: Action) -> View:
        """One picture is better than others (or as good, or both are bad)."""
        others = action.get("others")
        if not isinstance(others, list):
            raise BadOptionError("Give at least one other Creation to compare with.", key="error.prefer_other")
        options = PreferOptions(tie=bool(action.get("tie")), both_bad=bool(action.get("both_bad")))
        self.studio.feedback.prefer(owner_id, owner_id, action_id(action), [str(other) for other in others], options)
        return {"next_training_in": self._next_training_in(owner_id)}


def file_bytes(path: object) -> bytes | None:
    """What an uploaded file holds; None for no path. Raises BadFileError for anything that was not uploaded."""
    if not path:
        return None
    with uploaded_file(path).open("rb") as file:
        return file.read(READ_LIMIT_BYTES)
