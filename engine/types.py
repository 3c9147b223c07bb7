"""Requests that go down from the pages and the API to the services. Frozen, checked before anything is loaded.

Knows names, ranges and defaults; knows no model, no database and no page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from engine.errors import BadOptionError
from storage.records import Kind, Method

T = TypeVar("T")

MAX_CANDIDATES = 4
MAX_NEW_TOKENS = 8192
MAX_PICTURES = 16
MIN_SIDE, MAX_SIDE = 64, 2048
"""Pixels of a picture's sides; a model may allow less."""
MAX_STEPS = 150
MAX_GUIDANCE = 30.0
UPSCALE_FACTORS = (1, 2, 4)
_PICTURE_RANGES: dict[str, tuple[float, float, type]] = {
    "width": (MIN_SIDE, MAX_SIDE, int),
    "height": (MIN_SIDE, MAX_SIDE, int),
    "steps": (1, MAX_STEPS, int),
    "guidance": (0.0, MAX_GUIDANCE, float),
    "seed": (0, 2**53 - 1, int),
}


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """How to write. None means "the default": the model's, the conversation's or the promoted one."""

    model: str | None = None
    """Model id; None = the default text model."""
    adapter: str = "promoted"
    """Adapter id, "base", or "promoted"."""
    system: str | None = None
    """System prompt; None = the conversation's."""
    conversation_id: str | None = None
    """Conversation to continue; None = a one-shot creation in no conversation (the Write tab always gives one)."""
    parent_id: str | None = None
    """Make a version of this Creation: same place in the conversation, its prompt unless another is given."""
    context_id: str | None = None
    """Creation this one follows; None = the conversation's head (or the parent's context)."""
    n: int = 1
    """Candidates, 1 … 4; seeds[i] = seed + i."""
    max_new_tokens: int = 512
    temperature: float = 0.7
    """0 = greedy."""
    top_p: float = 0.95
    top_k: int = 50
    """0 = off."""
    repetition_penalty: float = 1.1
    stop: tuple[str, ...] = ()
    """Text at which writing ends; it is not part of the output."""
    seed: int | None = None
    """None = drawn at random and recorded."""
    continue_from: str | None = None
    """Go on writing this Creation's output: the new one starts with that text and is a version of it."""
    rank_by: Literal["taste"] | None = None

    def __post_init__(self) -> None:
        _check_range("n", self.n, 1, MAX_CANDIDATES, int)
        _check_range("max_new_tokens", self.max_new_tokens, 1, MAX_NEW_TOKENS, int)
        _check_range("temperature", self.temperature, 0.0, 2.0, float)
        _check_range("top_p", self.top_p, 0.01, 1.0, float)
        _check_range("top_k", self.top_k, 0, 1000, int)
        _check_range("repetition_penalty", self.repetition_penalty, 0.5, 2.0, float)
        if self.seed is not None:
            _check_range("seed", self.seed, 0, 2**53 - 1, int)
        for name in ("model", "adapter", "system", "conversation_id", "parent_id", "context_id", "continue_from"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise BadOptionError(f'Option "{name}" must be text.', key="error.option_text", name=name)
        if not isinstance(self.stop, tuple) or not all(isinstance(s, str) and s for s in self.stop) or len(self.stop) > 8:
            raise BadOptionError('Option "stop" must be a list of up to 8 texts.', key="error.option_stop")
        if self.rank_by not in (None, "taste"):
            raise BadOptionError('Option "rank_by" must be "taste" or null.', key="error.option_rank_by")


@dataclass(frozen=True, slots=True)
class WriteRequest:
    """One click on Create. The same `idempotency_key` twice is one job."""

    prompt: str
    options: WriteOptions = field(default_factory=WriteOptions)
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class ImagineOptions:
    """How to draw. None means "the default": the model's, the preset's or the promoted one."""

    model: str | None = None
    """Model id; None = the default image model."""
    adapter: str = "promoted"
    """Adapter id, "base", or "promoted"."""
    style: str | None = None
    """One of the model's styles; None = whatever the prompt says."""
    n: int = 1
    """Pictures, 1 … 16, one after another; seeds[i] = seed + i."""
    width: int | None = None
    """Pixels; None = the model's own size."""
    height: int | None = None
    preset: Literal["fast", "balanced", "fine"] = "balanced"
    """How many steps, when `steps` does not say it."""
    steps: int | None = None
    guidance: float | None = None
    """Classifier-free guidance scale; 1 = none."""
    scheduler: str | None = None
    seed: int | None = None
    """None = drawn at random and recorded."""
    negative: str = ""
    """What should not be in it."""
    init_image: str | None = None
    """Creation to start from; a picture of the user's own is in ImagineRequest.picture."""
    strength: float = 0.6
    """How far to leave the picture it starts from, 0.05 … 1; without one it means nothing."""
    transparent: bool = False
    """A clear background, from models that can."""
    upscale: int = 1
    """Enlarge each picture 2 or 4 times after drawing it; 1 = as drawn."""
    parent_id: str | None = None
    """Make versions of this Creation: its prompt unless another is given."""
    rank_by: Literal["taste"] | None = None

    def __post_init__(self) -> None:
        _check_range("n", self.n, 1, MAX_PICTURES, int)
        _check_range("strength", self.strength, 0.05, 1.0, float)
        for name, (low, high, kind) in _PICTURE_RANGES.items():
            if getattr(self, name) is not None:
                _check_range(name, getattr(self, name), low, high, kind)
        _check_choice("preset", self.preset, ("fast", "balanced", "fine"))
        if self.upscale not in UPSCALE_FACTORS or isinstance(self.upscale, bool):
            raise BadOptionError('Option "upscale" must be 1, 2 or 4.', key="error.option_upscale")
        if not isinstance(self.transparent, bool):
            raise BadOptionError('Option "transparent" must be true or false.', key="error.option_bool", name="transparent")
        for name in ("model", "adapter", "style", "scheduler", "negative", "init_image", "parent_id"):
            value = getattr(self, name)
            if not isinstance(value, str) and (value is not None or name in ("adapter", "negative")):
                raise BadOptionError(f'Option "{name}" must be text.', key="error.option_text", name=name)
        if self.rank_by not in (None, "taste"):
            raise BadOptionError('Option "rank_by" must be "taste" or null.', key="error.option_rank_by")


@dataclass(frozen=True, slots=True)
class ImagineRequest:
    """One click on Create in the image studio. The same `idempotency_key` twice is one job."""

    prompt: str
    options: ImagineOptions = field(default_factory=ImagineOptions)
    picture: bytes | Path | None = None
    """A file of the user's own to start from (PNG, JPEG, WebP, GIF, BMP), or its bytes; instead of options.init_image."""
    mask: bytes | Path | None = None
    """The same, white where the picture is to be made anew, black where it stays; needs a picture to start from."""
    idempotency_key: str | None = None


SUMMARY_METHODS = ("extractive", "abstractive", "hybrid")
SUMMARY_STYLES = ("abstract", "bullets", "one_line", "key_facts", "child", "headline", "social")
SUMMARY_LENGTHS = ("short", "medium", "long")
MAX_SUMMARIES = 4
"""Of one click, side by side."""
_LENGTH_RANGES: dict[str, tuple[int, int]] = {"sentences": (1, 200), "words": (5, 5000), "percent": (1, 90)}


@dataclass(frozen=True, slots=True)
class SummaryOptions:
    """How to summarise. None means "the default": the document's, the task's or the promoted one."""

    method: Literal["extractive", "abstractive", "hybrid"] = "extractive"
    """The document's own sentences; the model's own words; or the first, rewritten by the model."""
    style: Literal["abstract", "bullets", "one_line", "key_facts", "child", "headline", "social"] = "abstract"
    length: str | Mapping[str, int] = "medium"
    """short, medium, long, or one of {"sentences": n}, {"words": n} (Chinese: characters), {"percent": p of the document}."""
    format: Literal["markdown", "text"] = "markdown"
    """Whether lists are marked with "-" or with a plain bullet."""
    language: Literal["en", "zh"] | None = None
    """Of the summary; None = the document's."""
    focus: str = ""
    """A question that the summary answers above all."""
    reference: str = ""
    """A summary that somebody wrote, to compare with."""
    model: str | None = None
    """Model id; None = the default text model. An extractive summary needs none."""
    adapter: str = "promoted"
    """Adapter id, "base", or "promoted"."""
    n: int = 1
    """How many of the same settings, 1 … 4, in the model's words; seeds[i] = seed + i."""
    seed: int | None = None
    """None = drawn at random and recorded."""
    parent_id: str | None = None
    """Make a version of this summary: of the same documents."""

    def __post_init__(self) -> None:
        _check_choice("method", self.method, SUMMARY_METHODS)
        _check_choice("style", self.style, SUMMARY_STYLES)
        _check_choice("format", self.format, ("markdown", "text"))
        if self.language is not None:
            _check_choice("language", self.language, ("en", "zh"))
        _check_range("n", self.n, 1, MAX_SUMMARIES, int)
        if self.n > 1 and self.method == "extractive":
            text = 'An extractive summary comes out the same each time. Leave "n" at 1, or choose abstractive or hybrid.'
            raise BadOptionError(text, key="error.summary_n")
        if self.seed is not None:
            _check_range("seed", self.seed, 0, 2**53 - 1, int)
        for name in ("focus", "reference", "model", "adapter", "parent_id"):
            value = getattr(self, name)
            if not isinstance(value, str) and (value is not None or name not in ("model", "parent_id")):
                raise BadOptionError(f'Option "{name}" must be text.', key="error.option_text", name=name)
        self._check_length()

    def _check_length(self) -> None:
        length = self.length
        if isinstance(length, Mapping) and len(length) == 1 and set(length) <= set(_LENGTH_RANGES):
            ((name, value),) = length.items()
            _check_range(name, value, *_LENGTH_RANGES[name], int)
        elif not isinstance(length, str) or length not in SUMMARY_LENGTHS:
            text = 'Option "length" must be short, medium, long, or one of {"sentences": n}, {"words": n}, {"percent": p}.'
            raise BadOptionError(text, key="error.option_length")


@dataclass(frozen=True, slots=True)
class SummaryRequest:
    """One click on Summarise. What to read: pasted text, files, documents that were read before, or a version's own."""

    text: str | None = None
    files: tuple[Path, ...] = ()
    """Uploaded ones, by their path here."""
    documents: tuple[str, ...] = ()
    """Ids that reading answered with."""
    options: SummaryOptions = field(default_factory=SummaryOptions)
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class RateOptions:
    """What goes with a score."""

    reasons: tuple[str, ...] = ()
    """Chips, from REASONS or free."""
    comment: str = ""


@dataclass(frozen=True, slots=True)
class PreferOptions:
    """How the two compare, when neither simply won."""

    tie: bool = False
    both_bad: bool = False

    def __post_init__(self) -> None:
        if self.tie and self.both_bad:
            raise BadOptionError('Give "tie" or "both_bad", not both.', key="error.tie_and_bad")


@dataclass(frozen=True, slots=True)
class DatasetOptions:
    """What to freeze into a Dataset. None = chosen from the data."""

    task: Kind = "text"
    kind: Method | None = None
    """sft, dpo or kto; None = the one that the ratings support best."""
    filter: Mapping[str, Any] | None = None
    """A Library filter in its JSON form; None = everything rated."""
    name: str = ""

    def __post_init__(self) -> None:
        _check_choice("task", self.task, ("text", "image", "summary"))
        if self.kind is not None:
            _check_choice("kind", self.kind, ("sft", "dpo", "kto"))


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """What to train. None = chosen from the data, the preset and the device."""

    task: Kind = "text"
    recipe: str | None = None
    """dpo, kto or sft; None = the one that the ratings support best."""
    base: str | None = None
    """Model id; None = the default of the task."""
    dataset: str | None = None
    """Dataset id; None = all ratings of the task, frozen now."""
    preset: Literal["quick", "balanced", "careful"] = "balanced"
    name: str = ""
    settings: Mapping[str, Any] | None = None
    """Settings of the recipe that differ from the preset's, by name (docs/learning.md lists them)."""
    idempotency_key: str | None = None

    def __post_init__(self) -> None:
        _check_choice("task", self.task, ("text", "image", "summary"))
        _check_choice("preset", self.preset, ("quick", "balanced", "careful"))


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """How to compare an adapter blindly."""

    against: str = "promoted"
    """Adapter id, "base" or "promoted"."""
    prompts: tuple[str, ...] | None = None
    """None = the held-out prompts first, then fresh ones of the same kind."""
    n: int = 30
    """Matches, and votes after which the gate is judged once; fixed before the first vote."""
    seed: int = 0
    automatic_only: bool = False
    """Automatic figures only, no matches to vote on."""

    def __post_init__(self) -> None:
        _check_range("n", self.n, 1, 200, int)
        _check_range("seed", self.seed, 0, 2**53 - 1, int)


GOOD_REASONS = ("accurate", "clear", "creative", "right_tone", "right_length", "useful")
BAD_REASONS = ("wrong", "unclear", "generic", "off_tone", "too_long", "too_short", "repetitive", "ignored_prompt")


def options_from_json(kind: type[T], value: object) -> T:
    """Build an options dataclass from one JSON object or null.

    Raises BadOptionError for a value that is no object, an unknown key (it names it) or a bad value.
    """
    if value is None:
        return kind()
    if not isinstance(value, dict):
        raise BadOptionError("Options must be one JSON object or null.", key="error.options_object")
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(str(name) for name in value if name not in known)
    if unknown:
        names = ", ".join(f'"{name}"' for name in unknown)
        raise BadOptionError(f"Unknown option: {names}.", key="error.option_unknown", names=names)
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in value.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise BadOptionError(f"Bad options: {error}.", key="error.options_object") from error


def _check_choice(name: str, value: object, names: tuple[str, ...]) -> None:
    if value not in names:
        listed = ", ".join(names)
        raise BadOptionError(f'Option "{name}" must be one of {listed}.', key="error.option_one_of", name=name, names=listed)


def _check_range(name: str, value: object, low: float, high: float, kind: type) -> None:
    good = isinstance(value, (int, float) if kind is float else int) and not isinstance(value, bool)
    if not good or not low <= value <= high:  # type: ignore[operator]
        raise BadOptionError(
            f'Option "{name}" must be a number from {low} to {high}.', key="error.option_range", name=name, low=low, high=high
        )
