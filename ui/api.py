"""The studio for programs: named endpoints for gradio_client and plain HTTP, documented in docs/api.md.

Arguments come by position; options are one JSON object or null; each answer is exactly one JSON value. An error is one English
sentence that begins with its code in brackets. Knows the names and shapes outsiders rely on; every decision is the services'.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, get_type_hints

import gradio as gr

from engine.errors import BadOptionError
from engine.studio import Studio
from engine.types import PreferOptions, RateOptions, WriteOptions, WriteRequest, options_from_json
from storage.records import LOCAL_OWNER, CreationFilter, CreationRecord, LibraryItem
from ui import api_image, api_learning, api_summary
from ui.api_edge import (
    TASKS,
    Answer,
    JobFailedError,
    Options,
    Owner,
    guarded,
    guarded_async,
    guarded_stream,
    id_of,
    key_of,
    known_options,
    object_of,
    task_of,
)
from ui.uploads import uploaded_file

FILTER_NAMES = {"model": "model_id", "adapter": "adapter_id", "from": "created_from", "to": "created_to"}
"""What a filter is called outside → the field of CreationFilter; all others have the same name."""
FILTER_TYPES: dict[str, tuple[type, ...]] = {
    "kind": (str,), "model": (str,), "adapter": (str,), "tag": (str,),
    "min_score": (int, float), "max_score": (int, float),
    "rated": (bool,), "starred": (bool,), "trashed": (bool,), "from": (str,), "to": (str,),
}  # fmt: skip
WAITING = ("imagine", "summarize", "check")
"""Endpoints that answer when a job has ended."""
EXPORT_FORMATS = ("sft", "dpo", "kto", "csv", "bundle")


def register(studio: Studio, owner: Owner = lambda request: LOCAL_OWNER) -> None:
    """Add every endpoint to the gr.Blocks being built. `owner(request)` says whose rows a call may see."""
    for name, endpoint in {
        **_create(studio, owner),
        **api_image.endpoints(studio, owner),
        **api_summary.endpoints(studio, owner),
        **_judge(studio, owner),
        **_keep(studio, owner),
        **_jobs(studio, owner),
        **api_learning.endpoints(studio, owner),
    }.items():
        # Gradio reads the hints as they stand, and postponed ones are only strings.
        endpoint.__annotations__ = {**get_type_hints(endpoint), "return": Answer}
        edge = guarded_stream if name == "write" else guarded_async if name in WAITING else guarded
        safe = edge(endpoint)
        gr.api(safe, api_name=name, concurrency_limit=None)


def _create(studio: Studio, owner: Owner) -> dict[str, Callable[..., Any]]:
    async def write(prompt: str, options: Options = None, request: gr.Request | None = None) -> AsyncIterator[Answer]:
        """Write an answer: the same object at each update, at last with done: true. Closing the call never stops the job."""
        known = dict(object_of(options, "Options"))
        key = key_of(known)
        wish = WriteRequest(prompt, options_from_json(WriteOptions, known), key)
        whose = owner(request)
        started = await asyncio.to_thread(studio.text.write, whose, wish)
        answer: Answer = {
            "job_id": started.job_id,
            "creation_ids": list(started.creation_ids),
            "texts": ["" for _ in started.creation_ids],
            "done": False,
            "model": started.model_id,
            "adapter": started.adapter_id,
            "seeds": list(started.seeds),
            "tokens": [0 for _ in started.creation_ids],
            "ttft_s": None,
            "tokens_per_s": None,
            "notices": [notice.message for notice in started.notices],
        }
        yield answer
        last = None
        async for last in studio.jobs.follow(whose, started.job_id):
            answer = {**answer, **_written(last.data, dict(zip(started.creation_ids, started.seeds, strict=True)))}
            yield answer
        if last is not None and last.status == "failed":
            raise JobFailedError(last.error_code, last.error)
        yield {**answer, "done": True}

    def edit(creation_id: str, text: str, request: gr.Request | None = None) -> Answer:
        """Keep a changed answer or summary as a version that beats the original."""
        whose, id = owner(request), id_of(creation_id, "creation_id")
        is_summary = studio.library.get(whose, whose, id).creation.kind == "summary"
        edited = studio.summary.edit(whose, id, text) if is_summary else studio.text.edit(whose, id, text)
        return {"creation_id": edited.creation_id, "preference_id": edited.preference_id}

    return {"write": write, "edit": edit}


def _judge(studio: Studio, owner: Owner) -> dict[str, Callable[..., Any]]:
    def rate(creation_id: str, score: float | None, options: Options = None, request: gr.Request | None = None) -> Answer:
        """Rate a Creation from -1 to 1; null withdraws the rating."""
        if score is not None and (isinstance(score, bool) or not isinstance(score, (int, float)) or not -1 <= score <= 1):
            raise BadOptionError("The score must be a number from -1 to 1, or null to withdraw it.")
        whose, wish = owner(request), options_from_json(RateOptions, options)
        result = studio.feedback.rate(whose, whose, id_of(creation_id, "creation_id"), score, wish)
        return {"rating_id": result.rating_id, "counts": result.counts, "next_training_in": result.next_training_in}

    def prefer(
        chosen_id: str, rejected_id: str | list[str], options: Options = None, request: gr.Request | None = None
    ) -> Answer:
        """Say that one Creation is better than others of the same prompt."""
        whose, wish = owner(request), options_from_json(PreferOptions, options)
        rejected = rejected_id if isinstance(rejected_id, list) else [rejected_id]
        if not rejected:
            raise BadOptionError('Give at least one id in "rejected_id".')
        ids = tuple(id_of(item, "rejected_id") for item in rejected)
        kept = studio.feedback.prefer(whose, whose, id_of(chosen_id, "chosen_id"), ids, wish)
        return {"preference_ids": list(kept)}

    return {"rate": rate, "prefer": prefer}


def _keep(studio: Studio, owner: Owner) -> dict[str, Callable[..., Any]]:
    def library(query: str = "", filters: Options = None, page: int = 1, request: gr.Request | None = None) -> Answer:
        """Everything made, newest first, 50 items a page."""
        if isinstance(page, bool) or not isinstance(page, int) or page < 1:
            raise BadOptionError("The page must be a whole number from 1.")
        whose = owner(request)
        found = studio.library.search(whose, whose, creation_filter(filters, query=query), page=page)
        return {"total": found.total, "items": [library_row(item) for item in found.items]}

    def export(options: Options = None, request: gr.Request | None = None) -> Answer:
        """Write ratings as training rows, a table or a bundle; answers with the address to get the file from."""
        wish = known_options(options, ("format", "task", "filter", "dataset"))
        chosen, task = wish.get("format", "bundle"), task_of(wish.get("task", "text"))
        if chosen not in EXPORT_FORMATS:
            raise BadOptionError(f'Option "format" must be one of {", ".join(EXPORT_FORMATS)}.')
        whose, chosen_filter = owner(request), creation_filter(wish.get("filter"))
        dataset_id = wish.get("dataset")
        if dataset_id is None:
            file = studio.exports.export(whose, whose, format=chosen, task=task, filter=chosen_filter)
        else:
            file = studio.exports.export_dataset(whose, id_of(dataset_id, "dataset"))
        return {"url": f"/exports/{file.id}"}

    def import_(file: Any, options: Options = None, request: gr.Request | None = None) -> Answer:
        """Add an uploaded bundle or training rows to the library."""
        known_options(options, ())
        whose = owner(request)
        result = studio.exports.import_file(whose, whose, uploaded_file(file.get("path") if isinstance(file, Mapping) else file))
        return {
            "added": result.added,
            "skipped": result.skipped,
            "errors": [{"row": row, "message": message} for row, message in result.errors],
        }

    return {"library": library, "export": export, "import": import_}


def _jobs(studio: Studio, owner: Owner) -> dict[str, Callable[..., Any]]:
    def run(job_id: str, request: gr.Request | None = None) -> Answer:
        """How a job stands."""
        whose = owner(request)
        job = studio.jobs.get(whose, id_of(job_id, "job_id"))
        progress = job.progress or {}
        return {
            "status": job.status,
            "phase": progress.get("phase") or None,
            "step": progress.get("step"),
            "total": progress.get("total"),
            "eta_s": progress.get("eta_s"),
            **api_learning.learned(studio, whose, job),
            "error": job.error,
        }

    def cancel(job_id: str, request: gr.Request | None = None) -> Answer:
        """Stop a job within a step. What it made so far is kept."""
        return {"status": studio.jobs.cancel(owner(request), id_of(job_id, "job_id"))}

    return {"run": run, "cancel": cancel}


def creation_filter(filters: object, *, query: str = "") -> CreationFilter:
    """A CreationFilter from its JSON form. Raises BadOptionError that names an unknown or bad filter."""
    if not isinstance(query, str):
        raise BadOptionError("The query must be text.")
    known = known_options(filters, tuple(FILTER_TYPES), what="filter")
    values: dict[str, Any] = {}
    for name, value in known.items():
        if value is None:
            continue
        if not isinstance(value, FILTER_TYPES[name]) or (isinstance(value, bool) and bool not in FILTER_TYPES[name]):
            raise BadOptionError(f'Filter "{name}" has the wrong type.')
        if name == "kind" and value not in TASKS:
            raise BadOptionError(f'Filter "kind" must be one of {", ".join(TASKS)}.')
        values[FILTER_NAMES.get(name, name)] = _time(name, value) if name in ("from", "to") else value
    return CreationFilter(query=query, **values)


def library_row(item: LibraryItem) -> Answer:
    """What /library says about one Creation."""
    made = item.creation
    return {
        "id": made.id,
        "kind": made.kind,
        "prompt": made.prompt,
        **({"media": _media(made)} if made.kind == "image" or made.media_name else {"text": made.output}),
        "score": item.score,
        "starred": made.starred,
        "tags": list(made.tags),
        "model": made.model_id,
        "adapter": made.adapter_id,
        "seed": made.seed,
        "parent_id": made.parent_id,
        "created_at": made.created_at.isoformat(),
        "status": made.status,
    }


def _media(made: CreationRecord) -> str | None:
    """Where the picture is; null until it is there."""
    return f"/media/{made.id}" if made.media_name else None


def _written(data: Mapping[str, Any], seeds: Mapping[str, int]) -> Answer:
    """The parallel lists of /write from a job's live data, in the order of `seeds` (id -> seed); best first once ranked."""
    ids = data.get("ranking") or list(seeds)
    rows = {row["id"]: row for row in data.get("creations", ())}
    ordered = [rows.get(id_, {}) for id_ in ids]
    first = [row["ttft_s"] for row in ordered if row.get("ttft_s") is not None]
    speeds = [row["tokens_per_s"] for row in ordered if row.get("tokens_per_s") is not None]
    notices = data.get("notices")
    return {
        "creation_ids": list(ids),
        "seeds": [seeds[id_] for id_ in ids],
        "texts": [row.get("text") or "" for row in ordered],
        "tokens": [row.get("tokens") or 0 for row in ordered],
        "ttft_s": min(first) if first else None,
        "tokens_per_s": sum(speeds) if speeds else None,
        **({} if notices is None else {"notices": [notice["message"] for notice in notices]}),
    }


def _time(name: str, value: str) -> datetime:
    try:
        time = datetime.fromisoformat(value)
    except ValueError as error:
        raise BadOptionError(f'Filter "{name}" must be a date or time such as 2026-11-23 or 2026-11-23T10:00:00Z.') from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)
