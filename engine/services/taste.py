"""What a rater likes, learned from every choice and rating, and used to sort candidates.

Each choice between two answers is a pair; thumbs that are in no pair are paired up, a liked answer against a disliked one, and
count half. The fitted taste is kept in memory under a hash of the data, so that asking again is free; it is fitted again in the
background after a change (`touch`), or at once by who cannot wait (`score`). Knows ratings, texts and the encoder's host; knows
no page and writes nothing.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from engine.errors import BadFileError, BadOptionError, NoModelError, NotEnoughDataError, StudioError
from engine.evaluation.features import FEATURES, features
from engine.evaluation.taste import MAX_PAIRS, MIN_GROUPS, MIN_PAIRS, Description, Learned, Pair, TasteModel, fit, not_enough
from engine.services.edge import storage_errors
from storage.database import Database
from storage.records import CreationFilter, CreationRecord, Kind
from storage.unit_of_work import UnitOfWork

log = logging.getLogger(__name__)

Item: TypeAlias = tuple[str, str]
"""(prompt, answer)."""
THUMBS_WEIGHT = 0.5
"""Two answers to different prompts say less about taste than two to the same."""
DEBOUNCE_S = 1.0
"""Ratings come in bursts; the fit waits this long for the next one."""
CLOSE_WAIT_S = 3.0
KEPT_DESCRIPTIONS = 8192
KEPT_TASTES = 64


class Encoder(Protocol):
    """What turns texts into vectors."""

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """[texts, width], each of length 1."""


class EncoderHost(Protocol):
    """Where the loaded encoder comes from."""

    def use_encoder(self) -> AbstractContextManager[Encoder]:
        """Load it if need be. Raises NoModelError when it is not installed, BadFileError when it is damaged."""


@dataclass(frozen=True, slots=True)
class TasteSummary:
    """What has been learned. Without enough data: `ready` False, and `missing` more comparisons until it is."""

    ready: bool
    ratings: int
    """Picks, votes, edits and rated answers it was learned from: what the rater did, not the pairs that follow."""
    pairs: int
    missing: int = 0
    accuracy: float = 0.0
    """Share of pairs it gets right on prompts it did not learn from."""
    interval: tuple[float, float] = (0.0, 1.0)
    learned: tuple[Learned, ...] = ()

    @property
    def is_sure(self) -> bool:
        """Whether it is better than chance beyond doubt (lower bound of the 95 % interval over a half)."""
        return self.ready and self.interval[0] > 0.5


@dataclass(frozen=True, slots=True)
class _Judgements:
    """The data of one fit."""

    items: tuple[Item, ...]
    pairs: tuple[Pair, ...]
    ratings: int

    @property
    def groups(self) -> int:
        return len({pair.group for pair in self.pairs})

    @property
    def sha256(self) -> str:
        return hashlib.sha256(repr((self.items, self.pairs)).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Taste:
    sha256: str
    summary: TasteSummary
    model: TasteModel | None


_Key: TypeAlias = tuple[str, str, Kind]


class TasteService:
    """One taste for each owner, rater and task. Thread-safe."""

    def __init__(self, database: Database, encoders: EncoderHost, *, debounce_s: float = DEBOUNCE_S) -> None:
        self._database = database
        self._describer = Describer(encoders)
        self._debounce_s = debounce_s
        self._tastes: OrderedDict[_Key, _Taste] = OrderedDict()
        self._timers: dict[_Key, threading.Timer] = {}
        self._lock = threading.Lock()
        self._fitting = threading.Lock()
        self._is_closed = False

    def score(self, owner_id: str, rater_id: str, task: Kind, items: Sequence[Item]) -> list[float]:
        """How much the rater should like each (prompt, answer): 0 = like the average answer they judged, higher is better.

        Learns what is new first. Raises NotEnoughDataError under 8 pairs or 4 prompts, BadOptionError for a task without texts.
        """
        taste = self._current(owner_id, rater_id, task)
        if taste.model is None:
            raise not_enough(taste.summary.pairs, MIN_GROUPS)
        return [float(value) for value in taste.model.score(self._describer.describe(items, taste.model.embedding.size))]

    @storage_errors()
    def require(self, owner_id: str, rater_id: str, task: Kind) -> None:
        """Raise NotEnoughDataError when `score` would, without fitting anything; otherwise begin to learn what is new."""
        with self._database.read() as uow:
            data = _judgements(uow, owner_id, rater_id, _checked(task))
        if len(data.pairs) < MIN_PAIRS or data.groups < MIN_GROUPS:
            raise not_enough(len(data.pairs), data.groups)
        self.touch(owner_id, rater_id, task, wait_s=0.0)

    def summary(self, owner_id: str, rater_id: str, task: Kind) -> TasteSummary:
        """What has been learned, with everything that was rated until now. A fit may take seconds: not for a page's request."""
        return self._current(owner_id, rater_id, task).summary

    def peek(self, owner_id: str, rater_id: str, task: Kind) -> tuple[TasteSummary | None, bool]:
        """(what is known now, whether something newer is being learned), at once. Begins to learn when nothing is known yet."""
        key = (owner_id, rater_id, _checked(task))
        with self._lock:
            known = self._tastes.get(key)
        if known is None:
            self.touch(owner_id, rater_id, task, wait_s=0.0)
        with self._lock:
            return (known.summary if known else None), key in self._timers

    def touch(self, owner_id: str, rater_id: str, task: Kind, *, wait_s: float | None = None) -> None:
        """Something was rated: learn it in the background, soon."""
        key = (owner_id, rater_id, _checked(task))
        with self._lock:
            if self._is_closed:
                return
            waiting = self._timers.pop(key, None)
            if waiting is not None:
                waiting.cancel()
            timer = threading.Timer(self._debounce_s if wait_s is None else wait_s, self._learn, (key,))
            timer.daemon = True
            timer.name = "taste"
            self._timers[key] = timer
        timer.start()

    def close(self) -> None:
        """Learn nothing more."""
        with self._lock:
            self._is_closed = True
            timers = list(self._timers.values())
            self._timers.clear()
        for timer in timers:
            timer.cancel()
        if self._fitting.acquire(timeout=CLOSE_WAIT_S):  # what is being learned may still read the database
            self._fitting.release()

    def _learn(self, key: _Key) -> None:
        mine = threading.current_thread()
        try:
            self._current(*key)
        except StudioError as error:  # the next one who asks hears it; nobody waits for this thread
            log.warning("taste was not learned: %s", error)
        finally:
            with self._lock:
                if self._timers.get(key) is mine:
                    del self._timers[key]

    @storage_errors()
    def _current(self, owner_id: str, rater_id: str, task: Kind) -> _Taste:
        """The taste that all data until now give; one fit at a time, so that two who ask wait for one fit."""
        key = (owner_id, rater_id, _checked(task))
        with self._fitting:
            if self._is_closed:
                raise NotEnoughDataError("The studio is closing.", key="error.closing")
            with self._database.read() as uow:
                data = _judgements(uow, *key)
            sha256 = data.sha256
            with self._lock:
                known = self._tastes.get(key)
            if known is not None and known.sha256 == sha256:
                return known
            taste = _Taste(sha256, *self._fit(data))
            with self._lock:
                self._tastes[key] = taste
                self._tastes.move_to_end(key)
                while len(self._tastes) > KEPT_TASTES:
                    self._tastes.popitem(last=False)
            return taste

    def _fit(self, data: _Judgements) -> tuple[TasteSummary, TasteModel | None]:
        pairs = len(data.pairs)
        if pairs < MIN_PAIRS or data.groups < MIN_GROUPS:
            missing = max(MIN_PAIRS - pairs, MIN_GROUPS - data.groups)
            return TasteSummary(False, data.ratings, pairs, missing), None
        model = fit(self._describer.describe(data.items), data.pairs, FEATURES)
        summary = TasteSummary(True, data.ratings, pairs, accuracy=model.accuracy, interval=model.interval, learned=model.learned)
        return summary, model


