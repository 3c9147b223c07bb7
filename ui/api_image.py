"""The image endpoint for programs: /imagine. Documented in docs/api.md, like the others in ui/api.py.

Knows the names and shapes outsiders rely on; every decision is the image service's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from engine.errors import BadOptionError
from engine.studio import Studio
from engine.types import ImagineOptions, ImagineRequest, options_from_json
from ui.api_edge import Answer, JobFailedError, Options, Owner, key_of, object_of
from ui.uploads import uploaded_file


def endpoints(studio: Studio, owner: Owner) -> dict[str, Callable[..., Any]]:
    """The endpoint by its name."""

    async def imagine(prompt: str, options: Options = None, request: gr.Request | None = None) -> Answer:
        """Draw pictures; answers when they are all there. Closing the call never stops the job."""
        whose = owner(request)
        wish = await asyncio.to_thread(_request, prompt, options)
        started = await asyncio.to_thread(studio.image.imagine, whose, wish)
        last = await asyncio.to_thread(studio.jobs.get, whose, started.job_id)
        async for snapshot in studio.jobs.follow(whose, started.job_id, interval_s=0.5):
            last = snapshot
        if last.status == "failed":
            raise JobFailedError(last.error_code, last.error)
        made = {row["id"]: row for row in last.data.get("creations") or ()}
        rows = [made.get(creation_id, {}) for creation_id in started.creation_ids]
        return {
            "job_id": started.job_id,
            "creation_ids": list(started.creation_ids),
            "images": [media_url(row) if row.get("media_sha256") else None for row in rows],
            "seeds": list(started.seeds),
            "duration_s": sum(row.get("duration_s") or 0.0 for row in rows),
            "status": last.status,
            "model": started.model_id,
            "notices": [notice.message for notice in started.notices],
        }

    return {"imagine": imagine}


def media_url(row: Mapping[str, Any]) -> str:
    """Where a picture's file is."""
    return f"/media/{row['id']}"


def _request(prompt: str, options: Options) -> ImagineRequest:
    """What was asked for. A picture to start from is a Creation's id or an uploaded file, a mask an uploaded file."""
    known = dict(object_of(options, "Options"))
    key = key_of(known)
    files: dict[str, Path | None] = {"init_image": None, "mask": None}
    for name in files:
        value = known.get(name)
        if isinstance(value, Mapping):
            files[name] = uploaded_file(value.get("path"))
            known.pop(name)
    if known.pop("mask", None) is not None:
        raise BadOptionError('Option "mask" must be an uploaded file.')
    return ImagineRequest(prompt, options_from_json(ImagineOptions, known), files["init_image"], files["mask"], key)
