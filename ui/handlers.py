"""The one place that words errors for a page.

Every handler of a page goes through `acting`, `guarded` (calls) or `guarded_stream` (a generator). A StudioError becomes its
sentence in the page's language; anything else is logged with a short id and becomes one sentence that names it.
Knows no services.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final, TypeAlias

from engine.errors import BadOptionError, CancelledError, StudioError
from storage.records import Kind
from ui.components.frame import Frame
from ui.i18n import messages, translator

Action: TypeAlias = dict[str, Any]
Answer: TypeAlias = Callable[[str, Action], Any]
"""(owner_id, action) → one JSON value."""
TRAINED_TASKS: Final[tuple[Kind, ...]] = ("text", "summary")
logger = logging.getLogger("tastemaker.ui")


def action_id(action: Action) -> str:
    """The id of what the action is about."""
    return str(action.get("id"))


def action_text(action: Action, name: str) -> str:
    """A text of the action. Raises BadOptionError when it is missing."""
    value = action.get(name)
    if not isinstance(value, str) or not value:
        raise BadOptionError(f'"{name}" must be text.', key="error.option_text", name=name)
    return value


def task_of(value: object) -> Kind:
    """A task that adapters are trained for. Raises BadOptionError for any other."""
    for task in TRAINED_TASKS:
        if task == value:
            return task
    raise BadOptionError(f"Choose one of: {', '.join(TRAINED_TASKS)}.", key="error.one_of", names=", ".join(TRAINED_TASKS))


def action_list(action: Action, name: str) -> list[Any]:
    """A list of the action; empty when there is none. Raises BadOptionError for anything else."""
    value = action.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadOptionError(f'"{name}" must be a list of texts.', key="error.not_list", what=name)
    return value


def error_view(error: Exception, language: str) -> Action:
    """{"error": {"code", "message"}}: what the page shows as a toast beside the input it keeps."""
    t = translator(language)
    if isinstance(error, StudioError):
        # The error's own English sentence may say more than the one in assets/i18n, so that one is for the other languages.
        known = language != "en" and error.message_key in messages(language)
        message = t(error.message_key, **in_words(error.values, language)) if known else error.message
        return {"error": {"code": error.code, "message": message}}
    error_id = secrets.token_hex(3)
    logger.error("unexpected error %s", error_id, exc_info=error)
    return {"error": {"code": "error", "message": t("error.unexpected", id=error_id)}}


def in_words(values: Mapping[str, object], language: str) -> dict[str, object]:
    """Return what is named in a sentence ("The prompt") in the page's language, where it is a word of ours."""
    words = messages(language)
    return {name: words.get(f"value.{value}", value) for name, value in values.items()}


def guarded(language: str, fn: Callable[[Action, Any], Any]) -> Callable[[Action, Any], Any]:
    """`fn(action, request)` with every error turned into an error view."""

    def call(action: object, request: Any) -> Any:
        if not isinstance(action, dict):
            return error_view(StudioError("An action must be one JSON object."), language)
        try:
            return fn(action, request)
        except CancelledError:
            return {}
        except Exception as error:  # noqa: BLE001 - the edge: whatever it was, the page gets one sentence and the log the rest
            return error_view(error, language)

    return call


def acting(frame: Frame, answers: Mapping[str, Answer]) -> Callable[[Action, Any], Any]:
    """A widget's `act`: the answer named by the action's type, for the request's owner, with every error worded."""

    def act(action: Action, request: Any) -> Any:
        name = str(action.get("type"))
        if name not in answers:
            raise BadOptionError(f"Unknown action: {name}.", key="error.unknown_action", name=name)
        return answers[name](frame.owner(request), action)

    return guarded(frame.language, act)


async def guarded_stream(language: str, stream: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """The stream's items; an error ends it with one error view."""
    try:
        async for item in stream:
            yield item
    except Exception as error:  # noqa: BLE001 - the same edge for streams
        yield error_view(error, language)
