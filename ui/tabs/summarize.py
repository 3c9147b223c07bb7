"""The Summarise page: documents become summaries whose every sentence leads back to its source.

Keeps no state of a reader: every action carries its ids. A handler never waits for a model: it starts a job, and the page follows
it (`follow`), so that a reload or a second window shows the same. Drawn by assets/js/summar*.js. Knows the services; knows no
model, no database and no file format.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

from engine.errors import BadOptionError
from engine.types import PreferOptions, SummaryOptions, SummaryRequest, options_from_json
from ui.components.frame import Frame
from ui.components.widget import widget
from ui.handlers import Action, acting, action_id, action_list, action_text
from ui.i18n import Translator
from ui.job_page import CreationPage, View, follow_jobs
from ui.uploads import uploaded_file
from ui.view_summary import (
    BAD_REASONS,
    GOOD_REASONS,
    form_view,
    live_view,
    reading_view,
    recent_view,
    text_view,
    turn_view,
)

if TYPE_CHECKING:
    from engine.services.summary_records import SummaryStarted
    from engine.studio import Studio

UPDATE_INTERVAL_S: Final = 0.15
RECENT_SHOWN: Final = 20
ACCEPT: Final = ".pdf,.docx,.html,.htm,.xhtml,.epub,.md,.markdown,.txt,.csv,.tsv,.text,.log"
"""What a file chooser offers; what a file really is, the reader finds out."""


def build(studio: Studio, frame: Frame, t: Translator) -> None:
    """Mount the page's widget and the small one that live summaries arrive in."""
    page = SummarizePage(studio, t, frame.language)
    reasons = {"good": list(GOOD_REASONS), "bad": list(BAD_REASONS)}
    summarize = widget(
        "summarize", {"reasons": reasons}, elem_id="summarize", act=acting(frame, page.actions), events=("follow",)
    )
    live = widget("summaryLive", elem_id="summary-live")
    follow_jobs(page, frame, summarize, live)


class SummarizePage(CreationPage):
    """The actions of the page; what all pages of Creations answer is in CreationPage."""

    task = "summary"

    # ------------------------------------------------------------ reading

    def do_open(self, owner_id: str, action: Action) -> View:
        """{form, recent, next_training_in}: the page as it is now."""
        cards = [card for card in self.studio.models.cards() if card.task == "text"]
        models = [{"id": card.id, "name": card.name} for card in cards if card.state == "installed"]
        in_use = next((card.id for card in cards if card.is_default and card.state == "installed"), None)
        return {
            "form": form_view(self.t, models=models, model=in_use, urls=self.studio.settings.may_fetch_pages, accept=ACCEPT),
            **self.do_recent(owner_id, action),
            "next_training_in": self._next_training_in(owner_id),
        }

    def do_recent(self, owner_id: str, action: Action) -> View:
        """{recent}: the newest summaries, a line for each set of documents."""
        return {"recent": [recent_view(turn) for turn in self.studio.summary.recent(owner_id, owner_id, limit=RECENT_SHOWN)]}

    def do_turn(self, owner_id: str, action: Action) -> View:
        """{turn}: all summaries of the documents that the summary `id` was made of. Raises NotFoundError."""
        return {"turn": self._turn(owner_id, action_id(action))}

    def do_documents(self, owner_id: str, action: Action) -> View:
        """{documents}: the texts that the summary `id` was made of."""
        return {"documents": [text_view(one, self.t) for one in self.studio.summary.documents(owner_id, action_id(action))]}

    def do_read(self, owner_id: str, action: Action) -> View:
        """Read uploaded files; the page polls `do_reading`."""
        paths = [uploaded_file(path) for path in action_list(action, "paths")]
        return {"job_id": self.studio.summary.read(owner_id, paths)}

    def do_fetch(self, owner_id: str, action: Action) -> View:
        """Fetch a web page and read it, where the start allows it; the page polls `do_reading`."""
        if not self.studio.settings.may_fetch_pages:
            text = "Fetching web pages is off; start the studio with --read-urls and without --offline."
            raise BadOptionError(text, key="error.urls_off")
        return {"job_id": self.studio.summary.read(owner_id, [], url=action_text(action, "url"))}

    def do_reading(self, owner_id: str, action: Action) -> View:
        """How far it is, and then the documents and those that could not be read."""
        snapshot = self.studio.jobs.get(owner_id, action_text(action, "job_id"))
        return reading_view(snapshot, self._job_error(snapshot), self.t)

    # ------------------------------------------------------------ summarising

    def do_summarize(self, owner_id: str, action: Action) -> View:
        """Start summaries of pasted text, of documents that were read, or of a version's own documents; `id` is the first."""
        options = options_from_json(SummaryOptions, action.get("options"))
        text = action.get("text")
        request = SummaryRequest(
            text if isinstance(text, str) and text.strip() else None,
            documents=tuple(str(one) for one in action_list(action, "documents")),
            options=options,
            idempotency_key=action_text(action, "key"),
        )
        return self._started(owner_id, self.studio.summary.summarize(owner_id, request))

    def do_resume(self, owner_id: str, action: Action) -> View:
        """Go on with summaries that ended early."""
        return self._started(owner_id, self.studio.summary.resume(owner_id, action_text(action, "job_id")))

    def do_edit(self, owner_id: str, action: Action) -> View:
        """Keep a changed summary as a version that beats the original; `do_judged` says when its sentences are judged."""
        edited = self.studio.summary.edit(owner_id, action_id(action), str(action.get("text") or ""))
        return {"id": edited.creation_id, "job_id": edited.job_id, "turn": self._turn(owner_id, edited.creation_id)}

    def do_judged(self, owner_id: str, action: Action) -> View:
        """Whether the job that judges an edited summary has ended."""
        snapshot = self.studio.jobs.get(owner_id, action_text(action, "job_id"))
        return {"done": snapshot.is_final, "message": self._job_error(snapshot)}

    async def follow(self, owner_id: str, job_id: str) -> AsyncIterator[View]:
        """Summaries as they grow, to their end. Ending this never stops the job."""
        async for snapshot in self.studio.jobs.follow(owner_id, job_id, interval_s=UPDATE_INTERVAL_S):
            yield live_view(snapshot, self._job_error(snapshot), self.t)

    # ------------------------------------------------------------ choosing

    def do_prefer(self, owner_id: str, action: Action) -> View:
        """One summary is better than the others of the same documents."""
        others = [str(one) for one in action_list(action, "others")]
        if not others:
            raise BadOptionError("Give at least one other Creation to compare with.", key="error.prefer_other")
        self.studio.feedback.prefer(owner_id, owner_id, action_id(action), others, PreferOptions())
        return {"next_training_in": self._next_training_in(owner_id), "turn": self._turn(owner_id, action_id(action))}

    # ------------------------------------------------------------ parts

    def _started(self, owner_id: str, started: SummaryStarted) -> View:
        first = started.creation_ids[0]
        return {"job_id": started.job_id, "id": first, "turn": self._turn(owner_id, first)}

    def _turn(self, owner_id: str, creation_id: str) -> View:
        names = {**self.studio.adapters.names(owner_id), **{spec.id: spec.name for spec in self.studio.models.specs(owner_id)}}
        return turn_view(self.studio.summary.turn(owner_id, owner_id, creation_id), names, self.t)
