"""The child process that prepares a model's packed forms while the model already writes.

It is counted by the arbiter like every process that takes memory, and ended when something else needs its place: it can be done
another time. Knows processes and threads; knows no tensors.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from engine.errors import BusyError, NoMemoryError
from engine.jobs.process import Child, attach, resident_bytes, start_child
from engine.memory import Arbiter

MODULE: Final = "engine.text.llama.prepare"
JOB: Final = "job"
DELAY_S: Final = 10.0
"""Before it begins, so that a first answer has the machine to itself."""
PROCESS_BYTES: Final = 700_000_000
"""Python with torch, and the compiler that it starts, without a model."""
PACKED_SHARE: Final = 0.2
"""Of the float32 weights: the packed ones beside them."""
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

    def __init__(
        self,
        folder: Path,
        prepared: Path,
        threads: int,
        on_done: Callable[[], object],
        *,
        need_bytes: int,
        arbiter: Arbiter,
    ) -> None:
        """Start it soon. `on_done` is called in another thread when it has ended well. `need_bytes`: of the float32 weights.

        Without memory for it the model stays in float32 until it is loaded again.
        """
        self._closing = threading.Event()
        takes = PROCESS_BYTES + round(need_bytes * (1 + PACKED_SHARE))

        def prepare() -> bool:
            with arbiter.child(folder.name, takes, lambda: resident_bytes(prepared / JOB), give_way=self.close):
                return prepare_in_child(folder, prepared, threads, self._closing)

        def run() -> None:
            try:
                if not self._closing.wait(DELAY_S) and prepare():
                    on_done()
            except NoMemoryError as error:
                logger.info("not prepared: %s", error)

        self._thread = threading.Thread(target=run, name="preparing", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop it; what is half done is begun again another time."""
        self._closing.set()
        self._thread.join()
