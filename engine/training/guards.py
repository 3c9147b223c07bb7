"""What a trained model may not become: the limits on broken language, and the alarm on lengths that nothing explains.

Knows figures and their limits; knows no model and no text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from engine.training.args import TrainingSettings


@dataclass(frozen=True, slots=True)
class Fluency:
    """How whole the language is at one moment of a run. The figures of answers are None where none were written."""

    perplexity: float
    """Of neutral text, under the model as it is then."""
    answer_perplexity: float | None = None
    """Of its sample answers, under the base model."""
    odd_share: float | None = None
    """Share of characters in them that have no business there."""
    repetition: float | None = None
    """Share of repeated word sequences in them."""
    answer_tokens: float | None = None
    """Their mean length."""

    def to_json(self) -> dict[str, Any]:
        """As one JSON object; `Fluency(**value)` reads it back."""
        return asdict(self)


def breaches(now: Fluency, base: Fluency, settings: TrainingSettings) -> Mapping[str, str]:
    """Which limits are broken, and by how much, in words; empty when all is well. `base`: the same before training."""
    found: dict[str, str] = {}
    growth = now.perplexity / base.perplexity - 1
    if not growth <= settings.fluency_limit:  # a perplexity that is no number breaks it too
        found["perplexity"] = f"neutral text is {growth:+.0%} harder for it than before"
    if now.answer_perplexity is not None and base.answer_perplexity:
        times = now.answer_perplexity / base.answer_perplexity
        if not times <= settings.answer_perplexity_limit:
            found["answer_perplexity"] = f"its answers surprise the base model {times:.1f} times as much"
    if now.odd_share is not None and now.odd_share > max(settings.odd_limit, base.odd_share or 0.0):
        found["odd_share"] = f"{now.odd_share:.1%} of its characters belong to no language that was used"
    if now.repetition is not None and now.repetition > settings.repetition_limit + (base.repetition or 0.0):
        found["repetition"] = f"{now.repetition:.0%} of its word sequences are repeated"
    return found


def length_drift(now: Fluency, base: Fluency, data_tokens: float, settings: TrainingSettings) -> float | None:
    """How many times longer (above 1) or shorter (below 1) answers are than base model and data explain; None within the limit.

    Data that prefers short answers explains short ones: what lies between the base model's length and the data's is expected.
    """
    if not now.answer_tokens or not base.answer_tokens:
        return None
    low, high = sorted((base.answer_tokens, max(1.0, data_tokens)))
    times = now.answer_tokens / high if now.answer_tokens > high else now.answer_tokens / low if now.answer_tokens < low else 1.0
    return times if not 1 / settings.length_drift_limit <= times <= settings.length_drift_limit else None
