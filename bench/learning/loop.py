"""The loop over the API: candidates → picks → training → blind test → promotion, with the seconds of each part.

Knows gradio_client and docs/api.md; knows no rule beyond the rater it is given, and nothing of how the studio learns.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gradio_client import Client

from bench.learning.rater import Rater

CANDIDATES = 3
POLL_S = 1.0
FINAL = ("done", "failed", "cancelled", "interrupted")


@dataclass
class Candidates:
    """What the base model wrote for one prompt, before anybody rated anything."""

    prompt: str
    creation_ids: list[str]
    texts: list[str]


@dataclass
class Outcome:
    """What came of one rater's round."""

    rater: str
    kind: str
    is_dev: bool
    picks: int
    result: dict[str, Any]
    metrics: dict[str, Any]
    train_s: float
    test_s: float
    promoted: str
    matches: list[dict[str, str]] = field(default_factory=list)

    @property
    def loop_s(self) -> float:
        """Seconds from the last rating to the promoted adapter."""
        return self.train_s + self.test_s


def write_candidates(client: Client, prompts: Sequence[str], max_new_tokens: int) -> list[Candidates]:
    """Let the base model answer every prompt CANDIDATES times."""
    made = []
    for number, prompt in enumerate(prompts):
        options = {"n": CANDIDATES, "adapter": "base", "seed": 1000 * number, "max_new_tokens": max_new_tokens}
        answer = client.predict(prompt, options, api_name="/write")
        made.append(Candidates(prompt, answer["creation_ids"], answer["texts"]))
        print(f"\r{number + 1} of {len(prompts)} prompts answered", end="", flush=True)
    print()
    return made


def rate(client: Client, rater: Rater, candidates: Sequence[Candidates], seed: int) -> int:
    """Pick the best of each prompt's candidates; returns how many picks there were something to say about."""
    draw, picks = random.Random(seed), 0
    for made in candidates:
        best = rater.pick(made.prompt, made.texts, draw)
        if best is None:
            continue
        others = [id_ for index, id_ in enumerate(made.creation_ids) if index != best and made.texts[index] != made.texts[best]]
        client.predict(made.creation_ids[best], others, None, api_name="/prefer")
        picks += 1
    return picks


def train(client: Client, preset: str) -> tuple[str, dict[str, Any]]:
    """Train on everything rated; (adapter id, newest metrics). Raises SystemExit with the run's own words when it fails."""
    run_id = client.predict({"preset": preset}, api_name="/train")["run_id"]
    run = follow(client, run_id)
    if run["status"] != "done" or not run["adapter_id"]:
        raise SystemExit(f"training ended as {run['status']}: {run['error']}")
    return run["adapter_id"], run["metrics"]


def blind_test(
    client: Client, rater: Rater, adapter_id: str, prompts: Sequence[str], seed: int
) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """Vote on every match; (the result, the matches as they were seen)."""
    options = {"against": "base", "prompts": list(prompts), "n": len(prompts), "seed": seed}
    run_id = client.predict(adapter_id, options, api_name="/evaluate")["run_id"]
    seen: list[dict[str, str]] = []
    while True:
        shown = client.predict(run_id, api_name="/match")
        if shown["match_id"] is None:
            run = client.predict(run_id, api_name="/run")
            if run["status"] in FINAL:
                # What became ready between the two questions is still there.
                if run["status"] != "done":
                    raise SystemExit(f"the blind test ended as {run['status']}: {run['error']}")
                if client.predict(run_id, api_name="/match")["match_id"] is None:
                    return client.predict(run_id, api_name="/run")["result"], seen
            time.sleep(POLL_S)
            continue
        choice = rater.vote(shown["prompt"], shown["left"], shown["right"])
        client.predict(shown["match_id"], choice, api_name="/vote")
        seen.append({"prompt": shown["prompt"], "left": shown["left"], "right": shown["right"], "choice": choice})


def follow(client: Client, job_id: str) -> dict[str, Any]:
    """The job's last state, once it has one."""
    while (run := client.predict(job_id, api_name="/run"))["status"] not in FINAL:
        time.sleep(POLL_S)
    return run


def whole_loop(client: Client, rater: Rater, candidates: Sequence[Candidates], prompts: Sequence[str], preset: str) -> Outcome:
    """Rate, train, test, and promote when the gate passes."""
    picks = rate(client, rater, candidates, seed=1)
    started = time.monotonic()
    adapter_id, metrics = train(client, preset)
    trained = time.monotonic()
    result, matches = blind_test(client, rater, adapter_id, prompts, seed=2)
    promoted = "base"
    if result["gate"]["pass"]:
        promoted = client.predict(adapter_id, None, api_name="/promote")["promoted"]
    ended = time.monotonic()
    return Outcome(
        rater=rater.name,
        kind=rater.kind,
        is_dev=rater.is_dev,
        picks=picks,
        result=result,
        metrics=metrics,
        train_s=trained - started,
        test_s=ended - trained,
        promoted=promoted,
        matches=matches,
    )
