"""Settings of a picture, and the text form of them that many image tools write and read (`parameters`).

    a red fox, watercolour
    Negative prompt: blurry
    Steps: 20, Sampler: euler, CFG scale: 4, Seed: 7, Size: 512x512, Model: sticker-64, Version: Tastemaker

Source: `create_infotext` and `parse_generation_parameters` of AUTOMATIC1111's stable-diffusion-webui, which Forge, Fooocus and
the sites that show pictures follow. A value with a comma, a colon or a line end stands in JSON quotes.
Knows text; knows no picture, no model and no page.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from engine.safety.limits import PROMPT_MAX_CHARS, clean_label, clean_text

TEXT_MAX_CHARS = 1_000_000
"""Longer texts are no settings: twice the longest prompt, and room."""

_LINE_MAX_CHARS = 10_000
_VALUE_MAX_CHARS = 300
_NEGATIVE = "Negative prompt:"
_PAIR = re.compile(r'(\w[\w \-/]{0,40}):\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)')
_ENOUGH_PAIRS = 3
"""A last line with fewer is part of the prompt; the same rule as the tool that invented the form."""


@dataclass(frozen=True, slots=True)
class Labels:
    """Settings found in a picture. None = the file does not say; numbers are whole, finite and otherwise unchecked."""

    prompt: str
    negative: str = ""
    seed: int | None = None
    steps: int | None = None
    guidance: float | None = None
    scheduler: str | None = None
    """As the tool calls it: "euler" here, "Euler a" elsewhere."""
    width: int | None = None
    height: int | None = None
    style: str | None = None
    model: str | None = None
    """Our model's id, or another tool's name for its own."""
    model_sha256: str | None = None
    """Whole from us; other tools give the first ten digits."""
    adapter_id: str | None = None
    creation_id: str | None = None
    created_at: str | None = None
    """ISO 8601."""
    tool: str | None = None
    """"Tastemaker", or what another tool wrote as its version."""


def parameters_text(labels: Labels) -> str:
    """Return the widely read form; what is None is left out."""
    size = f"{labels.width}x{labels.height}" if labels.width and labels.height else None
    pairs = {
        "Steps": labels.steps,
        "Sampler": labels.scheduler,
        "CFG scale": None if labels.guidance is None else f"{labels.guidance:g}",
        "Seed": labels.seed,
        "Size": size,
        "Style": labels.style,
        "Model": labels.model,
        "Model hash": labels.model_sha256[:10] if labels.model_sha256 else None,
        "Adapter": labels.adapter_id,
        "Version": labels.tool,
    }
    line = ", ".join(f"{name}: {_quoted(str(value))}" for name, value in pairs.items() if value is not None)
    negative = f"{_NEGATIVE} {labels.negative}" if labels.negative else ""
    return "\n".join(part for part in (labels.prompt, negative, line) if part)


def parse_parameters(text: str) -> Labels | None:
    """Return the settings in a text of that form, None when it has none. Never raises; odd values are left out."""
    if not text or len(text) > TEXT_MAX_CHARS:
        return None
    lines = text.replace("\r\n", "\n").strip().split("\n")
    last = lines[-1]
    pairs = _PAIR.findall(last) if len(last) <= _LINE_MAX_CHARS else []
    if len(pairs) < _ENOUGH_PAIRS:
        return None
    body = lines[:-1]
    # The last line that says so begins the negative prompt: nothing but it can stand between there and the settings.
    starts = [number for number, line in enumerate(body) if line.strip().startswith(_NEGATIVE)]
    cut = starts[-1] if starts else len(body)
    negative = "\n".join(body[cut:]).strip().removeprefix(_NEGATIVE).strip()
    found = {name.strip().lower(): _unquoted(value.strip()) for name, value in reversed(pairs)}
    size = re.fullmatch(r"(\d{1,5})\s*[x×]\s*(\d{1,5})", found.get("size", ""))
    return labels_of(
        {
            "prompt": "\n".join(body[:cut]).strip(),
            "negative": negative,
            "seed": found.get("seed"),
            "steps": found.get("steps"),
            "guidance": found.get("cfg scale") or found.get("guidance scale"),
            "scheduler": found.get("sampler"),
            "width": size[1] if size else None,
            "height": size[2] if size else None,
            "style": found.get("style"),
            "model": found.get("model"),
            "model_sha256": found.get("model hash"),
            "adapter_id": found.get("adapter"),
            "tool": found.get("version"),
        }
    )


def labels_of(fields: Mapping[str, object]) -> Labels:
    """Return Labels from values that anybody may have written: cut to our limits, what is of another type left out."""
    return Labels(
        prompt=_prompt(fields.get("prompt")),
        negative=_prompt(fields.get("negative")),
        seed=_whole(fields.get("seed")),
        steps=_whole(fields.get("steps")),
        guidance=_number(fields.get("guidance")),
        scheduler=_name(fields.get("scheduler")),
        width=_whole(fields.get("width")),
        height=_whole(fields.get("height")),
        style=_name(fields.get("style")),
        model=_name(fields.get("model")),
        model_sha256=_name(fields.get("model_sha256")),
        adapter_id=_name(fields.get("adapter_id")),
        creation_id=_name(fields.get("creation_id")),
        created_at=_name(fields.get("created_at")),
        tool=_name(fields.get("tool")),
    )


def _prompt(value: object) -> str:
    return clean_text(value[:PROMPT_MAX_CHARS], max_chars=PROMPT_MAX_CHARS, what="The prompt") if isinstance(value, str) else ""


def _name(value: object) -> str | None:
    return (
        clean_label(value[:_VALUE_MAX_CHARS], max_chars=_VALUE_MAX_CHARS, what="A setting") or None
        if isinstance(value, str)
        else None
    )


def _whole(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value if 0 <= value < 2**64 else None
    return _whole(int(value)) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,20}", value) else None


def _number(value: object) -> float | None:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,10}(\.[0-9]{1,20})?", value):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -1e9 < value < 1e9:
        return None
    return float(value) if math.isfinite(value) else None


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if re.search(r'[,:\n"]', value) else value


def _unquoted(value: str) -> str:
    if len(value) < 2 or value[0] != '"' or value[-1] != '"':
        return value
    try:
        return str(json.loads(value))
    except ValueError:
        return value
