"""The child process that prepares a model's packed forms while the model already writes.

Knows processes and threads; knows no tensors.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from engine.errors import BusyError
from engine.jobs.process import Child, attach, start_child

MODULE: Final = "engine.text.llama.prepare"
JOB: Final = "job"
DELAY_S: Final = 10.0
"""Before it begins, so that a first answer has the machine to itself."""
_POLL_S: Final = 0.2

logger = logging.getLogger(__name__)


def prepare_in_child(folder: Path, prepared: Path, threads: int, closing: threading.Event) -> bool:
    """Let a child do it, or wait for another studio's; whether it ended well. Ends the child when `closing` is set.

    A child that a crash leaves behind finishes on its own.
    """
    job_dir = prepared / JOB
    child: Child | None
    try:
        job = {"folder": str(folder), "prepared": str(prepared), "threads": threads}
        child, is_own = start_child(MODULE, job_dir, job), True
    except BusyError:
        child, is_own = attach(job_dir), False
    while child is not None and child.is_alive:
        if closing.wait(_POLL_S):
            if is_own:
                child.kill()
            return False
    if child is None or child.exit_code in (0, None):
        return True
    logger.warning("a model could not be prepared and stays in float32; see %s", job_dir / "child.log")
    return False


class Preparing:
    """A loaded model's preparing, in the background."""

    def __init__(self, folder: Path, prepared: Path, threads: int, on_done: Callable[[], None]) -> None:
        """Start it soon. `on_done` is called in another thread when it has ended well."""
        self._closing = threading.Event()

        def run() -> None:
            if not self._closing.wait(DELAY_S) and prepare_in_child(folder, prepared, threads, self._closing):
                on_done()

        self._thread = threading.Thread(target=run, name="preparing", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop it; what is half done is begun again another time."""
        self._closing.set()
        self._thread.join()
