"""Summaries and their documents as the Summarise page draws them. Pure: records in, JSON out.

A summary is sent as lines of parts, each with the number of the sentence it belongs to, so that the page counts no characters:
offsets count code points, and a browser counts otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from engine.types import MAX_SUMMARIES, SUMMARY_LENGTHS, SUMMARY_METHODS, SUMMARY_STYLES
from storage.records import BASE, CreationRecord
from ui.i18n import Translator
from ui.view import LIVE, fraction_of, language_name, left_text, percent
from ui.view_thread import adapter_view, notice_texts, rating_view

if TYPE_CHECKING:
    from engine.jobs.job import JobSnapshot
    from engine.services.summary_documents import KeptDocument
    from engine.services.summary_records import SummaryTurn, SummaryVersion

View = dict[str, Any]

GOOD_REASONS: Final = ("accurate", "complete", "clear", "right_length", "useful")
BAD_REASONS: Final = ("invented", "misses_point", "too_long", "too_short", "unclear", "off_topic")
SCORES: Final = ("coverage", "compression", "support", "rouge_1", "rouge_2", "rouge_l", "bleu")
"""Figures in the order of the table; others follow as they come."""
_SHARES: Final = frozenset({"coverage", "compression", "support", "rouge_1", "rouge_2", "rouge_l"})
_BULLETS: Final = ("- ", "• ", "* ")
_SOURCES_SHOWN: Final = 3


def form_view(t: Translator, *, models: Sequence[Mapping[str, str]], model: str | None, urls: bool, accept: str) -> View:
    """What can be chosen: methods, styles, lengths, how many, the models that write, whether addresses are fetched."""
    return {
        "methods": [_choice("method", name, t) for name in SUMMARY_METHODS],
        "styles": [_choice("style", name, t) for name in SUMMARY_STYLES],
        "lengths": [_choice("length", name, t) for name in SUMMARY_LENGTHS],
        "most": MAX_SUMMARIES,
        "models": list(models),
        "model": model,
        "urls": urls,
        "accept": accept,
    }


def _choice(kind: str, name: str, t: Translator) -> View:
    key = f"summarize.{kind}.{name}"
    about = t(f"{key}.about")
    return {"id": name, "name": t(key), "about": "" if about == f"{key}.about" else about}


# -------------------------------------------------------------------- documents


def document_view(about: Mapping[str, Any], t: Translator) -> View:
    """One document's facts: what it is, how much of it there is, what was left out and why."""
    language = str(about.get("language") or "")
    kind = str(about.get("kind") or "text")
    pages, words = about.get("pages"), int(about.get("words") or 0)
    facts = [
        t(f"summarize.kind.{kind}"),
        t("summarize.pages", n=pages) if pages else "",
        t("summarize.characters" if language in ("zh", "ja") else "summarize.words", n=_count(words)),
        language_name(language, t),
    ]
    return {
        "id": about.get("id"),
        "title": about.get("title") or t("summarize.untitled"),
        "name": about.get("name") or "",
        "facts": " · ".join(fact for fact in facts if fact),
        "skipped": notice_texts(list(about.get("skipped") or ()), t),
    }


def refused_view(refused: Sequence[Mapping[str, Any]], t: Translator) -> list[View]:
    """Files that could not be read, with their sentences."""
    texts = notice_texts(refused, t)
    return [{"name": str(one.get("name") or ""), "message": text} for one, text in zip(refused, texts, strict=True)]


def text_view(kept: KeptDocument, t: Translator) -> View:
    """A document to read: its paragraphs as [offset, text, page that begins there or null]."""
    document = kept.document
    rows: list[list[Any]] = []
    start, pages = 0, list(enumerate(document.page_starts, 1))
    for paragraph in document.text.split("\n\n"):
        end = start + len(paragraph)
        page = None
        while pages and pages[0][1] < max(end, start + 1):
            page = pages.pop(0)[0]
        rows.append([start, paragraph, page])
        start = end + 2
    return {**document_view(kept.about(), t), "paragraphs": rows}


# -------------------------------------------------------------------- summaries


def turn_view(turn: SummaryTurn, names: Mapping[str, str], t: Translator) -> View:
    """All summaries of the same documents."""
    return {
        "id": turn.turn_id,
        "title": turn.title,
        "documents": [document_view(one, t) for one in turn.documents],
        "versions": [version_view(one, names, t) for one in turn.versions],
    }


