"""Frozen records: what repositories return and every layer may read.

Knows the shape of a row; knows no database, no model and no page. Times are timezone-aware UTC datetimes.
Ids are 32 hexadecimal characters. `seq` is the order of insertion and the only thing lists sort by: clocks jump, it does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

Json: TypeAlias = Mapping[str, Any]
Kind: TypeAlias = Literal["text", "image", "summary"]
Origin: TypeAlias = Literal["generated", "edited", "imported"]
JobStatus: TypeAlias = Literal["queued", "running", "done", "failed", "cancelled", "interrupted"]
Outcome: TypeAlias = Literal["win", "tie", "both_bad"]
PreferenceSource: TypeAlias = Literal["pick", "arena", "edit", "ratings", "imported"]
Method: TypeAlias = Literal["sft", "dpo", "kto"]
Split: TypeAlias = Literal["train", "held_out"]
InputRole: TypeAlias = Literal["init", "mask", "document"]
Choice: TypeAlias = Literal["left", "right", "tie", "bad"]

LOCAL_OWNER = "owner"
BASE = "base"
"""The adapter id that means "no adapter": the model as it was installed."""


@dataclass(frozen=True, slots=True)
class ConversationRecord:
    """A path through the tree of Creations, ending at `head_id`. Branches share their history's rows."""

    id: str
    seq: int
    owner_id: str
    title: str
    head_id: str | None
    branched_from_id: str | None
    system: str
    created_at: datetime
    updated_at: datetime
    trashed_at: datetime | None


@dataclass(frozen=True, slots=True)
class CreationRecord:
    """One generated or edited thing; for text, one turn: a prompt and its answer.

    `context_id` is the Creation it follows in its conversation. Creations that share `turn_id` are versions of one turn
    (regenerated, or made from an edited prompt or answer); `parent_id` is the version each was made from.
    `params` holds every resolved parameter (system, temperature, top_p, top_k, repetition_penalty, max_new_tokens, stop, ...);
    `path` what is needed to get the identical output again (engine, dtype, batched, segments, ...).
    """

    id: str
    seq: int
    owner_id: str
    kind: Kind
    origin: Origin
    conversation_id: str | None
    context_id: str | None
    turn_id: str
    parent_id: str | None
    job_id: str | None
    prompt: str
    output: str
    status: JobStatus
    error: str | None
    finish_reason: str | None
    model_id: str
    adapter_id: str
    seed: int | None
    params: Json
    path: Json
    prompt_tokens: int | None
    output_tokens: int | None
    ttft_s: float | None
    duration_s: float | None
    media_name: str | None
    media_sha256: str | None
    starred: bool
    tags: tuple[str, ...]
    created_at: datetime
    updated_at: datetime
    trashed_at: datetime | None

    @property
    def tokens_per_s(self) -> float | None:
        """Decoding speed after the first token, or None when it was not measured."""
        if not self.output_tokens or not self.duration_s or self.ttft_s is None:
            return None
        decode_s = self.duration_s - self.ttft_s
        return (self.output_tokens - 1) / decode_s if decode_s > 0 and self.output_tokens > 1 else None


@dataclass(frozen=True, slots=True)
class InputRecord:
    """A file that went into a Creation: the picture it started from, the mask of what was made anew, or a document's text."""

    creation_id: str
    role: InputRole
    media_name: str
    media_sha256: str