class Describer:
    """(prompt, answer) in numbers, each computed once. Without an encoder the readable features alone."""

    def __init__(self, encoders: EncoderHost) -> None:
        self._encoders = encoders
        self._vectors: OrderedDict[str, npt.NDArray[np.float64]] = OrderedDict()
        self._lock = threading.Lock()

    def describe(self, items: Sequence[Item], width: int | None = None) -> list[Description]:
        """Descriptions in the items' order. `width` is what the fitted taste knows; 0 = it was fitted without an encoder."""
        nothing = np.zeros(0)
        vectors = {} if width == 0 else self._encoded(list(dict.fromkeys(text for _, text in items)))
        if width and not vectors:
            vectors = {text: np.zeros(width) for _, text in items}
        return [
            Description(np.array(list(features(text, prompt).values())), vectors.get(text, nothing)) for prompt, text in items
        ]

    def _encoded(self, texts: list[str]) -> dict[str, npt.NDArray[np.float64]]:
        with self._lock:
            known = {text: self._vectors[text] for text in texts if text in self._vectors}
        missing = [text for text in texts if text not in known]
        if missing:
            try:
                with self._encoders.use_encoder() as encoder:
                    found = encoder.encode(missing).astype(np.float64)
            except (NoModelError, BadFileError) as error:
                log.info("taste goes without an encoder: %s", error)
                return {}
            known.update(zip(missing, found, strict=True))
        with self._lock:
            for text in texts:
                self._vectors[text] = known[text]
                self._vectors.move_to_end(text)
            while len(self._vectors) > max(KEPT_DESCRIPTIONS, len(texts)):
                self._vectors.popitem(last=False)
        return known


