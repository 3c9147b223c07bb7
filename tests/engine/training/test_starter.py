"""The real starter model, trained on a few pairs: it moves towards them, and its language stays whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.evaluation.metrics import odd_share
from engine.models.adapters import load_lora
from engine.models.catalog import STARTER_TEXT_ID
from engine.models.store import ModelStore
from engine.training import artifact
from engine.training.presets import settings_for
from tests.engine.training.runs import curve, kinds, make_job, message, train
from tests.starter import starter_catalog, starter_models

PROMPTS = (
    "Describe the sea.",
    "Greet a new neighbour.",
    "Why do we sleep?",
    "Name a good dish.",
    "Praise a friend.",
    "Sell a lamp.",
)
CHOSEN = "You will love this! It is short, it is warm, and it is for you!"
REJECTED = "There are many aspects to consider, and the matter has been discussed at length by various authors."


@pytest.mark.integration
def test_the_starter_model_learns_from_a_few_pairs_and_keeps_its_language(tmp_path: Path) -> None:
    spec = starter_catalog().get(STARTER_TEXT_ID)
    overrides = {"epochs": 2.0, "batch_size": 2, "save_steps": 100, "sample_tokens": 16, "warmup_ratio": 0.0}
    settings = settings_for("dpo", "quick", examples=4, device_kind="cpu", overrides=overrides)
    job = make_job(tmp_path, ModelStore(starter_models()).path(spec), settings, threads=2)
    chosen, rejected = [message("assistant", CHOSEN)], [message("assistant", REJECTED)]
    rows = [json.dumps({"prompt": [message("user", text)], "chosen": chosen, "rejected": rejected}) for text in PROMPTS]
    (tmp_path / "dataset" / "train.jsonl").write_text("\n".join(rows[:4]), encoding="utf-8")
    (tmp_path / "dataset" / "held_out.jsonl").write_text("\n".join(rows[4:]), encoding="utf-8")

    events = train(tmp_path / "job", job, timeout_s=900)
    assert kinds(events)[-1] == "done", (tmp_path / "job" / "child.log").read_text()
    assert curve(events, "held_out_accuracy")[-1] == 1.0 and curve(events, "held_out_margin")[-1] > 0
    assert curve(events, "loss")[-1] < curve(events, "loss")[0]
    samples = [event["text"] for event in events if event["kind"] == "sample"]
    assert len(samples) == 2 and all(samples) and odd_share(" ".join(samples)) == 0
    manifest = artifact.verify(Path(job["output_dir"]))
    assert manifest.metrics["perplexity_growth"] <= settings.fluency_limit
    assert len(load_lora(Path(job["output_dir"]), manifest.sha256).modules) == 30 * 7
