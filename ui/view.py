"""Records -> view models: the JSON that the pages draw. Pure: no service, no gradio, no state.

Markdown is rendered here, once, and sanitised: markdown-it without HTML, links only to http(s) and mailto and never fetched,
pictures shown as the text of their address, and nh3 as a second gate. The page puts nothing else into innerHTML.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Final

from ui.i18n import Translator

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

    from engine.jobs.job import JobSnapshot

LIVE: Final = ("queued", "running")
"""States of a job or a Creation that has no end yet."""
MINUTE_S: Final = 90
"""Seconds from which time left is said in minutes."""
ALLOWED_TAGS = frozenset(
    "p br hr em strong s code pre blockquote ul ol li h1 h2 h3 h4 h5 h6 table thead tbody tr th td span".split()
)
ALLOWED_ATTRIBUTES = {"ol": {"start"}, "code": {"class"}, "th": {"style"}, "td": {"style"}}


@lru_cache(maxsize=256)
def markdown(text: str) -> str:
    """HTML of one answer, safe to insert. Links and pictures become plain text with their address."""
    import nh3

    html = _renderer().render(text)
    return nh3.clean(html, tags=set(ALLOWED_TAGS), attributes={k: set(v) for k, v in ALLOWED_ATTRIBUTES.items()}, link_rel=None)


@cache
def _renderer() -> MarkdownIt:
    from markdown_it import MarkdownIt

    renderer = MarkdownIt("commonmark", {"html": False, "linkify": False, "breaks": True}).enable(["table", "strikethrough"])
    renderer.add_render_rule("image", _image_as_text)
    renderer.add_render_rule("link_open", _nothing)
    renderer.add_render_rule("link_close", _address_after_link)
    return renderer


def _image_as_text(self: Any, tokens: list[Token], index: int, options: Any, env: Any) -> str:
    from markdown_it.common.utils import escapeHtml

    token = tokens[index]
    return escapeHtml(f"{token.content} ({token.attrs.get('src', '')})".strip())


def _nothing(self: Any, tokens: list[Token], index: int, options: Any, env: Any) -> str:
    return ""


def _address_after_link(self: Any, tokens: list[Token], index: int, options: Any, env: Any) -> str:
    """A link is shown as its text with the address in brackets: one click must never leave the machine by surprise."""
    from markdown_it.common.utils import escapeHtml

    depth = 0
    for at in range(index, -1, -1):
        depth += {"link_close": 1, "link_open": -1}.get(tokens[at].type, 0)
        if depth == 0:
            href = str(tokens[at].attrs.get("href", ""))
            text = "".join(token.content for token in tokens[at:index])
            return "" if not href or href == text else f" ({escapeHtml(href)})"
    return ""


BEFORE_WORK = ("load", "prepare")
"""Phases that run from 0 to 1 before the work itself does: their share says nothing of the whole."""


def fraction_of(progress: Mapping[str, Any]) -> float | None:
    """0 … 1 of a job's progress, or None while its length is unknown."""
    step, total = progress.get("step"), progress.get("total")
    if not isinstance(step, (int, float)) or not isinstance(total, (int, float)) or total <= 0:
        return None
    return max(0.0, min(1.0, step / total))


def job_text(job: JobSnapshot, t: Translator) -> str:
    """What a running job is doing, in two or three words: "writing", "downloading 43 %", "waiting"."""
    if job.status == "queued":
        return t("frame.activity.waiting")
    kind = {"text": "write", "fetch": "download", "get_model": "download", "model": "download"}.get(job.kind, job.kind)
    key = f"frame.activity.{kind}"
    words = t(key)
    if words == key:
        words = t("frame.activity.busy")
    fraction = fraction_of(job.progress)
    if fraction is None or kind == "write" or job.progress.get("phase") in BEFORE_WORK:
        return words
    return f"{words} {percent(fraction, t)}"


def percent(part: float, t: Translator) -> str:
    """0.43 → "43 %", as the page's language writes it."""
    return t("frame.percent", n=round(part * 100))


def language_name(code: str, t: Translator) -> str:
    """English, Chinese, …; the code itself for languages that have no name here."""
    name = t(f"language.{code}")
    return code if name == f"language.{code}" else name


def left_text(seconds: float, t: Translator) -> str:
    """3 s left, or 4 min left."""
    if seconds < MINUTE_S:
        return t("images.left.seconds", n=max(1, round(seconds)))
    return t("images.left.minutes", n=round(seconds / 60))
