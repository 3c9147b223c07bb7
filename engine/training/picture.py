"""A run's curves as one picture, drawn from its events.

Knows matplotlib's figures, not pyplot: nothing here is shared between threads. Knows no model and no run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, slots=True)
class _Panel:
    """One chart: its title, its curves as (figure, what it is called), and whether noise is smoothed away."""

    title: str
    curves: tuple[tuple[str, str], ...]
    is_smoothed: bool = True


_PANELS: Final = (
    _Panel("Loss", (("loss", "training"), ("held_out_loss", "held out"))),
    _Panel("Preference accuracy", (("accuracy", "training"), ("held_out_accuracy", "held out"))),
    _Panel("Reward margin", (("margin", "training"), ("held_out_margin", "held out"))),
    _Panel("Perplexity of neutral text", (("perplexity", "neutral text"),), is_smoothed=False),
    _Panel("Learning rate", (("learning_rate", "learning rate"),), is_smoothed=False),
    _Panel("Tokens per second", (("tokens_per_s", "tokens/s"),)),
)
_COLOURS: Final = ("#b84a25", "#2f6db3")
_INK: Final = "#1d1f23"
_FAINT: Final = "#8b857c"
_SMOOTHING: Final = 0.6
_FEW_POINTS: Final = 8
"""Up to so many are drawn as points."""


def draw(events: Iterable[Mapping[str, Any]], path: Path, *, title: str = "") -> None:
    """Draw the metrics among a run's events ({"kind": "metrics", "step", …}) to a PNG file, 1500 × 1000 pixels.

    Of steps that were taken again after a resume the later figures count. Curves that were not recorded stay empty. The file
    appears whole.
    """
    from matplotlib.figure import Figure

    rows = merged(event for event in events if event.get("kind") == "metrics")
    figure = Figure(figsize=(15, 10), dpi=100, layout="constrained")
    for axes, panel in zip(figure.subplots(2, 3).flat, _PANELS, strict=True):
        _draw_panel(axes, panel, rows)
    if title:
        figure.suptitle(title, color=_INK, fontsize=16)
    part = path.with_name(f".{path.stem}.{uuid4().hex}.png")
    figure.savefig(part)
    part.replace(path)


def merged(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row for each step, in order: a run that goes back to a checkpoint takes some steps again."""
    found: list[dict[str, Any]] = []
    for row in rows:
        while found and found[-1]["step"] > row["step"]:
            found.pop()
        if found and found[-1]["step"] == row["step"]:
            found[-1].update(row)
        else:
            found.append(dict(row))
    return found


def smooth(values: Sequence[float], weight: float = _SMOOTHING) -> list[float]:
    """Exponential moving average without the pull of its start (as TensorBoard does it)."""
    result, last, seen = [], 0.0, 0.0
    for value in values:
        last = weight * last + (1 - weight) * value
        seen = weight * seen + (1 - weight)
        result.append(last / seen)
    return result


def _draw_panel(axes: Axes, panel: _Panel, rows: Sequence[Mapping[str, Any]]) -> None:
    axes.set_title(panel.title, loc="left", color=_INK)
    axes.set_xlabel("step", color=_FAINT)
    axes.tick_params(colors=_FAINT)
    axes.grid(alpha=0.25)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for colour, (figure, label) in zip(_COLOURS, panel.curves, strict=False):
        points = [(row["step"], row[figure]) for row in rows if row.get(figure) is not None]
        if not points:
            continue
        steps, values = zip(*points, strict=True)
        if len(points) <= _FEW_POINTS:
            axes.plot(steps, values, color=colour, marker="o", label=label)
        elif not panel.is_smoothed:
            axes.plot(steps, values, color=colour, label=label)
        else:
            axes.plot(steps, values, color=colour, alpha=0.25, linewidth=1)
            axes.plot(steps, smooth(values), color=colour, label=label)
    if len(panel.curves) > 1 and axes.lines:
        axes.legend(frameon=False, labelcolor=_INK)
