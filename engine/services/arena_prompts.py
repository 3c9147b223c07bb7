"""Which prompts a blind test asks: the held-out ones first, then prompts the owner has never rated.

Fresh ones are the owner's own, then the studio's, those most like what the owner writes first; of summaries only the owner's: a
prompt is a document then, with the question that a model is asked about it. No prompt that was trained on is among them, unless
the caller gave it. Knows storage, datasets and the prompts in assets; knows no model and no vote.
"""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from engine.errors import BadOptionError, NotEnoughDataError
from engine.evaluation.metrics import NO_SPACES, script, words
from engine.safety.limits import PROMPT_MAX_CHARS, clean_text
from engine.services.evaluations import ArenaPrompt
from engine.services.examples import has_prompt
from engine.services.prompt import messages_for
from engine.services.summary_parts import asked_about
from engine.services.trl import prompt_messages
from engine.summary.styles import SummaryStyles
from engine.training.dataset import prompt_key, prompt_of
from storage.database import Database
from storage.records import CreationFilter, CreationRecord, DatasetRow, Json, Kind
from storage.unit_of_work import UnitOfWork

Language = Literal["en", "zh"]

SPARE_FACTOR = 2
"""Prompts for each match, because a pair may come out alike."""
OWN_LIMIT = 200
"""The newest never-rated prompts of the owner that are looked at."""
LIKE_LIMIT = 200
"""The owner's prompts that the studio's are compared with."""
LEAST_WORDS = 2
"""A prompt of fewer words ("hi", "test") says nothing about two models."""


class Datasets(Protocol):
    """What the choice of prompts asks the dataset service."""

    def held_out_prompts(self, owner_id: str, task: Kind) -> Sequence[Sequence[Json]]:
        """The messages of every held-out prompt, newest first."""

    def rows(self, owner_id: str, dataset_id: str, split: Any = None) -> Iterable[DatasetRow]:
        """The rows of a dataset."""


class ArenaPrompts:
    """Chooses prompts."""

    def __init__(self, database: Database, datasets: Datasets, prompts_dir: Path, styles: SummaryStyles) -> None:
        self._database = database
        self._datasets = datasets
        self._dir = prompts_dir
        self._styles = styles

    def given(self, owner_id: str, task: Kind, texts: Sequence[str], n: int) -> tuple[ArenaPrompt, ...]:
        """The caller's own prompts (of summaries: texts to summarise), from the first again when there are too few.

        Raises TooLongError, BadOptionError.
        """
        if isinstance(texts, str):
            raise BadOptionError('Option "prompts" must be a list of texts.', key="error.arena_prompts")
        held_out = {prompt_key(messages) for messages in self._datasets.held_out_prompts(owner_id, task)}
        prompts = []
        for text in texts:
            cleaned = clean_text(text, max_chars=PROMPT_MAX_CHARS, what="A prompt")
            if not cleaned.strip():
                raise BadOptionError('A prompt in "prompts" is empty.', key="error.arena_prompt_empty")
            messages = asked_about(cleaned, self._styles) if task == "summary" else _user(cleaned)
            prompts.append(ArenaPrompt(messages, prompt_key(messages) in held_out))
        return _repeated(prompts, n)

    def chosen(self, owner_id: str, task: Kind, *, dataset_id: str | None, n: int, seed: int) -> tuple[ArenaPrompt, ...]:
        """Held-out ones with what was liked for them, then fresh ones; at least `n`. Raises NotEnoughDataError without any."""
        liked = _liked(self._datasets.rows(owner_id, dataset_id, "held_out")) if dataset_id else {}
        prompts: dict[str, ArenaPrompt] = {}
        for messages in self._datasets.held_out_prompts(owner_id, task):
            key = prompt_key(messages)
            prompts.setdefault(key, ArenaPrompt(tuple(messages), True, tuple(liked.get(key, ()))))
        with self._database.read() as uow:
            rated, own = _rated(uow, owner_id, task), _unrated(uow, owner_id, task)
            seen = {prompt_key(_asked(creation)) for creation in rated}
            for creation in own:
                if len(prompts) >= SPARE_FACTOR * n:
                    break
                key = prompt_key(_asked(creation))
                if key not in seen and key not in prompts and not uow.datasets.splits(owner_id, task, [key]):
                    prompts[key] = ArenaPrompt(_messages(uow, owner_id, creation))
        if task != "summary":
            like = [prompt.text for prompt in prompts.values()] + [creation.prompt for creation in rated]
            for text in self._fresh(like, seed):
                messages = _user(text)
                if prompt_key(messages) not in seen:
                    prompts.setdefault(prompt_key(messages), ArenaPrompt(messages))
        if not prompts:
            text = "There is no document to test with: each was trained on. Summarise another one, without rating it, then test."
            raise NotEnoughDataError(text, key="error.arena_no_documents")
        return _repeated(list(prompts.values()), n)

    def _fresh(self, like: Sequence[str], seed: int) -> list[str]:
        """The studio's prompts in the language of `like`, those most like it first, equal ones in a drawn order."""
        text = (self._dir / f"{_language(like)}.json").read_text(encoding="utf-8")
        prompts = [prompt for kind in json.loads(text)["kinds"].values() for prompt in kind]
        random.Random(seed).shuffle(prompts)
        return nearest(prompts, like[:LIKE_LIMIT])


