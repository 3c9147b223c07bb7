"""Widens a set of pairs: more answers of the model to the prompts that were judged, told apart by the taste that the pairs teach.

Somebody picks the best of three; the best and the worst of eight lie further apart, so that training sees more of what was
meant and less of what came along by chance ("West-of-N", Pace et al. 2024, arXiv:2401.12086). Only a taste that is surely
better than chance on prompts it has not seen may say anything, and only where it sees a clear difference.
Runs in the training child only. Knows rows and texts; knows no trainer and no database.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from engine.errors import NotEnoughDataError
from engine.evaluation.features import FEATURES, features
from engine.evaluation.taste import Description, Pair, TasteModel, fit
from engine.jobs.process import write_json
from engine.text.model import Message
from engine.training.rows import Row
from engine.training.samples import SamplePrompt, Speaker
from engine.training.watch import Watch

CLEAR: Final = 1.0
"""Least difference of taste between the two answers of a new pair: odds of 2.7 to 1."""
MOST_TOKENS: Final = 256
"""Longest answer written, however long the judged ones are: time goes with it."""
_TOGETHER: Final = 16
"""Answers written in one batch."""


@dataclass(slots=True)
class _Judged:
    """One prompt and the answers to it, each once."""

    messages: list[dict[str, str]]
    answers: list[str] = field(default_factory=list)
    pairs: list[tuple[int, int]] = field(default_factory=list)

    @property
    def prompt(self) -> str:
        return self.messages[-1]["content"]

    def place(self, answer: str) -> int:
        if answer not in self.answers:
            self.answers.append(answer)
        return self.answers.index(answer)


def widen(rows: Sequence[Row], more: int, max_tokens: int, speaker: Speaker, watch: Watch, *, path: Path, seed: int) -> list[Row]:
    """Return new pairs from `more` new answers to each prompt of `rows` (DPO rows), at most one a prompt.

    They are kept in `path`, so that a resumed run trains on the same ones. Answers are at most `max_tokens` long. Raises what
    the watch raises.
    """
    if path.is_file():
        return list(json.loads(path.read_text(encoding="utf-8"))["rows"])
    judged = _by_prompt(rows)
    taste = _taste(judged)
    if taste is None or taste.interval[0] <= 0.5:
        watch.log("The ratings do not say clearly enough what is liked, so no further answers were compared.")
        return _kept([], path)
    prompts = [
        SamplePrompt(tuple(Message(m["role"], m["content"]) for m in one.messages), seed + 1 + number * more + copy)  # type: ignore[arg-type]
        for number, one in enumerate(judged)
        for copy in range(more)
    ]
    for start in range(0, len(prompts), _TOGETHER):
        watch.phase("prepare", start, len(prompts))
        written = speaker.answers(prompts[start : start + _TOGETHER], max_tokens)
        for number, answer in enumerate(written, start=start):
            if answer.text.strip():
                judged[number // more].place(answer.text.strip())
    found = [pair for pair in (_widest(one, taste) for one in judged) if pair is not None]
    watch.log(f"{len(prompts)} further answers were compared by your taste; {len(found)} clear pairs came of it.")
    return _kept(found, path)


def _by_prompt(rows: Sequence[Row]) -> list[_Judged]:
    found: dict[str, _Judged] = {}
    for row in rows:
        one = found.setdefault(json.dumps(row["prompt"]), _Judged([dict(message) for message in row["prompt"]]))
        one.pairs.append((one.place(str(row["chosen"][0]["content"])), one.place(str(row["rejected"][0]["content"]))))
    return list(found.values())


def _taste(judged: Sequence[_Judged]) -> TasteModel | None:
    described: list[Description] = []
    pairs: list[Pair] = []
    for one in judged:
        pairs += [Pair(len(described) + chosen, len(described) + rejected, one.prompt) for chosen, rejected in one.pairs]
        described += _described(one)
    try:
        return fit(described, pairs, FEATURES)
    except NotEnoughDataError:
        return None


def _described(one: _Judged) -> list[Description]:
    """What can be counted in each answer. No embeddings: they add a point of accuracy, and a second model to the process."""
    return [Description(np.array(list(features(answer, one.prompt).values())), np.zeros(0)) for answer in one.answers]


def _widest(one: _Judged, taste: TasteModel) -> Row | None:
    """The pair of the best and the worst answer, unless taste hardly tells them apart or somebody has compared them."""
    scores = taste.score(_described(one))
    best, worst = int(np.argmax(scores)), int(np.argmin(scores))
    if scores[best] - scores[worst] < CLEAR or {(best, worst), (worst, best)} & set(one.pairs):
        return None
    chosen, rejected = ([{"role": "assistant", "content": one.answers[place]}] for place in (best, worst))
    return {"prompt": one.messages, "chosen": chosen, "rejected": rejected}


def _kept(rows: list[Row], path: Path) -> list[Row]:
    write_json(path, {"rows": rows})
    return rows
