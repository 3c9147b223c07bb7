"""Training throughput against the same TRL recipe run by hand: `python -m bench.training [--rows 24] [--rounds 3]`.

    ours      engine.training.run, as the studio starts it: with its monitor, pauses and checkpoints
    by hand   a script of a page: TRL's DPOTrainer with PEFT, the same model, rows, settings and threads

Both train the starter model on the same pairs, each in a process of its own, turn about. The figure is rows per second from the
first step to the last (looks at held-out rows, which the script has none of, left out), ours divided by the script's; "whole" is
the same for everything from the start of the process, reference and imports included.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from engine.device import physical_cores
from engine.jobs.process import start_child
from engine.models.catalog import STARTER_TEXT_ID
from engine.models.store import ModelStore
from engine.training.presets import settings_for
from engine.training.samples import NEUTRAL
from tests.starter import starter_catalog, starter_models

HAND = """
import json, sys, time
started = time.monotonic()
job = json.load(open(sys.argv[1]))
import torch
from datasets import load_dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer
torch.set_num_threads(job["threads"])
s = job["settings"]
tokenizer = AutoTokenizer.from_pretrained(job["model_dir"])
tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
model = AutoModelForCausalLM.from_pretrained(job["model_dir"], dtype=torch.float32)
trainer = DPOTrainer(
    model=model,
    args=DPOConfig(
        output_dir=job["hand_dir"], per_device_train_batch_size=s["batch_size"], max_steps=job["steps"],
        learning_rate=s["learning_rate"], beta=s["beta"], loss_type=["sigmoid", "sft"], loss_weights=[1.0, s["sft_weight"]],
        precompute_ref_log_probs=True, bf16=False, use_cpu=True, gradient_checkpointing=False, save_strategy="no",
        max_length=s["max_length"], logging_steps=1, report_to=[], disable_tqdm=True,
    ),
    train_dataset=load_dataset("json", data_files=job["dataset_dir"] + "/train.jsonl", split="train"),
    processing_class=tokenizer,
    peft_config=LoraConfig(r=s["lora_rank"], lora_alpha=s["lora_alpha"], target_modules="all-linear", task_type="CAUSAL_LM"),
)
begun = time.monotonic()
trainer.train()
ended = time.monotonic()
print(json.dumps({"train_s": ended - begun, "whole_s": ended - started}))
"""


def write_pairs(folder: Path, rows: int) -> None:
    """Pairs of the lengths that ratings have: a prompt of a sentence, answers of 20 to 90 words."""
    folder.mkdir()
    texts = [text.split() for text in json.loads(NEUTRAL.read_text(encoding="utf-8"))["en"]]
    with (folder / "train.jsonl").open("w", encoding="utf-8") as file:
        for number in range(rows):
            one, other = texts[number % len(texts)], texts[(number + 1) % len(texts)]
            answers = [" ".join((one + other)[: 20 + (number * step) % 70]) + "." for step in (17, 29)]
            chosen, rejected = ([{"role": "assistant", "content": answer}] for answer in answers)
            prompt = [{"role": "user", "content": f"Write something about {' '.join(other[3:8])}, in your own words, please."}]
            file.write(json.dumps({"prompt": prompt, "chosen": chosen, "rejected": rejected}) + "\n")


def ours(root: Path, job: dict[str, Any]) -> dict[str, float]:
    """Seconds of our child: {"train_s", "whole_s"}."""
    started = time.time()
    child = start_child("engine.training.run", root / "job", {**job, "output_dir": str(root / "adapters" / "a")})
    try:
        while child.is_alive:
            time.sleep(0.1)
    finally:
        child.kill()
    events = child.events()
    if events[-1]["kind"] != "done":
        raise SystemExit(f"our run ended with {events[-1]}; see {root / 'job' / 'child.log'}")
    begun = next(event["t"] for event in events if event["kind"] == "phase" and event["phase"] == "train")
    ended = max(event["t"] for event in events if event["kind"] == "metrics" and "loss" in event)
    return {"train_s": ended - begun, "whole_s": ended - started}


def by_hand(root: Path, job: dict[str, Any]) -> dict[str, float]:
    """Seconds of the script: {"train_s", "whole_s"}."""
    path = root / "hand.json"
    path.write_text(json.dumps({**job, "hand_dir": str(root / "hand")}), encoding="utf-8")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_DATASETS_CACHE": str(root / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", HAND, str(path)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
        text=True,
    )
    return json.loads(done.stdout.strip().splitlines()[-1])  # type: ignore[no-any-return]


def main() -> None:
    """Run the rounds, print seconds of each and the ratio of their medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    spec = starter_catalog().get(STARTER_TEXT_ID)
    model_dir = ModelStore(starter_models()).path(spec)
    overrides = {"epochs": 1.0, "eval_steps": 100_000, "save_steps": 100_000}
    settings = settings_for("dpo", "quick", examples=chosen.rows, device_kind="cpu", overrides=overrides)
    figures: dict[str, list[dict[str, float]]] = {"ours": [], "by hand": []}
    for number in range(chosen.rounds):
        for name, measure in (("ours", ours), ("by hand", by_hand)):
            with tempfile.TemporaryDirectory() as folder:
                root = Path(folder)
                write_pairs(root / "dataset", chosen.rows)
                job = {
                    "run_id": "bench",
                    "adapter_id": "a",
                    "task": "text",
                    "recipe": "dpo",
                    "model_dir": str(model_dir),
                    "base_model_id": spec.id,
                    "base_sha256": "",
                    "dataset_dir": str(root / "dataset"),
                    "dataset_sha256": "",
                    "device": "cpu",
                    "threads": physical_cores(),
                    "settings": settings.to_json(),
                    "samples": [],
                    "resume": False,
                    "nice": 0,
                    "steps": -(-chosen.rows // settings.batch_size),
                }
                seconds = measure(root, job)
            figures[name].append(seconds)
            print(f"{number + 1}. {name:8} train {seconds['train_s']:6.1f} s   whole {seconds['whole_s']:6.1f} s", flush=True)
    for part in ("train_s", "whole_s"):
        times = {name: statistics.median(row[part] for row in rows) for name, rows in figures.items()}
        rates = {name: chosen.rows / seconds for name, seconds in times.items()}
        ratio = rates["ours"] / rates["by hand"]
        print(f"{part[:-2]:6} ours {rates['ours']:.2f} rows/s, by hand {rates['by hand']:.2f} rows/s: {ratio:.2f}")


if __name__ == "__main__":
    main()