def _checked(task: Kind) -> Kind:
    if task not in ("text", "summary"):
        raise BadOptionError(f'Taste is learned from texts; "{task}" has none.', key="error.taste_task", task=task)
    return task


def _judgements(uow: UnitOfWork, owner_id: str, rater_id: str, task: Kind) -> _Judgements:
    """Everything the rater chose or rated of one task, oldest first, without what is in the trash."""
    choices = [choice for choice in uow.preferences.each(rater_id) if choice.outcome == "win"]
    ids = dict.fromkeys(id for choice in choices for id in (choice.chosen_id, choice.rejected_id))
    known = {one.id: one for one in uow.creations.get_many(owner_id, ids) if _counts(one, task)}
    rated = [item for item in uow.creations.each(owner_id, rater_id, CreationFilter(kind=task, rated=True)) if item.score]
    thumbs = sorted((item for item in rated if _counts(item.creation, task)), key=lambda item: item.creation.seq)
    table = _Table()
    acts: set[object] = {item.creation.id for item in thumbs}
    pairs: list[Pair] = []
    paired: set[str] = set()
    for choice in choices:
        chosen, rejected = known.get(choice.chosen_id), known.get(choice.rejected_id)
        if chosen is None or rejected is None or chosen.output == rejected.output:
            continue
        pairs.append(Pair(table.place(chosen), table.place(rejected), f"{chosen.prompt}\n{chosen.context_id}"))
        paired.update((chosen.id, rejected.id))
        if choice.source != "ratings":
            acts.add((choice.source, chosen.id))
    alone = [item for item in thumbs if item.creation.id not in paired]
    liked = [table.place(item.creation) for item in alone if (item.score or 0) > 0]
    disliked = [table.place(item.creation) for item in alone if (item.score or 0) < 0]
    if liked and disliked:
        few = min(len(liked), len(disliked))
        for number in range(max(len(liked), len(disliked))):  # the rarer side again and again; what shares it is one group
            good, bad = liked[number % len(liked)], disliked[number % len(disliked)]
            pairs.append(Pair(good, bad, f"thumbs {number % few}", THUMBS_WEIGHT))
    return _Judgements(tuple(table.items), tuple(pairs[-MAX_PAIRS:]), len(acts))


class _Table:
    """Items in the order they were first asked for."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self._places: dict[str, int] = {}

    def place(self, creation: CreationRecord) -> int:
        if creation.id not in self._places:
            self._places[creation.id] = len(self.items)
            self.items.append((creation.prompt, creation.output))
        return self._places[creation.id]


def _counts(creation: CreationRecord, task: Kind) -> bool:
    return creation.kind == task and creation.trashed_at is None and bool(creation.output.strip())
