"""A conversation as the Write page draws it. Pure: records in, JSON out; Markdown is rendered by ui/view.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from storage.records import BASE, ConversationRecord, CreationRecord, RatingRecord
from ui.i18n import Translator
from ui.view import language_name, markdown

if TYPE_CHECKING:
    from engine.services.conversations import Thread, Turn

SHOWN_TURNS = 60
"""The newest turns of a long conversation; "show earlier" asks for more. Browsers get slow past a few hundred."""


def conversation_view(conversation: ConversationRecord, t: Translator) -> dict[str, Any]:
    """One line of the sidebar."""
    return {
        "id": conversation.id,
        "title": conversation.title or t("write.untitled"),
        "system": conversation.system,
        "updated_at": conversation.updated_at.isoformat(),
        "branched": conversation.branched_from_id is not None,
        "trashed": conversation.trashed_at is not None,
    }


def thread_view(
    thread: Thread, t: Translator, names: Mapping[str, str], *, next_training_in: int, shown: int = SHOWN_TURNS
) -> dict[str, Any]:
    """{conversation, turns, earlier, job_id, next_training_in}: all that the middle of the page shows."""
    turns = thread.turns[-shown:]
    return {
        "conversation": conversation_view(thread.conversation, t),
        "turns": [turn_view(turn, t, names) for turn in turns],
        "earlier": len(thread.turns) - len(turns),
        "job_id": thread.active_job_id,
        "next_training_in": next_training_in,
    }


def turn_view(turn: Turn, t: Translator, names: Mapping[str, str]) -> dict[str, Any]:
    """A prompt with the answer in sight, its versions, and the candidates while none of them is picked."""
    return {
        "turn_id": turn.creation.turn_id,
        "prompt": turn.creation.prompt,
        "answer": answer_view(turn.creation, turn.ratings, t, names),
        "versions": [version.id for version in turn.versions],
        "version_index": turn.version_index,
        "candidates": [answer_view(one, turn.ratings, t, names) for one in turn.candidates],
    }


def answer_view(
    creation: CreationRecord, ratings: Mapping[str, RatingRecord], t: Translator, names: Mapping[str, str]
) -> dict[str, Any]:
    """One answer: its text as safe HTML and as it is, its state, its figures, its rating."""
    return {
        "id": creation.id,
        "text": creation.output,
        "html": markdown(creation.output),
        "status": creation.status,
        "note": state_note(creation, t),
        "notices": notice_texts(creation.params.get("notices") or (), t),
        "starred": creation.starred,
        "edited": creation.origin == "edited",
        "can_continue": creation.origin == "generated" and _ended_early(creation),
        "can_reproduce": creation.origin == "generated" and creation.status == "done",
        "figures": figures(creation, t, names)[: -1 if adapter_view(creation, names) else None],
        "adapter": adapter_view(creation, names),
        "taste_rank": (creation.params.get("taste") or {}).get("rank"),
        "seed": creation.seed if creation.origin == "generated" else None,
        "rating": rating_view(ratings.get(creation.id)),
    }


def _ended_early(creation: CreationRecord) -> bool:
    return creation.finish_reason in ("length", "cancelled") or creation.status in ("cancelled", "interrupted", "failed")


def rating_view(rating: RatingRecord | None) -> dict[str, Any] | None:
    """The score, chips and comment in force, or None."""
    if rating is None or rating.score is None:
        return None
    return {"score": rating.score, "reasons": list(rating.reasons), "comment": rating.comment}


def state_note(creation: CreationRecord, t: Translator) -> str:
    """Why an answer ended early, in one sentence; empty for one that simply ended."""
    if creation.status == "failed":
        return t("write.state.failed", error=creation.error or "")
    if creation.status == "interrupted":
        return t("write.state.interrupted")
    if creation.status == "cancelled" or creation.finish_reason == "cancelled":
        return t("write.state.stopped")
    if creation.finish_reason == "length":
        return t("write.state.length")
    return ""


def figures(creation: CreationRecord, t: Translator, names: Mapping[str, str]) -> list[str]:
    """The small grey line: tokens, speed, model, adapter. Under an answer the adapter's name and the seed are buttons."""
    if creation.origin != "generated":
        return [t("write.edited_by_you") if creation.origin == "edited" else t("write.imported")]
    parts = []
    if creation.output_tokens is not None:
        parts.append(t("write.tokens", n=creation.output_tokens))
    if creation.prompt_tokens is not None:
        parts.append(t("write.prompt_tokens", n=creation.prompt_tokens))
    if creation.tokens_per_s:
        parts.append(t("write.speed", speed=speed_text(creation.tokens_per_s)))
    parts.append(names.get(creation.model_id, creation.model_id))
    adapter_id = creation.adapter_id
    parts.append(t("frame.adapter.base") if adapter_id == BASE else names.get(adapter_id, adapter_id[:8]))
    return parts


def adapter_view(creation: CreationRecord, names: Mapping[str, str]) -> dict[str, str] | None:
    """{id, name} of the adapter that wrote it; None for the base model and for what no model wrote."""
    if creation.adapter_id == BASE or creation.origin != "generated":
        return None
    return {"id": creation.adapter_id, "name": names.get(creation.adapter_id, creation.adapter_id[:8])}


def speed_text(tokens_per_s: float) -> str:
    """41 or 4.1: two figures are enough."""
    return f"{tokens_per_s:.0f}" if tokens_per_s >= 10 else f"{tokens_per_s:.1f}"


def notice_texts(notices: Sequence[Mapping[str, Any]], t: Translator) -> list[str]:
    """Notices in the page's language; one without a translation stays English."""
    texts = []
    for notice in notices:
        key = str(notice.get("key", ""))
        values = {name: _value_text(name, value, t) for name, value in dict(notice.get("values") or {}).items()}
        text = t(key, **values)
        texts.append(str(notice.get("message", "")) if text == key else text)
    return texts


def _value_text(name: str, value: Any, t: Translator) -> Any:
    """Language codes are said in words, and what is named in a sentence ("footnotes"), where it is a word of ours."""
    if not isinstance(value, str):
        return value
    if name in ("wanted", "languages", "language", "document"):
        return t("language.and").join(language_name(code, t) for code in value.split(",") if code)
    word = t(f"value.{value}")
    return value if word == f"value.{value}" else word
