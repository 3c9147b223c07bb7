"""Start the real studio as people do, `python launch.py`, with a data folder and a port of its own; stop, kill, start again.

Knows the command line and the ready line; knows no page. Used by the browser tests, the API's examples and the benches.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).resolve().parent.parent.parent
READY = "Tastemaker is ready: "
START_LIMIT_S = 120.0


class StartError(Exception):
    """The studio ended, or said nothing, before it was ready. The message holds what it printed."""


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RunningStudio:
    """One data folder and the process that serves it. A context manager: leaving it stops the process."""

    def __init__(self, data_dir: Path, models_dir: Path, *flags: str, offline: bool = True) -> None:
        self.data_dir = data_dir
        self.models_dir = models_dir
        self.flags = flags
        self.offline = offline
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_path = data_dir.with_name(data_dir.name + ".log")
        self.ready_after_s = 0.0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The server; raises StartError before the first start."""
        if self._process is None:
            raise StartError("not started")
        return self._process

    def start(self) -> RunningStudio:
        """Start and wait for the ready line. Raises StartError with everything that was printed."""
        command = [sys.executable, "launch.py", "--port", str(self.port), "--data-dir", str(self.data_dir)]
        command += ["--models-dir", str(self.models_dir), "--no-browser", *(["--offline"] if self.offline else []), *self.flags]
        # As a person would start it: without the limits that the tests set for themselves.
        hidden = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "HF_HUB_OFFLINE")
        environment = {
            k: v for k, v in os.environ.items() if k not in hidden and not k.startswith(("TASTEMAKER_", "GRADIO_", "PYTEST"))
        }
        started = time.monotonic()
        with self.log_path.open("ab") as log:
            from_byte = log.tell()
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        while READY not in (printed := self.log(from_byte)):
            if self.process.poll() is not None or time.monotonic() - started > START_LIMIT_S:
                self.kill()
                raise StartError(printed)
            time.sleep(0.02)
        self.ready_after_s = time.monotonic() - started
        return self

    def log(self, from_byte: int = 0) -> str:
        """What the process printed, from a byte on."""
        return self.log_path.read_bytes()[from_byte:].decode("utf-8", "replace") if self.log_path.exists() else ""

    def stop(self, limit_s: float = 60.0) -> int:
        """Ctrl-C. Returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)

    def __enter__(self) -> RunningStudio:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.kill() if kind else self.stop()
