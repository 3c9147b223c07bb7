"""The summary endpoints for programs: /summarize and /check. Documented in docs/api.md, like the others in ui/api.py.

Knows the names and shapes outsiders rely on; every decision is the summary service's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from engine.errors import BadOptionError, CancelledError
from engine.studio import Studio
from engine.types import SummaryOptions, SummaryRequest, options_from_json
from ui.api_edge import Answer, JobFailedError, Options, Owner, key_of, object_of
from ui.uploads import uploaded_file

if TYPE_CHECKING:
    from engine.jobs.job import JobSnapshot


def endpoints(studio: Studio, owner: Owner) -> dict[str, Callable[..., Any]]:
    """The endpoints by their names."""

    async def ended(whose: str, job_id: str) -> JobSnapshot:
        last = await asyncio.to_thread(studio.jobs.get, whose, job_id)
        async for snapshot in studio.jobs.follow(whose, job_id, interval_s=0.5):
            last = snapshot
        if last.status == "failed":
            raise JobFailedError(last.error_code, last.error)
        if last.status != "done":
            raise CancelledError("This was stopped; what was made so far is kept.")
        return last

    async def summarize(
        text: str | None = None, files: list[Any] | None = None, options: Options = None, request: gr.Request | None = None
    ) -> Answer:
        """Summarise a text, uploaded files, or both; answers when it is done. Closing the call never stops the job."""
        whose = owner(request)
        wish = await asyncio.to_thread(_request, text, files, options)
        started = await asyncio.to_thread(studio.summary.summarize, whose, wish)
        last = await ended(whose, started.job_id)
        return {
            "job_id": started.job_id,
            **(last.result or {}),
            "model": started.model_id,
            "adapter": started.adapter_id,
            "seed": started.seeds[0],
            "notices": [notice["message"] for notice in last.data.get("notices") or ()],
        }

    async def check(text: str, summary: str, request: gr.Request | None = None) -> Answer:
        """Judge any summary against any text, sentence by sentence; nothing is kept."""
        whose = owner(request)
        last = await ended(whose, await asyncio.to_thread(studio.summary.check, whose, text, summary))
        return {"sentences": list((last.result or {}).get("sentences") or ())}

    return {"summarize": summarize, "check": check}


def _request(text: object, files: object, options: Options) -> SummaryRequest:
    """What was asked for. Files are uploaded ones."""
    known = dict(object_of(options, "Options"))
    key = key_of(known)
    if text is not None and not isinstance(text, str):
        raise BadOptionError("The text must be text or null.")
    if files is not None and not isinstance(files, list):
        raise BadOptionError("The files must be a list of uploaded files or null.")
    paths: list[Path] = [uploaded_file(one.get("path") if isinstance(one, Mapping) else one) for one in files or ()]
    return SummaryRequest(text, tuple(paths), options=options_from_json(SummaryOptions, known), idempotency_key=key)
