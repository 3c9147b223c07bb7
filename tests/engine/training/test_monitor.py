"""Which weights are kept: later ones, unless held-out pairs say that they are worse by more than chance."""

from __future__ import annotations

import pytest

from engine.training.monitor import least_score
from engine.training.presets import settings_for


@pytest.mark.parametrize(
    ("best", "now", "rows", "is_kept"),
    [
        (0.667, 0.667, 12, True),
        (0.667, 0.583, 12, True),
        (0.667, 0.5, 12, False),
        (0.667, 0.583, 120, False),
        (1.0, 11 / 12, 12, False),
        (0.0, 0.0, 12, True),
    ],
)
def test_of_few_pairs_one_more_or_less_says_nothing(best: float, now: float, rows: int, is_kept: bool) -> None:
    settings = settings_for("dpo", "balanced", examples=200, device_kind="cpu")
    assert (now > least_score(best, settings, rows)) == is_kept


def test_other_methods_compare_losses_as_they_are() -> None:
    settings = settings_for("sft", "balanced", examples=200, device_kind="cpu")
    assert least_score(-1.5, settings, 12) == -1.5
