"""Where the log goes: warnings to the terminal, everything from INFO up to a file in the data folder that is kept small.

A log line is always one line: what comes from outside cannot forge another one. Knows the standard library's logging only.
"""

from __future__ import annotations

import logging
import logging.handlers
import re
import sys
from pathlib import Path

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
MAX_LINE_CHARS = 4_000
_FILE_BYTES = 2_000_000


class LineFormatter(logging.Formatter):
    """Escapes control characters and cuts long messages; a traceback follows on lines of its own."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the base class names it
        """One line of at most MAX_LINE_CHARS characters."""
        record.message = record.message[:MAX_LINE_CHARS].replace("\n", "\\n")
        return _escaped(super().formatMessage(record))

    def formatException(self, ei: logging._SysExcInfoType) -> str:  # noqa: N802 - the base class names it
        """The traceback, its lines kept, its control characters escaped."""
        return _escaped(super().formatException(ei))


def configure_logging(logs_dir: Path) -> None:
    """Log to the terminal and to `logs_dir`/tastemaker.log, for this process."""
    logs_dir.mkdir(parents=True, exist_ok=True)
    file = logging.handlers.RotatingFileHandler(
        logs_dir / "tastemaker.log", maxBytes=_FILE_BYTES, backupCount=3, encoding="utf-8", delay=True
    )
    file.setLevel(logging.INFO)
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setLevel(logging.WARNING)
    for handler in (file, terminal):
        handler.setFormatter(LineFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[file, terminal], force=True)
    # Third parties are asked for their troubles only: they log addresses and arguments.
    for name in ("httpx", "httpcore", "openai", "alembic", "uvicorn.access", "asyncio", "filelock"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _escaped(text: str) -> str:
    return _CONTROL.sub(lambda match: f"\\x{ord(match.group()):02x}", text)
