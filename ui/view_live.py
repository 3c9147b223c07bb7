"""An answer while it grows: what the page needs to redraw at each update, for work that is O(new text).

Markdown is cut at blank lines outside fences: blocks before the cut are rendered once and never again, only the last, open one is
rendered at each update. When the answer is finished the page shows the whole text rendered at once (ui/view_thread.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ui.i18n import Translator
from ui.view import markdown
from ui.view_thread import notice_texts, speed_text

PLAIN_FROM_CHARS = 4000
"""An open block longer than this (a long fenced listing) is shown as plain text until it closes."""


RECENT_UPDATES = 24
"""Two seconds of updates: what an update repeats of the ones before it."""


class LiveMarkdown:
    """One growing text. Not thread-safe; one for each follower and answer."""

    def __init__(self) -> None:
        self.blocks: list[str] = []
        self._done = ""
        self._tail = ""
        self._tail_html = ""

    def update(self, text: str) -> tuple[list[str], str]:
        """(finished blocks as HTML, the open block as HTML). The text may only grow; anything else starts again."""
        if not text.startswith(self._done):
            self.blocks, self._done = [], ""
        tail = text[len(self._done) :]
        cut = _last_cut(tail)
        if cut:
            self.blocks.append(markdown(tail[:cut]))
            self._done += tail[:cut]
            tail = tail[cut:]
        if tail != self._tail:
            self._tail = tail
            plain = f"<p>{escape(tail)}</p>" if len(tail) > PLAIN_FROM_CHARS else ""
            self._tail_html = plain or (markdown(tail) if tail.strip() else "")
        return self.blocks, self._tail_html


def _last_cut(text: str) -> int:
    """Where the last finished block ends: after a blank line outside a fence, when something follows that is not indented."""
    cut, at, fence = 0, 0, ""
    blank = False
    for line in text.splitlines(keepends=True):
        stripped = line.strip()
        marker = stripped[:3]
        if marker in ("```", "~~~") and (not fence or marker == fence):
            fence = "" if fence else marker
        if blank and not fence and stripped and not line.startswith((" ", "\t")):
            cut = at
        elif blank and fence and marker == fence and stripped:
            cut = at
        blank = not stripped and not fence
        at += len(line)
    return cut


class LiveJob:
    """The view of one job's snapshots for one follower, in order.

    An update carries the blocks that were finished during the last RECENT_UPDATES updates, not all of them: a browser that skips
    some of the updates in between still gets every block, and one that has skipped too many sees the gap and follows anew.
    """

    def __init__(self, t: Translator) -> None:
        self._t = t
        self._texts: dict[str, LiveMarkdown] = {}
        self._counts: dict[str, deque[int]] = {}

    def view(self, job_id: str, data: Mapping[str, Any], *, phase: str, done: bool, error: str | None) -> dict[str, Any]:
        """{job_id, conversation_id, creations: [{id, from, blocks, tail, tokens, speed, status}], notices, phase, done, error}

        `blocks` are the finished ones from number `from` on.
        """
        rows: Sequence[Mapping[str, Any]] = data.get("creations") or ()
        return {
            "job_id": job_id,
            "conversation_id": data.get("conversation_id"),
            "creations": [self._row(row) for row in rows],
            "notices": notice_texts(data.get("notices") or (), self._t),
            "phase": phase,
            "done": done,
            "error": error,
        }

    def _row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        blocks, tail = self._texts.setdefault(row["id"], LiveMarkdown()).update(row["text"])
        counts = self._counts.setdefault(row["id"], deque(maxlen=RECENT_UPDATES))
        start = min(counts[0], len(blocks)) if counts else 0
        counts.append(len(blocks) if counts else 0)
        speed = row.get("tokens_per_s")
        return {
            "id": row["id"],
            "from": start,
            "blocks": blocks[start:],
            "tail": tail,
            "tokens": row.get("tokens") or 0,
            "speed": speed_text(speed) if speed else "",
            "status": row.get("status"),
        }
