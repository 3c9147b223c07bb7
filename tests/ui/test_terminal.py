"""What the terminal says of downloads: in place on a terminal, plain lines elsewhere, every end once."""

from __future__ import annotations

import io
import threading
from typing import Any

import pytest

from engine.errors import NotFoundError
from engine.jobs.job import JobSnapshot
from ui.terminal import DownloadLines, Terminal, follow_downloads, progress_line

NAME = "SmolLM2 135M Instruct"


class Tty(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True

    @property
    def screen(self) -> list[str]:
        """The lines as a person sees them, with "\\r" going back to the beginning of its line."""
        rows = []
        for line in self.getvalue().split("\n"):
            row = ""
            for part in line.split("\r"):
                row = part + row[len(part) :]
            rows.append(row.rstrip())
        return rows


class Gone(io.StringIO):
    """A pipe whose reader has left."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


class ScriptedJobs:
    """Each question is answered with the next state of every download; after the last one only `get` knows them."""

    def __init__(self, *states: list[JobSnapshot]) -> None:
        self._states = list(states)
        self._last: dict[str, JobSnapshot] = {}

    def active(self, owner_id: str) -> tuple[JobSnapshot, ...]:
        state = self._states.pop(0) if self._states else []
        self._last.update({snapshot.job_id: snapshot for snapshot in state})
        return tuple(snapshot for snapshot in state if not snapshot.is_final)

    def get(self, owner_id: str, job_id: str) -> JobSnapshot:
        if job_id not in self._last:
            raise NotFoundError("Nothing with this id.")
        return self._last[job_id]


def at(percent: float, phase: str = "download", *, job_id: str = "a", name: str = NAME, kind: str = "download") -> JobSnapshot:
    progress = {"phase": phase, "step": percent * 960_000, "total": 96_000_000}
    return JobSnapshot(job_id, 1, kind, "running", progress, {"name": name}, None, None, None)


def ended(status: Any, error: str | None = None, *, job_id: str = "a") -> JobSnapshot:
    return JobSnapshot(job_id, 2, "download", status, {}, {}, None, None, error)


def followed(out: io.StringIO, *states: list[JobSnapshot]) -> str:
    follow_downloads(ScriptedJobs(*states), Terminal(out), threading.Event(), interval_s=0)
    return out.getvalue()


def test_a_file_gets_a_line_every_ten_percent_and_at_each_phase() -> None:
    states = [[at(percent / 2)] for percent in range(0, 201)]
    lines = followed(io.StringIO(), *states, [at(0, "verify")], [ended("done")]).splitlines()
    assert lines[0] == f"Getting {NAME}: download 0 % (0 of 96 MB)"
    assert lines[10] == f"Getting {NAME}: download 100 % (96 of 96 MB)"
    assert lines[11:] == [f"Getting {NAME}: check 0 %", f"{NAME} is ready."]


def test_a_terminal_has_one_line_that_is_rewritten_and_then_the_end() -> None:
    out = Tty()
    text = followed(out, [at(3)], [at(43)], [at(100)], [ended("done")])
    assert f"Getting {NAME}: download 43 % (41 of 96 MB)" in text
    assert out.screen == [f"{NAME} is ready.", ""]


def test_the_ready_line_stands_alone_above_the_live_line() -> None:
    out = Tty()
    terminal = Terminal(out)
    DownloadLines(terminal).update([at(43)])
    terminal.say("Tastemaker is ready: http://127.0.0.1:7860")
    assert out.screen == ["Tastemaker is ready: http://127.0.0.1:7860", f"Getting {NAME}: download 43 % (41 of 96 MB)"]


def test_two_downloads_share_a_terminal_line_and_have_lines_of_their_own_in_a_file() -> None:
    both = [at(43), at(5, job_id="b", name="Encoder")]
    out = Tty()
    Terminal(out).show("")
    DownloadLines(Terminal(out)).update(both)
    assert out.screen == [f"Getting {NAME} 43 %, Encoder 5 %"]
    lines = followed(io.StringIO(), both, [ended("done"), at(6, job_id="b", name="Encoder")], [ended("done", job_id="b")])
    assert lines.splitlines()[-2:] == [f"{NAME} is ready.", "Encoder is ready."]


@pytest.mark.parametrize(
    ("end", "sentence"),
    [
        (ended("failed", "It could not be downloaded. Check the network."), "It could not be downloaded. Check the network."),
        (ended("cancelled"), f"The download of {NAME} was stopped."),
        (ended("interrupted"), f"The download of {NAME} goes on at the next start."),
    ],
)
@pytest.mark.parametrize("stream", [io.StringIO, Tty])
def test_every_end_is_one_sentence_said_once(stream: type[io.StringIO], end: JobSnapshot, sentence: str) -> None:
    out = stream()
    lines = DownloadLines(Terminal(out))
    for state in ([at(43)], [end], [end]):
        lines.update(state)
    assert out.getvalue().count(sentence) == 1 and out.getvalue().endswith(f"{sentence}\n")


def test_other_jobs_and_no_jobs_say_nothing() -> None:
    assert followed(io.StringIO()) == ""
    assert followed(io.StringIO(), [at(43, kind="write")]) == ""


def test_stopping_ends_the_following_and_leaves_a_clean_line() -> None:
    out, stop = Tty(), threading.Event()
    thread = threading.Thread(
        target=follow_downloads, args=(ScriptedJobs(*[[at(1)]] * 10_000), Terminal(out), stop), kwargs={"interval_s": 0.005}
    )
    thread.start()
    stop.set()
    thread.join(5)
    assert not thread.is_alive() and out.screen == [""]


def test_nothing_from_outside_steers_the_terminal_and_no_letter_or_closed_pipe_stops_it() -> None:
    out = io.StringIO()
    Terminal(out).say("a\x1b[2Jb\nc")
    assert out.getvalue() == "a [2Jb c\n"
    raw = io.BytesIO()
    ascii_only = io.TextIOWrapper(raw, encoding="ascii")
    Terminal(ascii_only).say("模型 ready")
    assert raw.getvalue().endswith(b"?? ready\n")
    for gone in (None, Gone()):
        Terminal(gone).say("nobody hears this")


def test_large_downloads_are_in_gigabytes_and_unknown_sizes_in_none() -> None:
    large = {"phase": "download", "step": 400_000_000, "total": 1_200_000_000}
    assert progress_line("Qwen", large) == "Getting Qwen: download 33 % (0.4 of 1.2 GB)"
    assert progress_line("Qwen", {"phase": "download", "step": 5, "total": 0}) == "Getting Qwen: download 0 %"
