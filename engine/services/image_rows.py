"""Rows of pictures: how they are added for a click, read for a page, and turned back into options.

Part of the caller's transaction. Knows Creations and jobs; knows no model, no file and no page.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.errors import BadOptionError
from engine.services.feedback import picked_of
from engine.services.image_inputs import Input
from engine.services.image_records import Batch, ImagineStarted
from engine.services.notices import Notice
from engine.types import ImagineOptions
from storage.records import CreationRecord, JobRecord, Json, Origin
from storage.unit_of_work import UnitOfWork

_DRAWN = frozenset(
    (
        "style",
        "width",
        "height",
        "preset",
        "steps",
        "guidance",
        "scheduler",
        "negative",
        "strength",
        "transparent",
        "upscale",
        "init",
    )
)
"""Parameters that every picture has that was drawn here."""


def add_rows(
    uow: UnitOfWork,
    owner_id: str,
    started: ImagineStarted,
    prompt: str,
    params: Json,
    inputs: Sequence[Input],
    *,
    parent: CreationRecord | None,
    origin: Origin = "generated",
) -> tuple[CreationRecord, ...]:
    """The Creations of one click, with what they start from."""
    made = []
    for creation_id, seed in zip(started.creation_ids, started.seeds, strict=True):
        creation = uow.creations.add(
            owner_id,
            kind="image",
            prompt=prompt,
            model_id=started.model_id,
            adapter_id=started.adapter_id,
            id=creation_id,
            turn_id=started.turn_id,
            parent_id=parent.id if parent else None,
            job_id=started.job_id,
            seed=seed,
            params=dict(params),
            origin=origin,
        )
        uow.inputs.add(owner_id, [one.record(creation_id) for one in inputs])
        made.append(creation)
    return tuple(made)


def image_creation(uow: UnitOfWork, owner_id: str, creation_id: str) -> CreationRecord:
    """The Creation. Raises BadOptionError for a text."""
    creation = uow.creations.get(owner_id, creation_id)
    if creation.kind != "image":
        raise BadOptionError("This works for pictures only.", key="error.not_a_picture")
    return creation


def batch_of(uow: UnitOfWork, owner_id: str, rater_id: str, job: JobRecord) -> Batch:
    """One click with its pictures, those in the trash left out."""
    ids = job.request.get("creation_ids") or ()
    creations = tuple(one for one in uow.creations.get_many(owner_id, ids) if one.kind == "image" and one.trashed_at is None)
    shown = [one.id for one in creations]
    ratings = {key: rating for key, rating in uow.ratings.current(rater_id, shown).items() if rating.score is not None}
    scores = {creation_id: rating.score for creation_id, rating in ratings.items()}
    picked = picked_of(shown, uow.preferences.current(rater_id, shown))
    notices = tuple(Notice.from_json(value) for value in job.request.get("notices") or ())
    prompt = creations[0].prompt if creations else ""
    return Batch(job.id, job.status, prompt, creations, scores, ratings=ratings, notices=notices, picked_id=picked)


def was_drawn(creation: CreationRecord) -> bool:
    """Whether its row has everything that drawing needs."""
    return creation.origin != "imported" and creation.params.keys() >= _DRAWN


def options_again(creation: CreationRecord, n: int) -> ImagineOptions:
    """The options that made a Creation, for n more with new seeds. Raises BadOptionError for one that was not drawn here."""
    params: dict[str, Any] = dict(creation.params)
    if not was_drawn(creation):
        raise BadOptionError("Only a picture that was drawn here can be varied.", key="error.vary_origin")
    enlarged = 1 if params.get("enlarged") else params["upscale"]
    return ImagineOptions(
        model=creation.model_id,
        style=params["style"],
        n=n,
        width=params["width"],
        height=params["height"],
        preset=params["preset"] or "balanced",
        steps=params["steps"],
        guidance=params["guidance"],
        scheduler=params["scheduler"],
        negative=params["negative"],
        strength=params["strength"] or 0.6,
        transparent=params["transparent"],
        upscale=enlarged,
        init_image=(params["init"] or {}).get("creation_id"),
        parent_id=creation.id,
    )
