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
_POLL_S: Final = 0.5

logger = logging.getLogger(__name__)


class Preparing:
    """One child at work, or another studio's that is waited for. A child that a crash leaves behind finishes on its own."""

    def __init__(self, folder: Path, prepared: Path, threads: int, on_done: Callable[[], None]) -> None:
        """Start it. `on_done` is called in another thread when the child has ended well."""
        job_dir, job = prepared / JOB, {"folder": str(folder), "prepared": str(prepared), "threads": threads}
        self._closing = threading.Event()
        self._child: Child | None
        try:
            self._child, self._is_own = start_child(MODULE, job_dir, job), True
        except BusyError:
            self._child, self._is_own = attach(job_dir), False
        self._on_done = on_done
        threading.Thread(target=self._follow, name="preparing", daemon=True).start()

    def close(self) -> None:
        """Stop it; what is half done is begun again another time."""
        self._closing.set()
        if self._is_own and self._child is not None:
            self._child.kill()

    def _follow(self) -> None:
        while self._child is not None and self._child.is_alive:
            if self._closing.wait(_POLL_S):
                return
        if self._closing.is_set():
            return
        if self._child is None or self._child.exit_code in (0, None):
            self._on_done()
        else:
            logger.warning("a model could not be prepared and stays in float32; see %s", self._child.job_dir / "child.log")
