"""A training's settings as a form, built from their dataclass: its fields, their types and their docstrings. Pure.

Knows dataclasses and words; knows no recipe: a new setting appears in the form by itself.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cache
from typing import Any, Final

from ui.i18n import Translator

View = dict[str, Any]

GROUPS: Final = (
    ("adapter", ("lora_", "target_modules")),
    ("loss", ("beta", "loss_", "sft_weight", "label_smoothing", "desirable_", "undesirable_")),
    ("safety", ("eval_", "save_", "patience", "sample_", "fluency_", "answer_", "odd_", "repetition_", "length_drift_")),
)
"""Groups of the form and how the names of their settings begin. What fits nowhere is in the first group, "learning"."""
CHOSEN_ELSEWHERE: Final = ("method",)


def form_groups(settings: Any, preset: Any, choices: Mapping[str, Sequence[str]], t: Translator) -> list[View]:
    """[{name, label, fields: [{name, label, note, type, value, preset, choices, is_optional}]}] of a settings dataclass instance.

    `preset` is the same without anybody's changes; `choices` names what a text may be. Types are "int", "float", "bool",
    "choice", "list" and "text".
    """
    groups: dict[str, list[View]] = {name: [] for name in ("learning", *(name for name, _ in GROUPS))}
    hints = typing.get_type_hints(type(settings))
    for field in fields(settings):
        if field.name in CHOSEN_ELSEWHERE:
            continue
        value = getattr(settings, field.name)
        kind, is_optional = _type(hints[field.name])
        allowed = list(choices.get(field.name, ())) or list(typing.get_args(hints[field.name]) if kind == "choice" else ())
        groups[_group(field.name)].append(
            {
                "name": field.name,
                "label": label_of(field.name, t),
                "note": _note(type(settings), field.name, t),
                "type": "choice" if allowed else kind,
                "value": _plain(value),
                "preset": _plain(getattr(preset, field.name)),
                "choices": allowed,
                "is_optional": is_optional,
            }
        )
    return [
        {"name": name, "label": t(f"train.settings.group.{name}"), "fields": group} for name, group in groups.items() if group
    ]


def in_order(settings: Mapping[str, Any], t: Translator) -> View:
    """Settings as the form's groups have them, each group by its labels; rows of a database have them by their names."""
    groups = ["learning", *(name for name, _ in GROUPS)]
    return dict(sorted(settings.items(), key=lambda one: (groups.index(_group(one[0])), label_of(one[0], t))))


def label_of(name: str, t: Translator) -> str:
    """What a setting is called: its word, or its name without the underscores."""
    key = f"train.setting.{name}"
    words = t(key)
    return name.replace("_", " ") if words == key else words


@cache
def field_notes(settings: type) -> Mapping[str, str]:
    """The docstring below each field of a dataclass, by the field's name."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(settings)))
    body = typing.cast(ast.ClassDef, tree.body[0]).body
    notes: dict[str, str] = {}
    for statement, below in zip(body, body[1:], strict=False):
        is_text = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str)
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and is_text:
            notes[statement.target.id] = " ".join(inspect.cleandoc(below.value.value).split())  # type: ignore[attr-defined]
    return notes


def _note(settings: type, name: str, t: Translator) -> str:
    """The page's own sentence; the docstring for a setting that has none yet."""
    key = f"train.setting.{name}.note"
    words = t(key)
    return field_notes(settings).get(name, "") if words == key else words


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _group(name: str) -> str:
    return next((group for group, starts in GROUPS if name.startswith(starts)), "learning")


def _type(hint: Any) -> tuple[str, bool]:
    """(type for the form, whether it may be left empty)."""
    parts = [part for part in typing.get_args(hint) if part is not type(None)]
    if len(parts) < len(typing.get_args(hint)) and parts:
        return _type(parts[0])[0], True
    if typing.get_origin(hint) is typing.Literal:
        return "choice", False
    if typing.get_origin(hint) in (tuple, list):
        return "list", False
    return {bool: "bool", int: "int", float: "float"}.get(hint, "text"), False
