"""Training runs of tiny models for tests: a dataset with something to learn, a job, a child that is waited for."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from engine.jobs.process import Child, start_child
from engine.training.args import TrainingSettings
from engine.training.presets import settings_for

GOOD, BAD = "Yes! Gladly!", "no, rather not"
SUBJECTS = ("tea", "bread", "rain", "a walk", "snow", "music", "a nap", "chess", "the sea", "a song", "soup", "a train")


def message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def row(method: str, subject: str, number: int) -> dict[str, Any]:
    """One row of the dataset: the good answer is always the same kind."""
    prompt = [message("user", f"Would you like {subject}?")]
    good, bad = [message("assistant", GOOD)], [message("assistant", BAD)]
    if method == "dpo":
        return {"prompt": prompt, "chosen": good, "rejected": bad}
    if method == "kto":
        return {"prompt": prompt, "completion": good if number % 2 else bad, "label": bool(number % 2)}
    return {"messages": [*prompt, *good]}


def write_dataset(folder: Path, method: str, *, held_out: int = 3) -> int:
    """Write train.jsonl and held_out.jsonl; return how many rows are trained on."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [json.dumps(row(method, subject, number)) for number, subject in enumerate(SUBJECTS)]
    (folder / "held_out.jsonl").write_text("".join(line + "\n" for line in rows[:held_out]), encoding="utf-8")
    (folder / "train.jsonl").write_text("".join(line + "\n" for line in rows[held_out:]), encoding="utf-8")
    return len(rows) - held_out


def tiny_settings(method: str, **overrides: Any) -> TrainingSettings:
    """Settings that teach a tiny random model within a few steps, with limits that a random model can keep."""
    loose = {"fluency_limit": 9.0, "answer_perplexity_limit": 90.0, "odd_limit": 1.0, "repetition_limit": 1.0}
    quick = {"learning_rate": 0.01, "epochs": 2.0, "eval_steps": 2, "save_steps": 2, "sample_tokens": 8, "lora_rank": 4}
    return settings_for(method, "quick", examples=9, device_kind="cpu", overrides={**loose, **quick, **overrides})  # type: ignore[arg-type]


def make_job(root: Path, model_dir: Path, settings: TrainingSettings, **changes: Any) -> dict[str, Any]:
    """A job with everything in it; the dataset is written beside it."""
    write_dataset(root / "dataset", settings.method)
    job = {
        "run_id": "run",
        "adapter_id": "adapter",
        "task": "text",
        "recipe": settings.method,
        "model_dir": str(model_dir),
        "base_sha256": "0" * 64,
        "base_model_id": "tiny",
        "dataset_dir": str(root / "dataset"),
        "dataset_sha256": "1" * 64,
        "output_dir": str(root / "adapters" / "adapter"),
        "device": "cpu",
        "threads": 1,
        "settings": settings.to_json(),
        "samples": [{"messages": [message("user", "Would you like cake?")], "seed": 3}],
        "resume": False,
        "nice": 0,
    }
    return {**job, **changes}


def train(
    job_dir: Path, job: dict[str, Any], on_event: Callable[[Child, dict[str, Any]], None] | None = None, *, timeout_s: float = 120
) -> list[dict[str, Any]]:
    """Start the child, wait for its end, return all events of this folder; `on_event` may ask the child for something."""
    child = start_child("engine.training.run", job_dir, job)
    deadline, seen = time.monotonic() + timeout_s, 0
    try:
        while True:
            alive = child.is_alive
            for event in child.events(seen):
                seen = event["n"]
                if on_event is not None:
                    on_event(child, dict(event))
            if not alive:
                return [dict(event) for event in Child(job_dir).events()]
            assert time.monotonic() < deadline, "the child hangs"
            time.sleep(0.02)
    finally:
        child.kill()


def kinds(events: Sequence[dict[str, Any]]) -> list[str]:
    return [event["kind"] for event in events]


def curve(events: Sequence[dict[str, Any]], figure: str) -> list[float]:
    return [event[figure] for event in events if event["kind"] == "metrics" and figure in event]
