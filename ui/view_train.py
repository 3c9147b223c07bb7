"""A training's events as what the Train page draws: figures, answers on fixed prompts, log, alarms, a sparkline. Pure.

Knows the events that a training writes (kind and body) and words; knows no service, no gradio and no HTML.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from storage.records import RunEventRecord
from ui.i18n import Translator

View = dict[str, Any]

PHASES: Final = ("load", "prepare", "train", "evaluate", "save")
MAX_ROWS: Final = 1500
"""Rows of figures that a page gets at once: more than a chart has pixels only costs time."""
MAX_LOG_LINES: Final = 400
SPARK_POINTS: Final = 40
SPARK_FIGURES: Final = ("held_out_accuracy", "held_out_loss", "accuracy", "loss")
"""What a row's sparkline shows: the first of these that has at least two values."""
RARE: Final = ("held_out_loss", "held_out_accuracy", "held_out_margin", "perplexity")
"""Figures that come seldom: their rows are kept when others are thinned out."""


def new_events(events: Sequence[RunEventRecord], t: Translator, language: str) -> View:
    """{metrics: rows in order, samples, log: lines, alarms: the newest {name, text} of each name, after: the last number}."""
    rows: list[View] = []
    samples: list[View] = []
    log: list[str] = []
    alarms: dict[str, View] = {}
    for event in events:
        match event.kind:
            case "metrics":
                rows.append(_figures(event.body))
            case "sample":
                samples.append({name: event.body.get(name) for name in ("step", "index", "prompt", "text")})
            case "log":
                log.append(str(event.body.get("text", "")))
            case "alarm":
                name = str(event.body.get("name"))
                alarms[name] = {"name": name, "text": alarm_text(event.body, t, language)}
            case _:
                pass
    return {
        "metrics": thinned(rows),
        "samples": samples,
        "log": log[-MAX_LOG_LINES:],
        "alarms": list(alarms.values()),
        "after": max((event.n for event in events), default=0),
    }


def alarm_text(body: Mapping[str, Any], t: Translator, language: str) -> str:
    """The training's own sentence, which says most; other languages have one of their own for the alarms that they know."""
    said, values = str(body.get("message") or body.get("name") or ""), body.get("values") or {}
    name, times = str(body.get("name")), values.get("times")
    if name == "length" and isinstance(times, (int, float)) and times > 0:
        name = "longer" if times > 1 else "shorter"
        times = f"{max(times, 1 / times):.1f}"
    key = f"train.alarm.{name}"
    guard = f"train.guard.{values.get('figure')}"
    words = t(key, times=times, percent=values.get("percent"), figure=t(guard))
    return said if language == "en" or words == key or guard in words else words


def thinned(rows: Sequence[View]) -> list[View]:
    """At most about MAX_ROWS of them, those with seldom figures and the last one among them."""
    every = math.ceil(len(rows) / MAX_ROWS)
    if every < 2:
        return list(rows)
    return [row for i, row in enumerate(rows) if i % every == 0 or i == len(rows) - 1 or any(name in row for name in RARE)]


def spark(events: Iterable[RunEventRecord]) -> list[float]:
    """The values of a row's sparkline, oldest first; empty before there are two."""
    series: dict[str, dict[float, float]] = {name: {} for name in SPARK_FIGURES}
    for event in events:
        if event.kind == "metrics":
            row = _figures(event.body)
            for name in SPARK_FIGURES:
                if name in row and "step" in row:
                    series[name][row["step"]] = row[name]  # a step done again after a resume replaces the old one
    values = next((list(points.values()) for points in series.values() if len(points) > 1), [])
    every = math.ceil(len(values) / SPARK_POINTS) or 1
    return values[::-every][::-1]


def last_figure(events: Iterable[RunEventRecord], name: str) -> float | None:
    """The newest value of one figure."""
    found = [event.body[name] for event in events if event.kind == "metrics" and _is_number(event.body.get(name))]
    return float(found[-1]) if found else None


def _figures(body: Mapping[str, Any]) -> View:
    """The numbers of one row. NaN and infinity are no JSON, and no point of a curve."""
    return {name: value for name, value in body.items() if _is_number(value)}


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
