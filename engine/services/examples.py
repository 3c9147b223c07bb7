"""Examples to learn from, out of the database: what was rated, chosen and edited, as rows in TRL's formats with their sources.

Knows ratings, preferences and Creations; part of the caller's transaction. Knows no split, no file and no model.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any, TypeVar

from engine.services.trl import SFT_MIN_SCORE, dpo_row, is_sft_example, kto_row, prompt_messages, sft_row
from engine.training.dataset import Example
from storage.records import CreationFilter, CreationRecord, LibraryItem, Method, PreferenceRecord, RatingRecord
from storage.unit_of_work import UnitOfWork

T = TypeVar("T")
BATCH = 200


def examples_of(
    uow: UnitOfWork, owner_id: str, rater_id: str, method: Method, filter: CreationFilter
) -> Iterator[tuple[Example, tuple[CreationRecord, ...]]]:
    """Yield each example with the Creations whose answers are in it, oldest first.

    sft: answers rated SFT_MIN_SCORE or more, and edited ones. dpo: every preference in force with a winner whose chosen side
    passes the filter. kto: every rating in force but 0. `filter.kind` says the task. Its sources are the rating or the
    preference, the Creations, and the earlier turns that are part of the prompt.
    """
    prompts = _Prompts(uow, owner_id)
    if method == "dpo":
        yield from _pairs(uow, owner_id, rater_id, filter, prompts)
        return
    items = _rated(uow, owner_id, rater_id, filter) if method == "kto" else _imitable(uow, owner_id, rater_id, filter)
    for batch in batches(items, BATCH):
        ratings = uow.ratings.current(rater_id, [item.creation.id for item in batch])
        for item in batch:
            example = _answer(method, item, ratings.get(item.creation.id), prompts)
            if example is not None:
                yield example, (item.creation,)


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """`items` in lists of at most `size`."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _rated(uow: UnitOfWork, owner_id: str, rater_id: str, filter: CreationFilter) -> Iterator[LibraryItem]:
    if filter.rated is not False:
        yield from uow.creations.each(owner_id, rater_id, replace(filter, rated=True))


def _imitable(uow: UnitOfWork, owner_id: str, rater_id: str, filter: CreationFilter) -> Iterator[LibraryItem]:
    """What is rated high enough, and what was edited; never the whole library, most of which nobody rated."""
    least = max(SFT_MIN_SCORE, SFT_MIN_SCORE if filter.min_score is None else filter.min_score)
    high = _rated(uow, owner_id, rater_id, replace(filter, min_score=least))
    edited = uow.creations.each(owner_id, rater_id, filter, origin="edited")
    last = None
    for item in heapq.merge(high, edited, key=lambda item: item.creation.seq):
        if item.creation.id != last:
            yield item
        last = item.creation.id


def _answer(method: Method, item: LibraryItem, rating: RatingRecord | None, prompts: _Prompts) -> Example | None:
    creation, score = item.creation, item.score
    if not creation.output or not has_prompt(creation):
        return None
    row: Mapping[str, Any] | None = None
    if method == "sft" and is_sft_example(creation, score):
        row = sft_row(prompts.of(creation), creation.output)
    if method == "kto" and score is not None:
        row = kto_row(prompts.of(creation), creation.output, score)
    if row is None:
        return None
    sources = (*((rating.id,) if rating is not None else ()), creation.id, *prompts.sources(creation))
    is_edit = method == "sft" and creation.origin == "edited"
    return Example(row, sources, "edit" if is_edit else "rating")


def _pairs(
    uow: UnitOfWork, owner_id: str, rater_id: str, filter: CreationFilter, prompts: _Prompts
) -> Iterator[tuple[Example, tuple[CreationRecord, ...]]]:
    if filter == CreationFilter(kind=filter.kind):
        wanted = None
    else:
        wanted = {item.creation.id for item in uow.creations.each(owner_id, rater_id, filter)}
    for batch in batches(uow.preferences.each(rater_id), BATCH):
        wins: list[PreferenceRecord] = [preference for preference in batch if preference.outcome == "win"]
        ids = list(dict.fromkeys(key for preference in wins for key in (preference.chosen_id, preference.rejected_id)))
        found = {creation.id: creation for creation in uow.creations.get_many(owner_id, ids)}
        ratings = uow.ratings.current(rater_id, ids)
        for preference in wins:
            chosen, rejected = found.get(preference.chosen_id), found.get(preference.rejected_id)
            if chosen is None or rejected is None or chosen.kind != filter.kind:
                continue
            is_wanted = chosen.id in wanted if wanted is not None else chosen.trashed_at is None
            is_told = bool(chosen.output) and bool(rejected.output) and chosen.output != rejected.output
            is_asked_alike = has_prompt(chosen) and chosen.params.get("asked") == rejected.params.get("asked")
            if not is_wanted or not is_told or not is_asked_alike or (rejected.trashed_at is not None and not filter.trashed):
                continue
            # A pair that follows from two ratings comes from these.
            said = [ratings[made.id].id for made in (chosen, rejected) if preference.source == "ratings" and made.id in ratings]
            sources = (preference.id, *said, chosen.id, rejected.id, *prompts.sources(chosen))
            row = dpo_row(prompts.of(chosen), chosen.output, rejected.output)
            yield Example(row, sources, preference.source, preference.is_explicit), (chosen, rejected)


def has_prompt(creation: CreationRecord) -> bool:
    """A summary of a document that no model reads at once teaches nothing."""
    return creation.kind != "summary" or bool(creation.params.get("asked"))


class _Prompts:
    """The messages before an answer; the last path is remembered, because neighbours mostly share it."""

    def __init__(self, uow: UnitOfWork, owner_id: str) -> None:
        self._uow = uow
        self._owner_id = owner_id
        self._context_id: str | None = None
        self._context: tuple[CreationRecord, ...] = ()

    def of(self, creation: CreationRecord) -> list[dict[str, str]]:
        """The messages."""
        return prompt_messages(creation, self._path(creation))

    def sources(self, creation: CreationRecord) -> tuple[str, ...]:
        """Ids of the earlier turns in them."""
        return tuple(turn.id for turn in self._path(creation))

    def _path(self, creation: CreationRecord) -> tuple[CreationRecord, ...]:
        if creation.context_id != self._context_id:
            self._context_id = creation.context_id
            self._context = tuple(self._uow.creations.path(self._owner_id, creation.context_id)) if creation.context_id else ()
        return self._context
