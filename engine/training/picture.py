"""A run's curves as one picture, drawn from its events.

Knows matplotlib's figures, not pyplot: nothing here is shared between threads. Knows no model and no run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PANELS: Final[Sequence[tuple[str, Sequence[tuple[str, str]]]]] = (
    ("Loss", (("loss", "training"), ("held_out_loss", "held out"))),
    ("Preference accuracy", (("accuracy", "training"), ("held_out_accuracy", "held out"))),
    ("Reward margin", (("margin", "training"), ("held_out_margin", "held out"))),
    ("Perplexity of neutral text", (("perplexity", "neutral text"),)),
    ("Learning rate", (("learning_rate", "learning rate"),)),
    ("Tokens per second", (("tokens_per_s", "tokens/s"),)),
)
_COLOURS: Final = ("#7c5cff", "#ff8a5c")
_SMOOTHING: Final = 0.7


def draw(events: Iterable[Mapping[str, Any]], path: Path, *, title: str = "") -> None:
    """Draw the metrics among a run's events ({"kind": "metrics", "step", …}) to a PNG file, 1500 × 1000 pixels.

    Curves that were not recorded stay empty. The file appears whole.
    """
    from matplotlib.figure import Figure

    rows = [event for event in events if event.get("kind") == "metrics"]
    figure = Figure(figsize=(15, 10), dpi=100, layout="constrained")
    for axes, (name, curves) in zip(figure.subplots(2, 3).flat, _PANELS, strict=True):
        _panel(axes, name, curves, rows)
    if title:
        figure.suptitle(title)
    part = path.with_name(f".{path.stem}.{uuid4().hex}.png")
    figure.savefig(part)
    part.replace(path)


def smooth(values: Sequence[float], weight: float = _SMOOTHING) -> list[float]:
    """Exponential moving average without the pull of its start (as TensorBoard does it)."""
    result, last, seen = [], 0.0, 0.0
    for value in values:
        last = weight * last + (1 - weight) * value
        seen = weight * seen + (1 - weight)
        result.append(last / seen)
    return result


def _panel(axes: Axes, name: str, curves: Sequence[tuple[str, str]], rows: Sequence[Mapping[str, Any]]) -> None:
    axes.set_title(name)
    axes.set_xlabel("step")
    axes.grid(alpha=0.25)
    for colour, (figure, label) in zip(_COLOURS, curves, strict=False):
        points = [(row["step"], row[figure]) for row in rows if row.get(figure) is not None]
        if not points:
            continue
        steps, values = zip(*points, strict=True)
        if len(points) > 8:
            axes.plot(steps, values, color=colour, alpha=0.25, linewidth=1)
            axes.plot(steps, smooth(values), color=colour, label=label)
        else:
            axes.plot(steps, values, color=colour, marker="o", label=label)
    if axes.lines:
        axes.legend()