def nearest(prompts: Sequence[str], like: Sequence[str]) -> list[str]:
    """`prompts` by how much they share with the closest of `like`: cosine of word counts, rare words weighing more."""
    counts = {text: Counter(words(text)) for text in (*prompts, *like)}
    used = Counter(word for count in counts.values() for word in count)
    weights = {word: math.log(1 + len(counts) / times) for word, times in used.items()}
    vectors = {text: _unit({word: times * weights[word] for word, times in count.items()}) for text, count in counts.items()}

    def closeness(prompt: str) -> float:
        one = vectors[prompt]
        return max((sum(value * vectors[other].get(word, 0.0) for word, value in one.items()) for other in like), default=0.0)

    return sorted(prompts, key=closeness, reverse=True)


def _unit(vector: Mapping[str, float]) -> dict[str, float]:
    norm = math.sqrt(sum(value * value for value in vector.values())) or 1.0
    return {word: value / norm for word, value in vector.items()}


def _language(texts: Sequence[str]) -> Language:
    letters = Counter(script(character) in NO_SPACES for text in texts for character in text if script(character))
    return "zh" if letters[True] > letters[False] else "en"


def _repeated(prompts: list[ArenaPrompt], n: int) -> tuple[ArenaPrompt, ...]:
    """As many as a test may need; each place has a seed of its own, so that a prompt that comes again gets other answers."""
    wanted = SPARE_FACTOR * n
    rounds = math.ceil(wanted / len(prompts)) if prompts else 0
    return tuple((prompts * rounds)[:wanted])


def _user(text: str) -> tuple[Json, ...]:
    return ({"role": "user", "content": text},)


def _asked(creation: CreationRecord) -> tuple[Json, ...]:
    """What the model was asked, without the turns before."""
    return tuple(prompt_messages(creation, ()))


def _messages(uow: UnitOfWork, owner_id: str, creation: CreationRecord) -> tuple[Json, ...]:
    """What the model got when this was written."""
    if creation.kind == "summary":
        return _asked(creation)
    context = uow.creations.path(owner_id, creation.context_id) if creation.context_id else ()
    messages = messages_for(str(creation.params.get("system") or ""), context, creation.prompt)
    return tuple({"role": message.role, "content": message.content} for message in messages)


def _rated(uow: UnitOfWork, owner_id: str, task: Kind) -> list[CreationRecord]:
    """What the owner has said anything about, newest first, one for each prompt."""
    rated = [item.creation for item in uow.creations.each(owner_id, owner_id, CreationFilter(kind=task, rated=True))]
    chosen = [choice.chosen_id for choice in uow.preferences.each(owner_id)]
    rated += [creation for creation in uow.creations.get_many(owner_id, chosen) if creation.kind == task]
    rated.sort(key=lambda creation: creation.seq, reverse=True)
    kept: dict[str, CreationRecord] = {}
    for creation in rated:
        kept.setdefault(prompt_key(_asked(creation)), creation)
    return list(kept.values())


def _unrated(uow: UnitOfWork, owner_id: str, task: Kind) -> list[CreationRecord]:
    filter = CreationFilter(kind=task, rated=False)
    page = uow.creations.search(owner_id, owner_id, filter, page_size=OWN_LIMIT)
    made = [item.creation for item in page.items]
    if task == "summary":
        return [creation for creation in made if has_prompt(creation)]
    return [creation for creation in made if len(words(creation.prompt)) >= LEAST_WORDS]


def _liked(rows: Iterable[DatasetRow]) -> dict[str, list[str]]:
    """What was liked, by the prompt's key, from rows of any method."""
    liked: dict[str, list[str]] = {}
    for entry in rows:
        row = entry.row
        if "messages" in row:
            answer = row["messages"][-1]["content"]
        elif "chosen" in row:
            answer = row["chosen"][-1]["content"]
        elif row.get("label"):
            answer = row["completion"][-1]["content"]
        else:
            continue
        answers = liked.setdefault(prompt_key(prompt_of(row)), [])
        if answer not in answers:
            answers.append(answer)
    return liked
