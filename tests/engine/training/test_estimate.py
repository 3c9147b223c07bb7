"""What a training will take: more of everything takes longer and needs more, and what was measured counts."""

from __future__ import annotations

from typing import Any

import pytest

from engine.training.estimate import FIXED_S, ModelShape, estimate, measured, memory_bytes, row_tokens, work_tokens
from engine.training.presets import settings_for, steps, widened

SMALL = ModelShape(parameters=135_000_000, hidden_size=576, intermediate_size=1536, layers=30, vocab_size=49_152)


def guess(method: str = "dpo", preset: str = "balanced", train: int = 60, **changes: Any) -> Any:
    settings = settings_for(method, preset, examples=train, device_kind="cpu", overrides=changes)  # type: ignore[arg-type]
    sizes = {"train": train, "held_out": 10, "tokens": 200.0, "seconds_per_token": None}
    return estimate(settings, SMALL, device_kind="cpu", **sizes)  # type: ignore[arg-type]


def test_more_takes_longer() -> None:
    assert guess(epochs=2.0).duration_s > guess(epochs=1.0).duration_s > FIXED_S["cpu"]
    assert guess(preset="careful").duration_s > guess(preset="quick").duration_s
    assert guess(epochs=1.0, train=90).steps > guess(epochs=1.0, train=60).steps


def test_more_at_once_needs_more_memory_and_a_known_model_needs_what_it_was_seen_to_need() -> None:
    assert guess(micro_batch_size=4).memory_bytes > guess(micro_batch_size=1).memory_bytes
    assert guess(lora_rank=64).memory_bytes > guess(lora_rank=8).memory_bytes
    assert 1.2e9 < guess().memory_bytes < 3e9  # 1.75 GB of resident memory were measured with the starter model


def test_a_gpu_holds_half_of_the_bytes() -> None:
    settings = settings_for("dpo", "quick", examples=60, device_kind="cuda")
    on = {kind: memory_bytes(settings, SMALL, device_kind=kind, tokens=200) for kind in ("cpu", "cuda")}
    assert on["cuda"] < on["cpu"]


def test_what_a_run_measured_makes_the_next_estimate_of_the_same_run_right() -> None:
    settings = settings_for("dpo", "balanced", examples=60, device_kind="cpu")
    work = work_tokens(settings, train=60, held_out=10, tokens=200)
    pace = measured(500.0, work, "cpu")
    found = estimate(settings, SMALL, device_kind="cpu", train=60, held_out=10, tokens=200, seconds_per_token=pace)
    assert found.is_measured and found.duration_s == pytest.approx(500)
    assert found.steps == steps(settings, widened(settings.widen, 60))
    assert measured(FIXED_S["cpu"], work, "cpu") is None


def test_both_answers_of_a_pair_are_read_with_the_prompt() -> None:
    prompt, answer = [{"role": "user", "content": "p" * 360}], [{"role": "assistant", "content": "a" * 360}]
    one = row_tokens([{"prompt": prompt, "completion": answer, "label": True}], 1000)
    assert row_tokens([{"prompt": prompt, "chosen": answer, "rejected": answer}], 1000) == 2 * one
    assert row_tokens([{"messages": [*prompt, *answer]}], 1000) == one
    assert row_tokens([{"messages": [*prompt, *answer]}], 100) == 100