def recent_view(turn: SummaryTurn) -> View:
    """One line of the list of earlier ones."""
    last = turn.versions[-1].creation
    return {
        "id": turn.turn_id,
        "title": turn.title,
        "n": len(turn.versions),
        "text": last.output[:160],
        "created_at": last.created_at.isoformat(),
        "live": any(one.creation.status in LIVE for one in turn.versions),
    }


def version_view(version: SummaryVersion, names: Mapping[str, str], t: Translator) -> View:
    """One summary: its text by sentences, what was found about them, its rating, its figures."""
    creation = version.creation
    params = creation.params
    sentences = list(params.get("sentences") or ())
    return {
        "id": creation.id,
        "job_id": creation.job_id,
        "status": creation.status,
        "label": label_of(params, t),
        "facts": " · ".join(_facts(creation, names, t)),
        "seed": seed_of(creation),
        "text": creation.output,
        "lines": lines_of(creation.output, sentences),
        "sentences": [sentence_view(one, t) for one in sentences],
        "verdict": verdict_of(sentences, t),
        "scores": scores_view(params.get("scores") or {}, t),
        "refused": refused_view(list(params.get("refused") or ()), t),
        "notices": notice_texts(params.get("notices") or (), t),
        "note": note_of(creation, t),
        "picked": version.is_picked,
        "starred": creation.starred,
        "edited": creation.origin == "edited",
        "can_resume": version.can_resume,
        "rating": rating_view(version.rating),
        "adapter": adapter_view(creation, names),
    }


def label_of(params: Mapping[str, Any], t: Translator) -> str:
    """How it was made: "Extractive · bullet points"."""
    return " · ".join(t(f"summarize.{kind}.{params[kind]}") for kind in ("method", "style") if params.get(kind))


def seed_of(creation: CreationRecord) -> str | None:
    """As text, because JavaScript rounds large numbers; None where no seed was used."""
    is_drawn = creation.origin == "generated" and creation.params.get("method") != "extractive"
    return str(creation.seed) if is_drawn and creation.seed is not None else None


def _facts(creation: CreationRecord, names: Mapping[str, str], t: Translator) -> list[str]:
    params = creation.params
    if creation.origin == "edited":
        return [t("write.edited_by_you")]
    facts = [length_text(params.get("length"), t)]
    if params.get("focus"):
        facts.append(t("summarize.fact.focus", text=params["focus"]))
    if params.get("method") != "extractive":
        adapter = creation.adapter_id
        facts += [names.get(creation.model_id, creation.model_id), "" if adapter == BASE else names.get(adapter, adapter[:8])]
    if creation.duration_s:
        facts.append(t("summarize.seconds", n=f"{creation.duration_s:.1f}"))
    return [fact for fact in facts if fact]


def length_text(length: object, t: Translator) -> str:
    """short, 5 sentences, 100 words, 10 %."""
    if isinstance(length, Mapping) and length:
        ((kind, n),) = length.items()
        return t(f"summarize.length.{kind}", n=n)
    return t(f"summarize.length.{length}") if length else ""


def note_of(creation: CreationRecord, t: Translator) -> str:
    """Why a summary is not whole; empty for one that is, or is still being made."""
    if creation.status == "failed":
        return creation.error or t("summarize.note.failed")
    if creation.status in ("cancelled", "interrupted"):
        return t(f"summarize.note.{creation.status}")
    return ""


def lines_of(text: str, sentences: Sequence[Mapping[str, Any]]) -> list[View]:
    """The summary as lines: whether it is an item of a list, and parts [text, number of its sentence or null]."""
    spans = [(int(one["start"]), int(one["end"]), i) for i, one in enumerate(sentences) if one.get("start") is not None]
    lines: list[View] = []
    start = 0
    for line in text.split("\n"):
        end = start + len(line)
        mark = next((bullet for bullet in _BULLETS if line.startswith(bullet)), "")
        if line.strip():
            lines.append({"item": bool(mark), "parts": _parts(text, start + len(mark), end, spans)})
        start = end + 1
    return lines


