"""Chatting while something trains: decode speed and first token through /write, with a training at work and without one.

    python -m bench.chat_while_training [--runs 5] [--tokens 120]

Quiet answers come before and after those during the training, so that other load hits both alike. Before each answer the training
must have taken a step since the last one: what is measured is a training that really works and gives way. Knows the API only.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from gradio_client import Client, handle_file

from tests.browser.studio import RunningStudio
from tests.starter import starter_models

PROMPT = "Tell a long and detailed story about a lighthouse keeper, his dog, and the winter storm that changed everything."
SUBJECTS = (
    "a bakery", "a bookshop", "a barber", "a florist", "a cinema", "a museum", "a garage", "a tailor", "a brewery", "a gallery",
    "a bistro", "a pharmacy", "a ferry", "a lighthouse", "a library", "a school", "a garden", "a circus", "a hotel", "a farm",
)  # fmt: skip
LONG = {"preset": "careful", "recipe": "dpo", "settings": {"epochs": 50.0, "patience": 100, "eval_steps": 100_000}}
"""A training that does not end by itself while it is measured, and does nothing but learn."""
PATIENCE_S = 300.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer as its reader sees it."""

    first_token_s: float
    tokens_per_s: float


def pairs() -> str:
    """Preferences as TRL rows: the shorter answer wins."""
    rows = [
        {
            "prompt": f"Write a tagline for {subject}.",
            "chosen": f"Come in: {subject} like no other!",
            "rejected": f"This is {subject}. It is open every day, and it has everything that one may expect of {subject} here.",
        }
        for subject in SUBJECTS
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


def chat(client: Client, tokens: int, seed: int) -> Answer:
    """Write one answer. The first token counts from the click."""
    clicked = time.monotonic()
    first = last = 0.0
    before = count = 0
    for update in client.submit(PROMPT, {"max_new_tokens": tokens, "seed": seed, "temperature": 0.0}, api_name="/write"):
        if update["tokens"][0] and not first:
            first, before = time.monotonic(), update["tokens"][0]
        if update["tokens"][0] != count:
            count, last = update["tokens"][0], time.monotonic()
    return Answer(first - clicked, (count - before) / (last - first))


def wait_for_step(client: Client, run_id: str, step: int) -> int:
    """Wait until the training has gone past `step`; where it is then."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        state = client.predict(run_id, api_name="/run")
        if state["error"]:
            raise SystemExit(f"the training ended: {state['error']}")
        reached = int(state["step"] or 0) if state["phase"] == "train" else 0
        if reached > step:
            return reached
        time.sleep(0.2)
    raise SystemExit("the training takes no steps")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description="chat while training")
    parser.add_argument("--runs", type=int, default=5, help="answers during the training, and as many without")
    parser.add_argument("--tokens", type=int, default=120)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, RunningStudio(Path(folder) / "data", starter_models()) as studio:
        client = Client(studio.url, verbose=False, httpx_kwargs={"timeout": PATIENCE_S})
        rows = Path(folder) / "pairs.jsonl"
        rows.write_text(pairs(), encoding="utf-8")
        client.predict(handle_file(str(rows)), None, api_name="/import")
        chat(client, arguments.tokens, 0)  # loads the model
        quiet = [chat(client, arguments.tokens, seed) for seed in range(arguments.runs // 2)]
        run_id = client.predict(LONG, api_name="/train")["run_id"]
        step, busy = wait_for_step(client, run_id, 0), []
        for seed in range(arguments.runs):
            busy.append(chat(client, arguments.tokens, seed))
            step = wait_for_step(client, run_id, step)
        client.predict(run_id, api_name="/cancel")
        while client.predict(run_id, api_name="/run")["status"] == "running":
            time.sleep(0.2)
        quiet += [chat(client, arguments.tokens, seed) for seed in range(arguments.runs // 2, arguments.runs)]
    show("no training", quiet)
    show(f"training ({step} steps)", busy)
    speed = statistics.median(a.tokens_per_s for a in busy) / statistics.median(a.tokens_per_s for a in quiet)
    later_s = statistics.median(a.first_token_s for a in busy) - statistics.median(a.first_token_s for a in quiet)
    worst_s = max(a.first_token_s for a in busy) - statistics.median(a.first_token_s for a in quiet)
    print(f"decode during training: {speed:.2f} of without; first token {later_s:.2f} s later, at worst {worst_s:.2f} s later")


def show(name: str, answers: list[Answer]) -> None:
    """One line of medians."""
    speed = statistics.median(answer.tokens_per_s for answer in answers)
    first_s = statistics.median(answer.first_token_s for answer in answers)
    print(f"{name:<22} {speed:6.2f} tokens/s, first token after {first_s:.2f} s")


if __name__ == "__main__":
    main()
