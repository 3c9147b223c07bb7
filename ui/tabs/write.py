"""The Write page: conversations, thread, composer. Turns the page's actions into calls of services and records into views.

Keeps no state of a reader: every action carries the conversation's id. A handler never waits for a model: it starts a job and
the page follows it (`follow`), so that a reload only starts another follower.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator
from functools import cache
from typing import TYPE_CHECKING, Any

from engine.types import BAD_REASONS, GOOD_REASONS, RateOptions, WriteOptions, WriteRequest, options_from_json
from ui.components.frame import Frame
from ui.components.widget import widget
from ui.handlers import Action, acting, action_text
from ui.i18n import ASSETS_DIR, Translator
from ui.job_page import JobPage, follow_jobs
from ui.view_lineage import lineage_view
from ui.view_live import LiveJob
from ui.view_taste import taste_view
from ui.view_thread import SHOWN_TURNS, conversation_view, thread_view

if TYPE_CHECKING:
    from engine.studio import Studio

KEPT_KEYS = 128
UPDATE_INTERVAL_S = 0.1
"""At most 10 updates a second: enough to look alive, and a browser that shows one for every token cannot keep up."""


@cache
def templates(language: str) -> list[dict[str, str]]:
    """The prompts to start from, in one language."""
    everything = json.loads((ASSETS_DIR / "templates.json").read_text(encoding="utf-8"))
    return [{"id": one["id"], **one[language]} for one in everything]


def build(studio: Studio, frame: Frame, t: Translator) -> None:
    """Mount the page's widget and the small one that live text arrives in."""
    page = WritePage(studio, t, frame.language)

    write = widget(
        "write",
        {
            "templates": templates(frame.language),
            "reasons": {"good": list(GOOD_REASONS), "bad": list(BAD_REASONS)},
            "defaults": default_sampling(),
        },
        elem_id="write",
        act=acting(frame, page.actions),
        events=("follow",),
    )
    live = widget("live", elem_id="live")
    follow_jobs(page, frame, write, live)


def default_sampling() -> dict[str, Any]:
    """What the settings panel starts with, from the one place that defines it."""
    names = ("temperature", "top_p", "top_k", "repetition_penalty", "max_new_tokens")
    options = WriteOptions()
    return {name: getattr(options, name) for name in names}