def _parts(text: str, start: int, end: int, spans: Sequence[tuple[int, int, int]]) -> list[list[Any]]:
    parts: list[list[Any]] = []
    at = start
    for begins, ends, number in spans:
        first, last = max(begins, at), min(ends, end)
        if first >= last:
            continue
        if first > at:
            parts.append([text[at:first], None])
        parts.append([text[first:last], number])
        at = last
    if at < end:
        parts.append([text[at:end], None])
    return parts


def sentence_view(sentence: Mapping[str, Any], t: Translator) -> View:
    """{supported, sources, why}: where it comes from, and in words what is doubtful about it."""
    flags = [t(f"summarize.flag.{flag}") for flag in sentence.get("flags") or ()]
    supported = bool(sentence.get("supported"))
    why = [*([] if supported else [t("summarize.unsupported")]), *flags]
    sources = list(sentence.get("sources") or ())[:_SOURCES_SHOWN]
    return {
        "supported": supported,
        "flagged": bool(flags),
        "why": why,
        "sources": [{name: one[name] for name in ("document", "start", "end")} for one in sources],
    }


def verdict_of(sentences: Sequence[Mapping[str, Any]], t: Translator) -> str:
    """How much of the summary was found in the documents, in one line; empty before it was judged."""
    if not sentences:
        return ""
    doubtful = sum(1 for one in sentences if not one.get("supported") or one.get("flags"))
    if not doubtful:
        return t("summarize.verdict.all", n=len(sentences))
    return t("summarize.verdict.some", n=doubtful, total=len(sentences))


def scores_view(scores: Mapping[str, Any], t: Translator) -> list[View]:
    """Rows of the table: name, figure, what it means. Figures that could not be computed are left out."""
    rows = []
    for name in [*SCORES, *(name for name in scores if name not in SCORES)]:
        value = scores.get(name)
        key = f"summarize.score.{name}"
        if isinstance(value, bool) or not isinstance(value, (int, float)) or t(key) == key:
            continue
        rows.append(
            {"name": t(key), "value": percent(value, t) if name in _SHARES else f"{value:.1f}", "about": t(f"{key}.about")}
        )
    return rows


# -------------------------------------------------------------------- jobs


def live_view(snapshot: JobSnapshot, error: str | None, t: Translator) -> View:
    """What a follower draws at each update; `summaries` are [{id, lines}]."""
    data = snapshot.data
    return {
        "job_id": snapshot.job_id,
        "turn_id": data.get("turn_id"),
        "status": snapshot.status,
        "done": snapshot.is_final,
        "error": error,
        "fraction": fraction_of(snapshot.progress),
        "line": progress_line(snapshot, t),
        "summaries": [
            {"id": one["id"], "lines": lines_of(str(one["text"]), list(one["sentences"]))} for one in data.get("creations") or ()
        ],
        "documents": [document_view(one, t) for one in data.get("documents") or ()],
    }


def progress_line(snapshot: JobSnapshot, t: Translator) -> str:
    """What is being done and how long it still takes: "Part 3 of 12 · 40 s left"."""
    progress = snapshot.progress
    if snapshot.is_final:
        return ""
    if snapshot.status == "queued" or progress.get("note") == "waiting":
        return t("summarize.line.queued")
    phase = str(progress.get("phase") or "")
    step, total = int(progress.get("step") or 0), int(progress.get("total") or 0)
    key = f"summarize.line.{phase}"
    words = t(f"{key}.of" if total > 1 else key, n=min(step + 1, total), total=total, name=str(progress.get("note") or ""))
    if words.startswith("summarize.line."):
        words = t("summarize.line.working")
    eta_s = progress.get("eta_s")
    return f"{words} · {left_text(eta_s, t)}" if isinstance(eta_s, (int, float)) else words


def reading_view(snapshot: JobSnapshot, error: str | None, t: Translator) -> View:
    """How far a reading is, and then what came of it; `message` says why nothing could be read."""
    result: Mapping[str, Any] = (snapshot.result or {}) if snapshot.status == "done" else {}
    return {
        "job_id": snapshot.job_id,
        "done": snapshot.is_final,
        "status": snapshot.status,
        "line": progress_line(snapshot, t),
        "fraction": fraction_of(snapshot.progress),
        "message": error,
        "documents": [document_view(one, t) for one in result.get("documents") or ()],
        "refused": refused_view(list(result.get("refused") or ()), t),
    }


def _count(n: int) -> str:
    return f"{n:,}"
