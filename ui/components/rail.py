"""The frame's widget: rail, top line and download banner. Says what model is in use and what the machine is doing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.errors import BadOptionError
from storage.records import BASE, Kind
from ui.components.frame import PAGES, Frame
from ui.components.widget import widget
from ui.handlers import guarded
from ui.i18n import LANGUAGES, Translator, translator
from ui.view import fraction_of, job_text

if TYPE_CHECKING:
    from engine.services.model_card import ModelCard
    from engine.studio import Studio

THEMES = ("auto", "light", "dark")
TASKS = ("text", "image")
"""Those whose model the top line shows: on the Images page the one that draws."""


def build_frame(studio: Studio, profile: str, language: str) -> Frame:
    """Mount the rail and hand out the Frame that every tab is built with."""
    t = translator(language)

    def on_act(action: dict[str, Any], request: Any) -> dict[str, Any]:
        owner_id = frame.owner(request)
        match action.get("type"):
            case "status":
                return status_view(studio, owner_id, t)
            case "use_model":
                task = _one_of(action.get("task") or "text", TASKS)
                studio.models.set_default(owner_id, task, str(action.get("model_id")))
                return status_view(studio, owner_id, t)
            case "theme":
                studio.preferences.set(owner_id, theme=_one_of(action.get("theme"), THEMES))
            case "language":
                studio.preferences.set(owner_id, language=_one_of(action.get("language"), LANGUAGES))
            case other:
                raise BadOptionError(f"Unknown action: {other}.", key="error.unknown_action", name=other)
        return {}

    events = tuple(f"open_{page}" for page in PAGES)
    rail = widget("rail", elem_id="rail", act=guarded(language, on_act), events=events)
    frame = Frame(language=language, profile=profile, rail=rail)
    return frame


def status_view(studio: Studio, owner_id: str, t: Translator) -> dict[str, Any]:
    """{model, models, drawing, jobs, activity, download}: what the top line and the banner show.

    `model` and `models` are those that write; `drawing` has the same of those that draw.
    """
    jobs = studio.jobs.active(owner_id)
    cards = studio.models.cards(counted=False)
    in_use = next((card for card in cards if card.task == "text" and card.is_default), None)
    views = [
        {
            "job_id": job.job_id,
            "kind": job.kind,
            "fraction": fraction_of(job.progress),
            "text": job_text(job, t),
            "conversation_id": job.data.get("conversation_id"),
        }
        for job in jobs
    ]
    writing = [view for view in views if view["kind"] in ("write", "text")]
    ordered = writing + [view for view in views if view not in writing]
    return {
        **_in_use(studio, owner_id, "text", cards, t),
        "drawing": _in_use(studio, owner_id, "image", cards, t),
        "jobs": ordered,
        "activity": _activity([view["text"] for view in ordered], t),
        "download": _download(in_use, t),
    }


def _in_use(studio: Studio, owner_id: str, task: Kind, cards: tuple[ModelCard, ...], t: Translator) -> dict[str, Any]:
    """{model, models}: the default of a task, and those that could take its place."""
    mine = [card for card in cards if card.task == task]
    card = next((one for one in mine if one.is_default), None)
    return {
        "model": card and {"id": card.id, "name": card.name, "adapter": _version(studio, owner_id, task, card.id, t)},
        "models": [_choice(one, t) for one in mine if one.state == "installed"],
    }


def _version(studio: Studio, owner_id: str, task: Kind, model_id: str, t: Translator) -> str:
    """What works on this model now: the promoted adapter's name, or "base"."""
    adapter_id = studio.adapters.promoted(owner_id, task, model_id)
    return t("frame.adapter.base") if adapter_id == BASE else studio.adapters.get(owner_id, adapter_id).name


def _activity(texts: list[str], t: Translator) -> str:
    """What the machine does, in a few words; a training stays in sight while somebody writes."""
    return " · ".join(list(dict.fromkeys(texts))[:2]) or t("frame.activity.idle")


def _choice(card: ModelCard, t: Translator) -> dict[str, Any]:
    """One line of the menu of models."""
    return {"id": card.id, "name": card.name, "note": ", ".join(t(f"language.{code}") for code in card.languages[:6])}


def _download(card: ModelCard | None, t: Translator) -> dict[str, Any] | None:
    """The banner of the first start: only while the model that would write is not there yet."""
    if card is None or card.state == "installed":
        return None
    if card.error:
        return {"text": t("frame.download.failed", name=card.name, error=card.error), "fraction": None, "error": True}
    if card.job_id is None:
        return {"text": t("frame.download.missing", name=card.name), "fraction": None, "error": True}
    if card.progress is None:
        return {"text": t("frame.download.starting", name=card.name), "fraction": None, "error": False}
    text = t("frame.download.running", name=card.name, percent=round(card.progress * 100))
    return {"text": text, "fraction": card.progress, "error": False}


def _one_of(value: object, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise BadOptionError(f"Choose one of: {', '.join(allowed)}.", key="error.one_of", names=", ".join(allowed))
    return str(value)
