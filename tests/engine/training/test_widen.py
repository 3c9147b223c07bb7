"""Widening: further answers become pairs only where the taste that the ratings teach sees a clear difference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.training.samples import Answer, SamplePrompt
from engine.training.widen import widen

LONG = "This answer goes on and on about the very same thing, and then it adds some more words that nobody asked for at all"


class Speaker:
    """Writes one short and one long answer in turn; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[SamplePrompt] = []

    def answers(self, prompts: Sequence[SamplePrompt], max_tokens: int) -> list[Answer]:
        written = []
        for prompt in prompts:
            text = "Yes." if len(self.asked) % 2 else f"{LONG}. {LONG}, number {prompt.seed}."
            self.asked.append(prompt)
            written.append(Answer(text, (1, 2)))
        return written


class Watch:
    """Takes notes."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, text: str) -> None:
        self.lines.append(text)

    def phase(self, name: str, step: int = 0, total: int = 0) -> None:
        assert 0 <= step <= total


def rows(count: int, *, likes_short: bool | None) -> list[dict[str, Any]]:
    """Pairs of a short and a long answer; `likes_short` None = every other one the other way round."""
    found = []
    for number in range(count):
        short, long = f"Short answer {number}.", f"{LONG}, number {number}."
        chosen, rejected = (short, long) if (likes_short if likes_short is not None else number % 2) else (long, short)
        found.append(
            {
                "prompt": [{"role": "user", "content": f"Question {number}?"}],
                "chosen": [{"role": "assistant", "content": chosen}],
                "rejected": [{"role": "assistant", "content": rejected}],
            }
        )
    return found


def widened(path: Path, known: list[dict[str, Any]], speaker: Speaker, watch: Watch) -> list[Any]:
    return list(widen(known, 2, 16, speaker, watch, path=path, seed=7))  # type: ignore[arg-type]


@pytest.mark.parametrize("likes_short", [True, False])
def test_new_pairs_say_what_the_ratings_say(tmp_path: Path, likes_short: bool) -> None:
    known = rows(24, likes_short=likes_short)
    found = widened(tmp_path / "widened.json", known, Speaker(), Watch())

    assert len(found) == 24
    for row, new in zip(known, found, strict=True):
        assert new["prompt"] == row["prompt"]
        chosen, rejected = (len(new[name][0]["content"]) for name in ("chosen", "rejected"))
        assert (chosen < rejected) is likes_short
        assert (new["chosen"], new["rejected"]) != (row["chosen"], row["rejected"])


def test_ratings_that_say_nothing_clear_add_nothing(tmp_path: Path) -> None:
    speaker, watch = Speaker(), Watch()
    assert widened(tmp_path / "widened.json", rows(24, likes_short=None), speaker, watch) == []
    assert speaker.asked == []
    assert "no further answers" in watch.lines[0]


def test_few_ratings_add_nothing(tmp_path: Path) -> None:
    speaker = Speaker()
    assert widened(tmp_path / "widened.json", rows(5, likes_short=True), speaker, Watch()) == []
    assert speaker.asked == []


def test_a_resumed_run_gets_the_same_pairs_and_writes_nothing_again(tmp_path: Path) -> None:
    path, known = tmp_path / "widened.json", rows(24, likes_short=True)
    first = widened(path, known, Speaker(), Watch())
    again = Speaker()
    assert widened(path, known, again, Watch()) == first
    assert again.asked == []


def test_every_new_answer_has_a_seed_of_its_own(tmp_path: Path) -> None:
    speaker = Speaker()
    widened(tmp_path / "widened.json", rows(24, likes_short=True), speaker, Watch())
    assert len({prompt.seed for prompt in speaker.asked}) == len(speaker.asked) == 48