class WritePage(JobPage):
    """The actions of the page; what all pages with jobs answer is in JobPage."""

    def __init__(self, studio: Studio, t: Translator, language: str) -> None:
        super().__init__(studio, t, language)
        self.fresh = FreshConversations(studio)

    # ------------------------------------------------------------ reading

    def do_open(self, owner_id: str, action: Action) -> dict[str, Any]:
        """The conversation with this id."""
        return self._thread(owner_id, action_text(action, "c"), shown=int(action.get("shown") or SHOWN_TURNS))

    def do_list(self, owner_id: str, action: Action) -> dict[str, Any]:
        """The sidebar: conversations whose title or text matches. Empty new ones are not shown."""
        trashed = bool(action.get("trashed"))
        found = self.studio.conversations.list(owner_id, query=str(action.get("query") or ""), trashed=trashed)
        shown = [conversation_view(one, self.t) for one in found if one.head_id or one.title]
        return {"conversations": shown, "trashed": trashed}

    def _thread(self, owner_id: str, conversation_id: str, *, shown: int = SHOWN_TURNS) -> dict[str, Any]:
        thread = self.studio.conversations.thread(owner_id, conversation_id)
        names = self._names(owner_id)
        left = self.studio.feedback.counts(owner_id)["next_training_in"]
        return {"thread": thread_view(thread, self.t, names, next_training_in=left, shown=shown)}

    def _names(self, owner_id: str) -> dict[str, str]:
        """What models and adapters are called, by id."""
        return {**self.studio.adapters.names(owner_id), **self.studio.models.names(owner_id)}

    def do_lineage(self, owner_id: str, action: Action) -> dict[str, Any]:
        """Where an answer comes from: adapter, training, dataset, single ratings."""
        return lineage_view(self.studio.adapters.lineage(owner_id, action_text(action, "id")), self._names(owner_id))

    # ------------------------------------------------------------ writing

    def do_write(self, owner_id: str, action: Action) -> dict[str, Any]:
        """Start writing: a new turn, a version (options.parent_id) or more of an answer (options.continue_from)."""
        key = action_text(action, "key")
        options = dict(action.get("options") or {})
        conversation_id = action.get("c") or self.fresh.id_for(owner_id, key, str(action.get("system") or ""))
        options["conversation_id"] = conversation_id
        request = WriteRequest(str(action.get("prompt") or ""), options_from_json(WriteOptions, options), idempotency_key=key)
        started = self.studio.text.write(owner_id, request)
        return {
            "job_id": started.job_id,
            "creation_ids": list(started.creation_ids),
            **self._thread(owner_id, started.conversation_id or str(conversation_id)),
        }

    def do_resume(self, owner_id: str, action: Action) -> dict[str, Any]:
        """Go on from an answer that was stopped or interrupted."""
        started = self.studio.text.resume(
            owner_id,
            action_text(action, "id"),
            conversation_id=action_text(action, "c"),
            idempotency_key=action_text(action, "key"),
        )
        view = self._thread(owner_id, action_text(action, "c"))
        return {"job_id": started.job_id, "creation_ids": list(started.creation_ids), **view}

    def do_edit(self, owner_id: str, action: Action) -> dict[str, Any]:
        """Keep a corrected answer as a version that beats the original."""
        self.studio.text.edit(
            owner_id, action_text(action, "id"), action_text(action, "text"), conversation_id=action_text(action, "c")
        )
        self._judged(owner_id)
        return self._thread(owner_id, action_text(action, "c"))

    def do_reproduce(self, owner_id: str, action: Action) -> dict[str, Any]:
        """Write the same answer again on the path it recorded; the page polls `do_reproduced`."""
        return {"job_id": self.studio.text.reproduce(owner_id, action_text(action, "id"))}

    def do_reproduced(self, owner_id: str, action: Action) -> dict[str, Any]:
        """How far a reproduction is, and what came of it."""
        snapshot = self.studio.jobs.get(owner_id, action_text(action, "job_id"))
        if not snapshot.is_final:
            return {"done": False}
        if snapshot.status != "done" or not snapshot.result:
            return {"done": True, "identical": None, "message": self._job_error(snapshot) or self.t("write.reproduce.stopped")}
        same = bool(snapshot.result.get("identical"))
        text = "" if same else str(snapshot.result.get("text", ""))
        message = self.t("write.reproduce.same" if same else "write.reproduce.differs")
        return {"done": True, "identical": same, "text": text, "message": message}

    async def follow(self, owner_id: str, job_id: str) -> AsyncIterator[dict[str, Any]]:
        """The live text of a job, at most 12 times a second, to its end. Ending this never stops the job."""
        live = LiveJob(self.t)
        async for snapshot in self.studio.jobs.follow(owner_id, job_id, interval_s=UPDATE_INTERVAL_S):
            done = snapshot.is_final
            phase = str(snapshot.progress.get("phase") or "")
            yield live.view(job_id, snapshot.data, phase=phase, done=done, error=self._job_error(snapshot) if done else None)

    # ------------------------------------------------------------ taste

    def do_taste(self, owner_id: str, action: Action) -> dict[str, Any]:
        """What has been learned, at once; `check` looks for what was rated elsewhere. The page asks again while it learns."""
        if action.get("check"):
            self.studio.taste.touch(owner_id, owner_id, "text", wait_s=0.0)
        summary, is_learning = self.studio.taste.peek(owner_id, owner_id, "text")
        return taste_view(summary, is_learning, self.t)

    def _judged(self, owner_id: str) -> None:
        self.studio.taste.touch(owner_id, owner_id, "text")

    # ------------------------------------------------------------ choosing

    def do_version(self, owner_id: str, action: Action) -> dict[str, Any]:
        """Show another version of a turn."""
        self.studio.conversations.show_version(owner_id, action_text(action, "c"), action_text(action, "id"))
        return self._thread(owner_id, action_text(action, "c"))

    def do_pick(self, owner_id: str, action: Action) -> dict[str, Any]:
        """The best of several answers goes into the conversation."""
        self.studio.conversations.pick(owner_id, action_text(action, "c"), action_text(action, "id"))
        self._judged(owner_id)
        return self._thread(owner_id, action_text(action, "c"))

    def do_rate(self, owner_id: str, action: Action) -> dict[str, Any]:
        """Rate one answer; a null score withdraws."""
        score = action.get("score")
        options = RateOptions(reasons=tuple(action.get("reasons") or ()), comment=str(action.get("comment") or ""))
        result = self.studio.feedback.rate(owner_id, owner_id, action_text(action, "id"), score, options)
        self._judged(owner_id)
        rating = None if score is None else {"score": score, "reasons": list(options.reasons), "comment": options.comment}
        return {"rating": rating, "next_training_in": result.next_training_in}

    def do_star(self, owner_id: str, action: Action) -> dict[str, Any]:
        """Keep one, or no longer."""
        on = bool(action.get("on"))
        self.studio.library.star(owner_id, (action_text(action, "id"),), on)
        return {"starred": on}

    # ------------------------------------------------------------ conversations

    def do_branch(self, owner_id: str, action: Action) -> dict[str, Any]:
        """A new conversation that shares everything up to this answer."""
        made = self.studio.conversations.branch(owner_id, action_text(action, "c"), action_text(action, "id"))
        return self._thread(owner_id, made.id)

    def do_delete(self, owner_id: str, action: Action) -> dict[str, Any]:
        """Put one version in the trash."""
        self.studio.conversations.delete_turn(owner_id, action_text(action, "c"), action_text(action, "id"))
        self._judged(owner_id)
        return self._thread(owner_id, action_text(action, "c"))

    def do_undelete(self, owner_id: str, action: Action) -> dict[str, Any]:
        """Take it out again."""
        self.studio.conversations.undelete_turn(owner_id, action_text(action, "c"), action_text(action, "id"))
        self._judged(owner_id)
        return self._thread(owner_id, action_text(action, "c"))

    def do_rename(self, owner_id: str, action: Action) -> dict[str, Any]:
        """Give a conversation another title."""
        self.studio.conversations.rename(owner_id, action_text(action, "c"), action_text(action, "title"))
        return {}

    def do_trash(self, owner_id: str, action: Action) -> dict[str, Any]:
        """Put a conversation in the trash."""
        self.studio.conversations.trash(owner_id, action_text(action, "c"))
        return {}

    def do_restore(self, owner_id: str, action: Action) -> dict[str, Any]:
        """Take it out again."""
        self.studio.conversations.restore(owner_id, action_text(action, "c"))
        return {}

    # ------------------------------------------------------------ personas

    def do_personas(self, owner_id: str, action: Action) -> dict[str, Any]:
        """The saved system prompts."""
        found = self.studio.conversations.personas(owner_id)
        return {"personas": [{"id": one.id, "name": one.name, "system": one.system} for one in found]}

    def do_save_persona(self, owner_id: str, action: Action) -> dict[str, Any]:
        """Save a system prompt under a name."""
        self.studio.conversations.save_persona(owner_id, action_text(action, "name"), action_text(action, "system"))
        return self.do_personas(owner_id, action)

    def do_remove_persona(self, owner_id: str, action: Action) -> dict[str, Any]:
        """Forget one."""
        self.studio.conversations.remove_persona(owner_id, action_text(action, "id"))
        return self.do_personas(owner_id, action)

    def do_set_system(self, owner_id: str, action: Action) -> dict[str, Any]:
        """The conversation's system prompt from the next answer on."""
        self.studio.conversations.set_system(owner_id, action_text(action, "c"), str(action.get("system") or ""))
        return {}


class FreshConversations:
    """The conversation that a first click makes, by the click's key: a second click with the same key must not make another."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self._made: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._lock = threading.Lock()

    def id_for(self, owner_id: str, key: str, system: str) -> str:
        """The id of this key's conversation, made now if need be."""
        with self._lock:
            if (owner_id, key) not in self._made:
                self._made[owner_id, key] = self.studio.conversations.create(owner_id, system=system).id
                while len(self._made) > KEPT_KEYS:
                    self._made.popitem(last=False)
            return self._made[owner_id, key]
