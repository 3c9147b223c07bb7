"""What the studio has learned of a taste, in one line. Pure: a summary in, words out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ui.i18n import Translator

if TYPE_CHECKING:
    from engine.evaluation.taste import Learned
    from engine.services.taste import TasteSummary

ALWAYS_FROM = 0.95
"""From this share on "nearly always" is truer than "10 times in 10"."""


def taste_view(summary: TasteSummary | None, is_learning: bool, t: Translator) -> dict[str, Any]:
    """{ready, sure, learning, text}: `text` is the line under the prompt; without a summary it is empty until one is there."""
    return {
        "ready": bool(summary and summary.ready),
        "sure": bool(summary and summary.is_sure),
        "learning": is_learning,
        "text": taste_line(summary, t) if summary else "",
    }


def taste_line(summary: TasteSummary, t: Translator) -> str:
    """ "You tend to prefer short, direct answers (from 24 ratings, right about 7 times in 10)." """
    if not summary.ready:
        return t("taste.not_yet", n=summary.missing)
    values = {"basis": _basis(summary, t), "answers": answers_text(summary.learned, t)}
    if not summary.learned:
        return t("taste.sure_unsaid" if summary.is_sure else "taste.unsure_unsaid", **values)
    return t("taste.sure" if summary.is_sure else "taste.unsure", **values)


def answers_text(learned: tuple[Learned, ...], t: Translator) -> str:
    """ "short, direct answers that ask questions": adjectives before, what an answer does behind (in Chinese all before)."""
    adjectives, clauses = [], []
    for one in learned:
        trait = f"{one.feature.name}.{'more' if one.direction > 0 else 'less'}"
        adjective = t(f"taste.adjective.{trait}")
        if adjective != f"taste.adjective.{trait}":
            adjectives.append(adjective)
        else:
            clauses.append(t(f"taste.clause.{trait}"))
    adjective, clause = t("taste.comma").join(adjectives), t("taste.and").join(clauses)
    form = "both" if adjectives and clauses else "adjective" if adjectives else "clause"
    return t(f"taste.answers.{form}", adjective=adjective, clause=clause)


def _basis(summary: TasteSummary, t: Translator) -> str:
    """From how many ratings, and how often right on prompts that were not learned from."""
    right = "taste.right_always" if summary.accuracy >= ALWAYS_FROM else "taste.right"
    return t("taste.basis", n=summary.ratings, right=t(right, times=round(10 * summary.accuracy)))
