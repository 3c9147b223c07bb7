"""What a page shows of one model: the catalogue's words, its state here, and whether this machine can run it.

Pure: works everything out from what it is given. Knows no store, no database and no page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from engine.device import Hardware
from engine.jobs.job import JobSnapshot
from engine.models.catalog import LocalSource, ModelSpec, ServerSource, Task, parse_source
from engine.models.needs import can_round
from engine.models.store import State, gigabytes

_FEWEST_BITS: Final = 0.4
"""Of a language model's 16 bits, with 4 for its layers and the rest as it is."""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """One model on the Models page. Sizes in bytes, 0 = unknown; no key of a server is ever in it."""

    id: str
    name: str
    task: Task
    family: str
    source: str
    """As in the catalogue: "wheel:…", "hub:…", "local:…", "openai:…" or "assets:…"."""
    licence: str
    languages: tuple[str, ...]
    description: str
    download_bytes: int
    size_bytes: int
    memory_bytes: int
    """On this machine's device."""
    context_length: int
    is_starter: bool
    is_added: bool
    """By the user: it can be forgotten, not deleted."""
    is_stored: bool
    """Whether it can be got and removed."""
    is_recommended: bool
    """It fits, and is meant for this kind of device."""
    state: State
    is_default: bool
    fits: bool
    fits_reason: str
    """One English sentence when it does not fit; `needs_bytes` and `have_bytes` say the same in figures."""
    needs_bytes: int
    have_bytes: int
    loaded: bool
    progress: float | None
    """0 … 1 while it is downloaded, else None."""
    phase: str
    """"download", "verify" or "convert" while it is downloaded."""
    eta_s: float | None
    job_id: str | None
    error: str | None
    """Why the last download failed, one English sentence."""
    error_key: str = ""
    error_values: Mapping[str, object] = field(default_factory=dict)
    """What the sentence of `error_key` names."""


def make_card(
    spec: ModelSpec,
    *,
    state: State,
    machine: Hardware,
    is_default: bool = False,
    is_loaded: bool = False,
    job: JobSnapshot | None = None,
    failure: JobSnapshot | None = None,
    need_bytes: int | None = None,
) -> ModelCard:
    """Put together what a page shows of `spec` on `machine`; `job` is its running download, `failure` its last failed one.

    `need_bytes`: what it must have to be loaded; None before that can be known, and its weights stand in.
    """
    source = parse_source(spec.source)
    kind = machine.device.partition(":")[0]
    memory_bytes = spec.memory_on(kind) if need_bytes is None else need_bytes
    have_bytes = machine.gpu_bytes or machine.ram_bytes if kind != "cpu" else machine.ram_bytes
    needs_bytes = max(memory_bytes, spec.min_memory_bytes)
    if spec.task == "image" and kind == "cuda":  # its parts can take turns on the GPU
        needs_bytes = spec.min_memory_bytes or memory_bytes
    elif spec.task == "text" and need_bytes is None and can_round(kind):
        needs_bytes = int(memory_bytes * _FEWEST_BITS)
    fits = needs_bytes <= have_bytes
    progress = dict(job.progress) if job else {}
    return ModelCard(
        id=spec.id,
        name=spec.name,
        task=spec.task,
        family=spec.family,
        source=spec.source,
        licence=spec.licence,
        languages=spec.languages,
        description=spec.description,
        download_bytes=spec.download_bytes,
        size_bytes=spec.size_bytes,
        memory_bytes=memory_bytes,
        context_length=spec.context_length,
        is_starter=spec.is_starter,
        is_added=isinstance(source, LocalSource | ServerSource),
        is_stored=spec.is_stored,
        is_recommended=max(needs_bytes, spec.min_memory_bytes) <= have_bytes
        and ("gpu" if kind != "cpu" else "cpu") in spec.recommended_for,
        state=state,
        is_default=is_default,
        fits=fits,
        fits_reason="" if fits else f"Needs {gigabytes(needs_bytes)} of memory, this machine has {gigabytes(have_bytes)}.",
        needs_bytes=needs_bytes,
        have_bytes=have_bytes,
        loaded=is_loaded,
        progress=_fraction(progress) if job else None,
        phase=str(progress.get("phase", "")) if job else "",
        eta_s=progress.get("eta_s") if job else None,
        job_id=job.job_id if job else None,
        error=failure.error if failure and job is None else None,
        error_key=failure.error_key if failure and job is None else "",
        error_values=failure.error_values if failure and job is None else {},
    )


def _fraction(progress: dict[str, object]) -> float:
    step, total = progress.get("step"), progress.get("total")
    if not isinstance(step, (int, float)) or not isinstance(total, (int, float)) or total <= 0:
        return 0.0
    return min(1.0, step / total)
