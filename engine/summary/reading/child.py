"""The limited process that opens what strangers wrote: `python -m engine.summary.reading.child JOB_DIR`.

Before it opens a file it gives up memory, processor time and file sizes beyond its limits; what breaks, breaks here. It reads the
files one after the other, writes `<index>.json` for each Document and one event for each file. Knows no model and no network.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

from engine.errors import StudioError
from engine.jobs.process import ChildReporter, error_fields, write_json
from engine.summary.document import Document
from engine.summary.reading.draft import EXIT_MEMORY, GRACE_S, Draft, ReadingLimits, TimeUpError, too_slow, unreadable
from engine.summary.reading.formats import read_file, read_pasted

_OUTPUT_MAX_BYTES: Final = 512 * 1024 * 1024
_PROGRESS_S: Final = 0.2
_EXIT_INTERRUPTED: Final = 3


def main(job_dir: Path) -> int:
    """Read the files of this folder's job from the one it names on; return the exit code."""
    job = json.loads((job_dir / "job.json").read_text(encoding="utf-8"))
    limits = ReadingLimits(**job["limits"])
    limit_process(limits)
    logging.getLogger("pypdf").setLevel(logging.ERROR)  # it warns of every oddity in a file
    with ChildReporter(job_dir) as reporter:
        for index, source in enumerate(job["sources"]):
            if index < job["first"]:
                continue
            if reporter.asked() in ("cancel", "stop"):
                reporter.event("cancelled")
                return _EXIT_INTERRUPTED
            reporter.event("begin", index=index)
            _read_one(job_dir, index, source, limits, reporter)
        reporter.event("done")
    return 0


def limit_process(limits: ReadingLimits) -> None:
    """Bound what this process may take, as far as the system can (Linux all, macOS all but memory, Windows nothing)."""
    try:
        import resource
    except ImportError:
        return
    # No core file of somebody's document, no fork bomb, no full disk.
    wanted = [(resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, _OUTPUT_MAX_BYTES), (resource.RLIMIT_NOFILE, 128)]
    if sys.platform == "linux":
        wanted.append((resource.RLIMIT_AS, limits.memory_bytes))
    for kind, most in wanted:
        _, hard = resource.getrlimit(kind)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))


def _read_one(job_dir: Path, index: int, source: Mapping[str, Any], limits: ReadingLimits, reporter: ChildReporter) -> None:
    name = source["name"]
    last_at = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal last_at
        now = time.monotonic()
        if now - last_at >= _PROGRESS_S or done == total:
            last_at = now
            reporter.event("progress", index=index, done=done, total=total)

    draft = Draft(name, limits, progress=progress)
    try:
        with _time_limit(limits.time_s):
            document = _read(job_dir / f"{index}.source", source["is_pasted"], draft)
    except StudioError as error:
        reporter.event("refused", index=index, **error_fields(error))
    except TimeUpError:
        reporter.event("refused", index=index, **error_fields(too_slow(name, limits)))
    except MemoryError:
        raise  # a process without memory cannot even report it; its exit code does
    except Exception as error:  # noqa: BLE001 - bytes of strangers break libraries in every way; the log has the trace
        logging.getLogger("tastemaker.reading").error("file %d could not be read", index, exc_info=error)
        reporter.event("refused", index=index, **error_fields(unreadable(name)))
    else:
        write_json(job_dir / f"{index}.json", document.as_json())
        reporter.event("read", index=index)


def _read(path: Path, is_pasted: bool, draft: Draft) -> Document:
    data = path.read_bytes()
    return read_pasted(data.decode("utf-8", "replace"), draft) if is_pasted else read_file(data, draft)


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeUpError inside after `seconds`; the process is ended by the system when even that does not end the work."""
    if os.name != "posix":
        yield  # the parent's clock is the only one there
        return
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = int(used.ru_utime + used.ru_stime + seconds + GRACE_S) + 1
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s if hard == resource.RLIM_INFINITY else min(cpu_s, hard), hard))
    before = signal.signal(signal.SIGALRM, _time_is_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _time_is_up(number: int, frame: FrameType | None) -> None:
    raise TimeUpError


if __name__ == "__main__":
    try:
        exit_code = main(Path(sys.argv[1]))
    except MemoryError:
        exit_code = EXIT_MEMORY
    sys.exit(exit_code)
