"""How a training run listens and speaks: stop, cancel and wait from the studio, phases and alarms to it.

Training gives way to people: `check` stands before each piece of work (a second at most) and holds it up while somebody
else needs the machine. Knows the child protocol and the clock; knows no model.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

from engine.errors import CancelledError
from engine.jobs.process import ChildReporter

Phase: TypeAlias = Literal["prepare", "load", "train", "evaluate", "save"]
_POLL_S: Final = 0.05
_SPEAK_S: Final = 0.25


class StoppedError(Exception):
    """Somebody asked training to save what there is and end."""


class Watch:
    """One run's ear and mouth."""

    def __init__(self, reporter: ChildReporter) -> None:
        self._reporter = reporter
        self._phase: tuple[str, float] = ("", 0.0)
        self._terminated = False
        self.finishing = False
        """The last look has begun: it is too short to be given up for a stop."""
        self.waited_s = 0.0
        """Seconds spent waiting for others so far."""

    def listen(self) -> None:
        """Take SIGTERM for "stop". Ctrl-C in the studio's terminal is not for its children."""
        signal.signal(signal.SIGTERM, self._on_sigterm)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    @property
    def stopping(self) -> bool:
        """Whether somebody asked for the end, with what there is saved."""
        return self._terminated or self._reporter.asked() == "stop"

    def check(self) -> None:
        """Before each piece of work: wait while asked to. Raises CancelledError when cancelled; a stop is left to `stopping`."""
        started: float | None = None
        while True:
            word = self._reporter.asked()
            if word == "cancel":
                raise CancelledError("This was stopped.", key="error.cancelled")
            if word != "wait" or self._terminated:
                break
            if started is None:
                started = time.monotonic()
                self._reporter.event("waiting", on=True)
            time.sleep(_POLL_S)
        if started is not None:
            self.waited_s += time.monotonic() - started
            self._reporter.event("waiting", on=False)

    def check_or_stop(self) -> None:
        """As `check`, for work that can be given up: raises StoppedError when a stop was asked for."""
        self.check()
        if self.stopping and not self.finishing:
            raise StoppedError

    def phase(self, name: Phase, step: int = 0, total: int = 0, eta_s: float | None = None) -> None:
        """Say where the run is; within a phase not more often than is read."""
        now = time.monotonic()
        if name == self._phase[0] and step != total and now - self._phase[1] < _SPEAK_S:
            return
        self._phase = (name, now)
        self._reporter.event("phase", phase=name, step=step, total=total, eta_s=None if eta_s is None else round(eta_s, 1))

    def metrics(self, step: int, **figures: float | int | None) -> None:
        """Report figures of one step; those that are no finite numbers are left out."""
        self._reporter.event("metrics", step=step, **finite(figures))

    def sample(self, step: int, index: int, *, prompt: str, text: str, seed: int) -> None:
        """Report one sample answer."""
        self._reporter.event("sample", step=step, index=index, prompt=prompt, text=text, seed=seed)

    def alarm(self, name: str, message: str, **values: object) -> None:
        """Report something that a person should look at, in one sentence."""
        self._reporter.event("alarm", name=name, message=message, values=values)

    def log(self, text: str) -> None:
        """Report one line for the run's log."""
        self._reporter.event("log", text=text)

    def checkpoint(self, step: int, path: str) -> None:
        """Report a checkpoint that is whole and on the disk."""
        self._reporter.event("checkpoint", step=step, path=path)

    def _on_sigterm(self, number: int, frame: object) -> None:
        self._terminated = True


def finite(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what JSON has no number for."""
    return {name: value for name, value in figures.items() if value is not None and math.isfinite(value)}
