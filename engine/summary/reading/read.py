"""The studio's side of reading: files and pasted text to Documents, through a limited child that may break without harm.

The child is watched by the clock and started again behind a file that broke it. Knows the protocol of child processes; opens no
file of a user's itself. Short pasted text needs no child.
"""

from __future__ import annotations

import json
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from engine.errors import BadFileError, CancelledError, StudioError
from engine.jobs.process import Child, error_of, start_child
from engine.safety.limits import clean_label
from engine.summary.document import Document
from engine.summary.reading.draft import EXIT_MEMORY, GRACE_S, Draft, ReadingLimits, too_big, too_slow, unreadable

_CHILD: Final = "engine.summary.reading.child"
_POLL_S: Final = 0.02
_START_S: Final = 30.0
"""For the child to begin on a busy machine; not counted against a file."""
_INLINE_CHARS: Final = 100_000
"""Pasted text up to here is cleaned in place, in milliseconds."""
_NAME_MAX_CHARS: Final = 200
_JSON_MAX_TIMES: Final = 8
"""The Document's JSON may be this many times the text's limit; what is larger was not written by our child."""


class Cancel(Protocol):
    """What of a job's cancel token is needed here."""

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked for the end."""


@dataclass(frozen=True, slots=True)
class Source:
    """One file, or one pasted text with an empty name."""

    name: str
    data: bytes
    is_pasted: bool = False

    @staticmethod
    def pasted(text: str) -> Source:
        """Text that was typed or pasted."""
        return Source("", text.encode("utf-8", "replace"), is_pasted=True)


@dataclass(frozen=True, slots=True)
class Refused:
    """One source that could not be read, and the sentence that says why."""

    index: int
    name: str
    error: StudioError


@dataclass(frozen=True, slots=True)
class Reading:
    """What came of the sources: Documents in their order, and those that were refused."""

    documents: tuple[Document, ...]
    refused: tuple[Refused, ...]


@dataclass(frozen=True, slots=True)
class ReadingProgress:
    """How far it is: the source's index and name, and pages or chapters read of how many (0 of 0 when it has none)."""

    index: int
    name: str
    done: int
    total: int


def read_documents(
    sources: Sequence[Source],
    work_dir: Path,
    limits: ReadingLimits,
    *,
    cancel: Cancel | None = None,
    on_progress: Callable[[ReadingProgress], None] | None = None,
) -> Reading:
    """Read every source that can be read.

    `work_dir` is where the child's folder lies for as long as it works. Blocks for up to `limits.time_s` a source; call it
    from a worker. Raises BadFileError when there is no source, the first source's error when none can be read, and
    CancelledError within a step of being cancelled.
    """
    if not sources:
        raise BadFileError("There is nothing to read. Paste a text or add a file.", key="error.read_nothing")
    named = [Source(display_name(source.name), source.data, source.is_pasted) for source in sources]
    if len(named) == 1 and named[0].is_pasted and len(named[0].data) <= _INLINE_CHARS:
        from engine.summary.reading.formats import read_pasted

        draft = Draft("", limits)
        return Reading((read_pasted(named[0].data.decode("utf-8"), draft),), ())
    work_dir.mkdir(parents=True, exist_ok=True)
    job_dir = Path(tempfile.mkdtemp(prefix="reading-", dir=work_dir))
    try:
        found = _Watch(named, job_dir, limits, cancel, on_progress).run()
    finally:
        shutil.rmtree(job_dir, ignore_errors=True)
    documents = tuple(one for one in found if isinstance(one, Document))
    refused = tuple(one for one in found if isinstance(one, Refused))
    if not documents:
        raise refused[0].error
    return Reading(documents, refused)


def display_name(name: str) -> str:
    """A file's name as it is shown: without folders and control characters, at most 200 characters."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return clean_label(last[-_NAME_MAX_CHARS:], max_chars=_NAME_MAX_CHARS, what="The file name")


class _Watch:
    """One reading: the child of the moment, and what came of each source so far."""

    def __init__(
        self,
        sources: Sequence[Source],
        job_dir: Path,
        limits: ReadingLimits,
        cancel: Cancel | None,
        on_progress: Callable[[ReadingProgress], None] | None,
    ) -> None:
        self._sources = sources
        self._job_dir = job_dir
        self._limits = limits
        self._cancel = cancel
        self._on_progress = on_progress
        self._found: dict[int, Document | Refused] = {}
        self._n = 0
        self._current = 0
        self._begun_at = 0.0

    def run(self) -> list[Document | Refused]:
        """Return what came of each source, in order."""
        for i, source in enumerate(self._sources):
            (self._job_dir / f"{i}.source").write_bytes(source.data)
        while len(self._found) < len(self._sources):
            first = next(i for i in range(len(self._sources)) if i not in self._found)
            self._current, self._begun_at = first, 0.0
            child = start_child(_CHILD, self._job_dir, self._job(first))
            try:
                reason = self._follow(child)
            finally:
                child.kill()  # also reaps one that ended by itself
            self._take(child)
            if self._current not in self._found and len(self._found) < len(self._sources):
                self._refuse(self._current, reason or self._reason_of_end(child))
        return [self._found[i] for i in range(len(self._sources))]

    def _job(self, first: int) -> dict[str, Any]:
        sources = [{"name": source.name, "is_pasted": source.is_pasted} for source in self._sources]
        return {"sources": sources, "first": first, "limits": self._limits.as_json()}

    def _follow(self, child: Child) -> StudioError | None:
        """Watch until the child ends, or its time for one file is over, which is the error returned."""
        started_at = time.monotonic()
        while child.is_alive:
            if self._cancel is not None and self._cancel.cancelled:
                raise CancelledError("The reading was stopped.", key="error.cancelled")
            self._take(child)
            now = time.monotonic()
            limit_s = self._limits.time_s + GRACE_S if self._begun_at else _START_S
            if now - (self._begun_at or started_at) > limit_s:
                return too_slow(self._sources[self._current].name, self._limits)
            time.sleep(_POLL_S)
        return None

    def _take(self, child: Child) -> None:
        for event in child.events(self._n):
            self._n = int(event["n"])
            kind = event["kind"]
            if "index" not in event:
                continue
            index = int(event["index"])
            if kind == "begin":
                self._current, self._begun_at = index, time.monotonic()
                self._report(index, 0, 0)
            elif kind == "progress":
                self._report(index, int(event["done"]), int(event["total"]))
            elif kind == "refused":
                self._refuse(index, error_of(event))
            elif kind == "read":
                self._accept(index)

    def _accept(self, index: int) -> None:
        path = self._job_dir / f"{index}.json"
        if path.stat().st_size > _JSON_MAX_TIMES * self._limits.text_bytes + 1_000_000:
            self._refuse(index, unreadable(self._sources[index].name))
            return
        self._found[index] = Document.from_json(json.loads(path.read_text(encoding="utf-8")))

    def _refuse(self, index: int, error: StudioError) -> None:
        self._found[index] = Refused(index, self._sources[index].name, error)

    def _report(self, index: int, done: int, total: int) -> None:
        if self._on_progress is not None:
            self._on_progress(ReadingProgress(index, self._sources[index].name, done, total))

    def _reason_of_end(self, child: Child) -> StudioError:
        """Why a child that broke off broke off, by how it ended."""
        name = self._sources[self._current].name
        code = child.exit_code or 0
        if code == -getattr(signal, "SIGXCPU", 0):
            return too_slow(name, self._limits)
        if code in (EXIT_MEMORY, -getattr(signal, "SIGKILL", 0)):  # the system kills the largest when memory runs out
            return too_big(name, self._limits)
        return unreadable(name)
