"""The edge of every endpoint: how arguments are checked on the way in, and how an error becomes one sentence on the way out.

Knows Gradio's errors and the studio's; knows no endpoint and no service.
"""

from __future__ import annotations

import functools
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias

import gradio as gr

from engine.errors import BadOptionError, StudioError
from storage.records import Kind

Answer: TypeAlias = dict[str, Any]
Options: TypeAlias = dict[str, Any] | None
Owner: TypeAlias = Callable[[gr.Request | None], str]
"""request → whose rows the call may see."""
TASKS: tuple[Kind, ...] = ("text", "image", "summary")
logger = logging.getLogger("tastemaker.api")


class JobFailedError(StudioError):
    """A job's own failure, under the code that the job recorded."""

    def __init__(self, code: str | None, message: str | None) -> None:
        super().__init__(message or "The job failed.")
        self.job_code = code or "error"


def known_options(value: object, names: tuple[str, ...], *, what: str = "option") -> Mapping[str, Any]:
    """One JSON object or null as a mapping. Raises BadOptionError that names what is not in `names`."""
    given = object_of(value, f"{what.capitalize()}s")
    unknown = sorted(str(name) for name in given if name not in names)
    if unknown:
        raise BadOptionError(f"Unknown {what}: {', '.join(f'{name!r}' for name in unknown)}.".replace("'", '"'))
    return given


def object_of(value: object, what: str = "Options") -> Mapping[str, Any]:
    """One JSON object, or null for an empty one. Raises BadOptionError for anything else."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadOptionError(f"{what} must be one JSON object or null.")
    return value


def key_of(options: dict[str, Any]) -> str | None:
    """The idempotency key, taken out of the options. Raises BadOptionError when it is none."""
    key = options.pop("idempotency_key", None)
    if key is not None and (not isinstance(key, str) or not key or len(key) > 200):
        raise BadOptionError('Option "idempotency_key" must be text of 1 to 200 characters.')
    return key


def id_of(value: object, name: str) -> str:
    """An id as it came. Raises BadOptionError when it is no text."""
    if not isinstance(value, str):
        raise BadOptionError(f'"{name}" must be text.')
    return value


def task_of(value: object) -> Kind:
    """The name of a task. Raises BadOptionError for any other."""
    for task in TASKS:
        if task == value:
            return task
    raise BadOptionError(f'Option "task" must be one of {", ".join(TASKS)}.')


def zoned(filters: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """A Library filter whose dates and times all have a zone: one that has none is UTC. What is no time stays as it is."""
    if not isinstance(filters, Mapping):
        return filters
    return {name: _with_zone(value) if name in ("from", "to") else value for name, value in filters.items()}


def _with_zone(value: object) -> object:
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return value
    return value if time is None or time.tzinfo else time.replace(tzinfo=UTC).isoformat()


def guarded(fn: Callable[..., Answer]) -> Callable[..., Answer]:
    """`fn` with every error turned into one sentence that begins with its code."""

    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Answer:
        try:
            return fn(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - the edge: whatever it was, the caller gets one sentence and the log the rest
            raise _spoken(error) from None

    return call


def guarded_async(fn: Callable[..., Awaitable[Answer]]) -> Callable[..., Awaitable[Answer]]:
    """The same edge for an endpoint that waits."""

    @functools.wraps(fn)
    async def call(*args: Any, **kwargs: Any) -> Answer:
        try:
            return await fn(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - the same edge
            raise _spoken(error) from None

    return call


def guarded_stream(fn: Callable[..., AsyncIterator[Answer]]) -> Callable[..., AsyncIterator[Answer]]:
    """The same edge for an endpoint that yields."""

    @functools.wraps(fn)
    async def stream(*args: Any, **kwargs: Any) -> AsyncIterator[Answer]:
        try:
            async for answer in fn(*args, **kwargs):
                yield answer
        except Exception as error:  # noqa: BLE001 - the same edge for streams
            raise _spoken(error) from None

    return stream


def _spoken(error: Exception) -> gr.Error:
    if isinstance(error, StudioError):
        code = error.job_code if isinstance(error, JobFailedError) else error.code
        return gr.Error(f"[{code}] {error.message}", print_exception=False)
    error_id = secrets.token_hex(3)
    logger.error("unexpected error %s", error_id, exc_info=error)
    return gr.Error(f"[error] Something went wrong (id {error_id}); the studio's log says more.", print_exception=False)
