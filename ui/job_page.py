"""What pages that start jobs share: actions by name, a job's error in words, the live widget; what is said of a Creation.

Knows the services that every such page uses; knows no tab.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import gradio as gr

from engine.errors import StudioError
from engine.types import RateOptions
from ui.components.frame import Frame
from ui.components.widget import STREAM
from ui.handlers import Action, Answer, action_id, action_list, action_text, error_view, guarded_stream
from ui.i18n import Translator

if TYPE_CHECKING:
    from engine.jobs.job import JobSnapshot
    from engine.studio import Studio
    from storage.records import Kind

View = dict[str, Any]


class JobPage:
    """The actions of a page. Each is a method `do_<type>(owner_id, action)` that returns a JSON object."""

    def __init__(self, studio: Studio, t: Translator, language: str) -> None:
        self.studio = studio
        self.t = t
        self.language = language

    @property
    def actions(self) -> dict[str, Answer]:
        """Every `do_<type>` by its type."""
        return {name.removeprefix("do_"): getattr(self, name) for name in dir(self) if name.startswith("do_")}

    def do_cancel(self, owner_id: str, action: Action) -> View:
        """Stop a job; what was made so far stays."""
        return {"status": self.studio.jobs.cancel(owner_id, action_text(action, "job_id"))}

    def _job_error(self, snapshot: JobSnapshot) -> str | None:
        """Why a job failed, in the page's language."""
        if snapshot.status != "failed":
            return None
        error = StudioError(snapshot.error or "", key=snapshot.error_key, **dict(snapshot.error_values))
        return str(error_view(error, self.language)["error"]["message"])


class CreationPage(JobPage):
    """A page of Creations of one task, which are rated, kept and put in the trash."""

    task: ClassVar[Kind]

    def do_rate(self, owner_id: str, action: Action) -> View:
        """Rate one; a null score withdraws."""
        score = action.get("score")
        options = RateOptions(reasons=tuple(action.get("reasons") or ()), comment=str(action.get("comment") or ""))
        result = self.studio.feedback.rate(owner_id, owner_id, action_id(action), score, options)
        rating = None if score is None else {"score": score, "reasons": list(options.reasons), "comment": options.comment}
        return {"rating": rating, "next_training_in": result.next_training_in}

    def do_star(self, owner_id: str, action: Action) -> View:
        """Keep one, or no longer."""
        on = bool(action.get("on"))
        self.studio.library.star(owner_id, (action_id(action),), on)
        return {"starred": on}

    def do_trash(self, owner_id: str, action: Action) -> View:
        """Put some in the trash."""
        return {"changed": self.studio.library.trash(owner_id, [str(one) for one in action_list(action, "ids")])}

    def do_restore(self, owner_id: str, action: Action) -> View:
        """Take them out again."""
        return {"changed": self.studio.library.restore(owner_id, [str(one) for one in action_list(action, "ids")])}

    def _next_training_in(self, owner_id: str) -> int:
        return int(self.studio.feedback.counts(owner_id, self.task)["next_training_in"])


class Follows(Protocol):
    """A page whose jobs can be watched."""

    def follow(self, owner_id: str, job_id: str) -> AsyncIterator[View]:
        """A job as it goes on, to its end. Ending this never stops the job."""


def follow_jobs(page: Follows, frame: Frame, main: gr.HTML, live: gr.HTML) -> None:
    """Let `main`'s event "follow" (job_id) stream what the page says of that job into `live`."""

    async def follow(event: gr.EventData, request: gr.Request) -> AsyncIterator[View]:
        stream = page.follow(frame.owner(request), str(event.job_id))
        async for view in guarded_stream(frame.language, stream):
            yield view

    main.follow(fn=follow, inputs=None, outputs=[live], **STREAM)
