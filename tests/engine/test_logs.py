"""A log line is one line, whatever it was told."""

from __future__ import annotations

import logging
import sys

from engine.logs import MAX_LINE_CHARS, LineFormatter


def line(message: str, *args: object) -> str:
    record = logging.LogRecord("x", logging.INFO, "f.py", 1, message, args, None)
    return LineFormatter().format(record)


def test_a_message_cannot_forge_a_line_or_colour_the_terminal() -> None:
    text = line("hello %s", "a\n2026-01-01 INFO admin logged in\r\x1b[31mred\u2028x\x00")
    assert text.splitlines() == [text]
    assert "\x1b" not in text and "\x00" not in text


def test_a_huge_message_is_cut() -> None:
    assert len(line("x" * 1_000_000)) < MAX_LINE_CHARS + 200


def test_a_traceback_keeps_its_lines() -> None:
    try:
        raise ValueError("why\x1b")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "f.py", 1, "fault", (), sys.exc_info())
    text = LineFormatter().format(record)
    assert "Traceback" in text and "\n" in text and "\x1b" not in text
