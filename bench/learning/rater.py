"""A simulated rater: a plug-in file with a hidden rule, and the habits of a person who follows it.

A plug-in is a Python file with `score(prompt: str, text: str) -> float` (higher is liked more), and optionally `KIND` (a word)
and `DEV` (True: it was used while recipes were tuned). Knows texts; knows no studio, no model and no adapter.
"""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

RATERS_DIR = Path(__file__).parent / "raters"


@dataclass(frozen=True, slots=True)
class Rater:
    """What it likes is in `score`; nothing else ever sees it."""

    name: str
    kind: str
    is_dev: bool
    score: Callable[[str, str], float]

    def pick(self, prompt: str, texts: Sequence[str], draw: random.Random) -> int | None:
        """Index of the best text, drawn among equal ones; None when all are equal and there is nothing to say."""
        scores = [self.score(prompt, text) for text in texts]
        best = max(scores)
        if min(scores) == best:
            return None
        return draw.choice([index for index, value in enumerate(scores) if value == best])

    def vote(self, prompt: str, left: str, right: str) -> str:
        """left, right or tie."""
        a, b = self.score(prompt, left), self.score(prompt, right)
        return "tie" if a == b else "left" if a > b else "right"


def load_rater(path: Path) -> Rater:
    """Read a plug-in file. Raises SystemExit when it has no `score`."""
    spec = importlib.util.spec_from_file_location(f"rater_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not callable(getattr(module, "score", None)):
        raise SystemExit(f"{path} has no score(prompt, text)")
    return Rater(path.stem, getattr(module, "KIND", "?"), bool(getattr(module, "DEV", False)), module.score)


def random_rater(name: str) -> Rater:
    """Somebody who picks blindly: the same text always gets the same number, and the numbers mean nothing."""
    return Rater(name, "random", False, lambda prompt, text: random.Random(f"{name}\0{prompt}\0{text}").random())
