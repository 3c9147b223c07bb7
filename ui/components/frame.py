"""What surrounds every page: rail, top line, notices, and the facts a tab module needs to build itself.

A tab module has one entry::

    def build(studio: Studio, frame: Frame, t: Translator) -> None:      # called inside its page's column
        widget("library", elem_id="library", act=guarded(frame.language, on_act))

with on_act(action, request): `owner_id = frame.owner(request)`. Loading when the page is opened is best done in the browser,
`host.onOpen(...)` + `host.act("open", ...)` (see ui/components/widget.py). Where Python must hear of it as a Gradio event::

    frame.opened("library")(fn, inputs=None, outputs=[...], **STREAM)

Address: `Tastemaker.navigate("library", {item: id})` shows the page and writes ?tab=library&item=...;
`Tastemaker.address()` reads it.
Back to the Write tab with a conversation: `Tastemaker.navigate("write", {c: conversation_id})`, with a prompt:
`Tastemaker.bus.emit("restore", {prompt, params})` after navigating.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from storage.records import LOCAL_OWNER

PAGES = ("write", "images", "summarize", "library", "train", "arena", "models", "settings")


@dataclass(frozen=True)
class Frame:
    """Facts and widgets that every tab shares. `profile` is "local" (the owner's app) or later "shared" (guests)."""

    language: str
    profile: str
    rail: gr.HTML

    def owner(self, request: Any) -> str:
        """Whose rows a request may see. In the local profile everything belongs to the one owner; never taken from the page."""
        if self.profile != "local":
            raise ValueError(f"no identity for profile {self.profile!r}")
        return LOCAL_OWNER

    def opened(self, page: str) -> Callable[..., Any]:
        """The Gradio event of opening a page, to be called with fn, inputs and outputs."""
        if page not in PAGES:
            raise ValueError(page)
        event: Callable[..., Any] = getattr(self.rail, f"open_{page}")
        return event