@dataclass(frozen=True, slots=True)
class RatingRecord:
    """One rater's score of one Creation, -1 … +1. A changed or withdrawn rating leaves the old row with `is_current` False."""

    id: str
    seq: int
    creation_id: str
    rater_id: str
    score: float | None
    reasons: tuple[str, ...]
    comment: str
    is_current: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class PreferenceRecord:
    """One rater's choice between two Creations of the same prompt. `is_explicit` ones override inferred ones."""

    id: str
    seq: int
    rater_id: str
    chosen_id: str
    rejected_id: str
    outcome: Outcome
    source: PreferenceSource
    is_explicit: bool
    is_current: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class JobRecord:
    """Anything that takes longer than a click. `progress` is {step, total, eta_s, note, phase}; `result` is the job's own."""

    id: str
    seq: int
    owner_id: str
    kind: str
    status: JobStatus
    idempotency_key: str | None
    request: Json
    progress: Json
    result: Json | None
    error: str | None
    attempts: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class DatasetRecord:
    """A frozen snapshot of rated rows. `sha256` is of its rows (split and order included), so equal content has equal hashes."""

    id: str
    seq: int
    owner_id: str
    task: Kind
    method: Method
    name: str
    sha256: str
    filter: Json
    counts: Json
    """{"train", "held_out", "prompts", "held_out_prompts", "positive", "negative", "duplicates", "by_source": {...}}."""
    created_at: datetime


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """One row of a Dataset in TRL's format, and the ids of the ratings, preferences and Creations that it came from."""

    ordinal: int
    split: Split
    row: Json
    source_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunEventRecord:
    """One event of a training Run, numbered by the process that trains; the same number is never kept twice."""

    job_id: str
    n: int
    kind: str
    body: Json


@dataclass(frozen=True, slots=True)
class AdapterRecord:
    """What a Run made: weights to put on a base model. Promoted or not is in the promotions, not here."""

    id: str
    seq: int
    owner_id: str
    task: Kind
    name: str
    base_model_id: str
    base_sha256: str
    run_id: str | None
    dataset_id: str | None
    method: Method
    recipe: str
    sha256: str
    """Of adapter_model.safetensors."""
    size_bytes: int
    metrics: Json
    marks: tuple[str, ...]
    """Ids of ratings, preferences and Creations it was trained on that were withdrawn or deleted since."""
    created_at: datetime
    removed_at: datetime | None


@dataclass(frozen=True, slots=True)
class MatchRecord:
    """One blind comparison of an evaluation. Who is left and who is right was drawn before anybody saw it."""

    id: str
    seq: int
    owner_id: str
    evaluation_id: str
    ordinal: int
    prompt: str
    messages: tuple[Json, ...]
    is_held_out: bool
    left_adapter_id: str
    left_sha256: str
    """Of the adapter's weights; the base model's own hash for BASE."""
    left_output: str
    right_adapter_id: str
    right_sha256: str
    right_output: str
    metrics: Json
    """{"left": {...}, "right": {...}}: automatic figures of each answer."""
    created_at: datetime


@dataclass(frozen=True, slots=True)
class VoteRecord:
    """One rater's choice in one Match, with the hashes of what was really compared. A newer one leaves it not current."""

    id: str
    seq: int
    match_id: str
    rater_id: str
    choice: Choice | None
    """None = taken back."""
    left_sha256: str
    right_sha256: str
    is_current: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class PromotionRecord:
    """One switch. The newest one of an owner, task and base model says what "promoted" means there."""

    id: str
    seq: int
    owner_id: str
    task: Kind
    base_model_id: str
    adapter_id: str
    """An adapter's id or BASE."""
    previous_id: str
    evaluation_id: str | None
    override: str
    """Why the gate was overruled; empty when it passed (or for a roll back)."""
    gate: Json
    created_at: datetime


@dataclass(frozen=True, slots=True)
class PersonaRecord:
    """A system prompt the user saved under a name."""

    id: str
    seq: int
    owner_id: str
    name: str
    system: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """A model the user added (a local folder or a server). Starter and hub models live in the catalogue, not here."""

    id: str
    seq: int
    owner_id: str
    name: str
    task: str
    source: str
    config: Json
    created_at: datetime


@dataclass(frozen=True, slots=True)
class CreationFilter:
    """What the Library shows. None means "do not care"; `query` is free text in any language."""

    query: str = ""
    kind: Kind | None = None
    model_id: str | None = None
    adapter_id: str | None = None
    min_score: float | None = None
    max_score: float | None = None
    rated: bool | None = None
    starred: bool | None = None
    tag: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None
    trashed: bool = False


@dataclass(frozen=True, slots=True)
class LibraryItem:
    """A Creation with the rater's current score, as a list shows it."""

    creation: CreationRecord
    score: float | None


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a longer list; `total` counts all pages."""

    items: tuple[LibraryItem, ...]
    total: int
    page: int
    page_size: int
