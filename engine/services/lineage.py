"""Where an answer comes from: its adapter, the run that made it, the dataset, and each rating and choice in that.

Knows records of all of these; part of the caller's transaction. Knows no page.
"""

from __future__ import annotations

from dataclasses import dataclass

from storage.records import (
    BASE,
    AdapterRecord,
    CreationRecord,
    DatasetRecord,
    JobRecord,
    PreferenceRecord,
    PromotionRecord,
    RatingRecord,
)
from storage.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True)
class Lineage:
    """From one answer back to single ratings. Everything after `creation` is None or empty for the base model's answers."""

    creation: CreationRecord
    adapter: AdapterRecord | None = None
    run: JobRecord | None = None
    dataset: DatasetRecord | None = None
    promotions: tuple[PromotionRecord, ...] = ()
    """The switches to this adapter, newest first."""
    ratings: tuple[RatingRecord, ...] = ()
    preferences: tuple[PreferenceRecord, ...] = ()
    creations: tuple[CreationRecord, ...] = ()
    """The answers that were rated or chosen between, oldest first."""
    gone: int = 0
    """Ratings, choices and answers it was trained on that are no longer in force."""


def lineage_of(uow: UnitOfWork, owner_id: str, rater_id: str, creation_id: str) -> Lineage:
    """Trace one Creation of this owner. Raises RecordNotFoundError."""
    creation = uow.creations.get(owner_id, creation_id)
    if creation.adapter_id == BASE:
        return Lineage(creation)
    adapter = uow.adapters.get(owner_id, creation.adapter_id)
    switches = uow.promotions.history(owner_id, adapter.task)
    promotions = tuple(row for row in switches if row.adapter_id == adapter.id)
    run = uow.jobs.get(owner_id, adapter.run_id) if adapter.run_id else None
    if adapter.dataset_id is None:
        return Lineage(creation, adapter, run, promotions=promotions)
    sources = {source for row in uow.datasets.rows(owner_id, adapter.dataset_id) for source in row.source_ids}
    creations = tuple(sorted(uow.creations.get_many(owner_id, sources), key=lambda record: record.seq))
    ids = [record.id for record in creations]
    ratings = tuple(rating for rating in uow.ratings.current(rater_id, ids).values() if rating.id in sources)
    preferences = tuple(choice for choice in uow.preferences.current(rater_id, ids) if choice.id in sources)
    return Lineage(
        creation,
        adapter,
        run,
        uow.datasets.get(owner_id, adapter.dataset_id),
        promotions,
        ratings,
        preferences,
        creations,
        gone=len(sources) - len(creations) - len(ratings) - len(preferences),
    )
