"""The pages of one profile in one language as a gr.Blocks. Builds; serves nothing (ui/server.py does) and imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import gradio as gr

from ui.components.frame import PAGES
from ui.components.rail import build_frame
from ui.i18n import translator
from ui.tabs import arena, images, library, models, settings, summarize, train, write

if TYPE_CHECKING:
    from engine.studio import Studio

TABS = {
    "write": write,
    "images": images,
    "summarize": summarize,
    "library": library,
    "train": train,
    "arena": arena,
    "models": models,
    "settings": settings,
}
SESSIONS_KEPT = 64
"""Gradio keeps about 1 MB for each page load, 10,000 of them by default. Our pages keep nothing there."""


def build(studio: Studio, profile: Literal["local"] = "local", language: str = "en") -> gr.Blocks:
    """All pages of one language. The English app of the local profile also carries the API."""
    t = translator(language)
    blocks = gr.Blocks(title="Tastemaker", analytics_enabled=False, fill_width=True, delete_cache=(3600, 86400))
    blocks.state_session_capacity = SESSIONS_KEPT
    with blocks:
        frame = build_frame(studio, profile, language)
        for page in PAGES:
            with gr.Column(elem_id=f"page-{page}", elem_classes=["tm-page"]):
                TABS[page].build(studio, frame, t)
        if language == "en":
            from ui import api

            api.register(studio)
    # Gradio checks that a file named in a call was uploaded only once its Blocks have "launched", and mounted ones never do.
    blocks.has_launched = True
    return blocks
