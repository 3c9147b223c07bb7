"""Live text: the blocks and the open end always add up to the text, however the updates arrive."""

from __future__ import annotations

import random
from typing import Any

from ui.i18n import translator
from ui.view import markdown
from ui.view_live import RECENT_UPDATES, LiveJob, LiveMarkdown

TEXT = "# One\n\nSome *words* here.\n\n```\na\n\nb\n```\n\n- x\n- y\n\n  more of y\n\nThe end.\n\n" * 12


def _row(job: LiveJob, text: str) -> dict[str, Any]:
    data = {"creations": [{"id": "a", "text": text, "status": "running", "tokens": len(text)}]}
    row: dict[str, Any] = job.view("j", data, phase="", done=False, error=None)["creations"][0]
    return row


def test_a_fence_and_an_indented_continuation_are_not_cut() -> None:
    live = LiveMarkdown()
    blocks, tail = live.update("Before.\n\n```\na\n\nb\n```\n\n- x\n\n  more of x\n\nAfter")
    assert "".join(blocks) + tail == markdown("Before.\n\n```\na\n\nb\n```\n\n- x\n\n  more of x\n\nAfter")


def test_finished_blocks_never_change_while_the_text_grows() -> None:
    live = LiveMarkdown()
    before: list[str] = []
    for end in range(0, len(TEXT), 7):
        blocks, _ = live.update(TEXT[:end])
        assert blocks[: len(before)] == before
        before = list(blocks)


def test_a_reader_who_skips_updates_still_gets_every_block() -> None:
    job, chance = LiveJob(translator("en")), random.Random(7)
    drawn: list[str] = []
    skipped = 0
    for end in range(0, len(TEXT), 5):
        row = _row(job, TEXT[:end])
        if end and skipped < RECENT_UPDATES - 2 and chance.random() < 0.6:
            skipped += 1
            continue
        skipped = 0
        assert row["from"] <= len(drawn)
        drawn += row["blocks"][len(drawn) - row["from"] :]
    whole, _ = LiveMarkdown().update(TEXT[: end + 1])
    assert "".join(drawn)[:200] == "".join(whole)[:200]


def test_an_update_does_not_carry_the_whole_text() -> None:
    job = LiveJob(translator("en"))
    long = TEXT * 6
    for end in range(0, len(long), 10):
        row = _row(job, long[:end])
    assert row["from"] > 0
    assert sum(map(len, row["blocks"])) < len(long) / 4


def test_a_text_that_starts_again_is_drawn_again() -> None:
    live = LiveMarkdown()
    live.update("One.\n\nTwo.\n\nThree")
    blocks, tail = live.update("Other.\n\nWords")
    assert "".join(blocks) + tail == "<p>Other.</p>\n<p>Words</p>\n"
