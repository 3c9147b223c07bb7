"""Real answers of the starter model to the bench's prompts, written once and kept outside the repository.

Knows the starter model and one JSON file in the test cache; knows nothing of taste.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from engine.jobs.job import CancelToken
from engine.text.model import GenerateRequest, Message, Sampling
from tests.starter import starter_models, starter_text_model

PROMPTS_PATH = Path(__file__).with_name("taste_prompts.json")
ANSWERS = {"rate": 3, "new": 4}
"""How many answers a prompt of each part gets."""
MAX_NEW_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Answered:
    """One prompt and its candidates."""

    part: str
    """"rate" for the prompts that the rater picks from, "new" for those that were never rated."""
    prompt: str
    answers: tuple[str, ...]


def cached_answers() -> tuple[Answered, ...]:
    """The candidates of every prompt; writes what is missing (a quarter of an hour on one core, the first time)."""
    folder = starter_models().parent
    path = folder / "taste_candidates.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    wanted = [
        (part, prompt) for part, prompts in json.loads(PROMPTS_PATH.read_text(encoding="utf-8")).items() for prompt in prompts
    ]
    missing = {place: one for place, one in enumerate(wanted) if len(known.get(one[1], ())) < ANSWERS[one[0]]}
    for prompt, answers in _write(missing):
        known[prompt] = answers
        fresh = path.with_suffix(f".{os.getpid()}")
        fresh.write_text(json.dumps(known, ensure_ascii=False, indent=1), encoding="utf-8")
        fresh.replace(path)
    return tuple(Answered(part, prompt, tuple(known[prompt][: ANSWERS[part]])) for part, prompt in wanted)


def _write(missing: dict[int, tuple[str, str]]) -> Iterator[tuple[str, list[str]]]:
    """Each prompt with its answers, as they are done. Seeds follow from the prompt's place: another run writes much the same."""
    if not missing:
        return
    torch.set_num_threads(1)
    model = starter_text_model()
    sampling = Sampling(max_new_tokens=MAX_NEW_TOKENS, temperature=0.9)
    for place, (part, prompt) in missing.items():
        texts = [""] * ANSWERS[part]
        seeds = tuple(100 * place + row for row in range(len(texts)))
        request = GenerateRequest((Message("user", prompt),), sampling, seeds, batched=True)
        for event in model.generate(request, CancelToken()):
            texts[event.row] += event.delta
        print(prompt, flush=True)
        yield prompt, texts
    model.close()


if __name__ == "__main__":
    cached_answers()
