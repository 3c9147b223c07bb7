"""A row of a summary, for tests of what pages and files make of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from storage.records import CreationRecord

MADE = datetime(2026, 11, 26, 12, tzinfo=UTC)


def creation_of(**changes: Any) -> CreationRecord:
    """One finished extractive summary."""
    made = CreationRecord(
        id="a" * 32, seq=1, owner_id="owner", kind="summary", origin="generated", conversation_id=None, context_id=None,
        turn_id="a" * 32, parent_id=None, job_id="j" * 32, prompt="The mill", output="The mill burned.", status="done",
        error=None, finish_reason="stop", model_id="minilm", adapter_id="base", seed=7,
        params={"method": "extractive", "style": "abstract"},
        path={}, prompt_tokens=None, output_tokens=None, ttft_s=None, duration_s=1.94, media_name=None, media_sha256=None,
        starred=False, tags=(), created_at=MADE, updated_at=MADE, trashed_at=None,
    )  # fmt: skip
    return replace(made, **changes)
