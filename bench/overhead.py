"""What the studio itself costs: tokens per second through /write and through the page, against the same backend called directly.

    python -m bench.overhead [--runs 3] [--tokens 200]

The three take turns in one run, greedy and with one prompt: all write the same text, and other load hits all alike.
Speeds are measured from outside, from the first text seen to the last. Knows the text backend, /write and the page's elem_ids.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from gradio_client import Client
from playwright.sync_api import Page, sync_playwright

from bench.page import open_write_page, record
from engine.jobs.job import CancelToken
from engine.text.model import GenerateRequest, Message, Sampling, TextModel
from tests.browser.studio import RunningStudio
from tests.starter import starter_models, starter_text_model

PROMPT = "Tell a long and detailed story about a lighthouse keeper, his dog, and the winter storm that changed everything."

GREEDY = {"temperature": 0.0, "top_p": 1.0, "top_k": 0, "repetition_penalty": 1.1}


def direct(model: TextModel, tokens: int) -> float:
    """Tokens per second of the backend, from its first token to its last."""
    sampling = Sampling(**GREEDY, max_new_tokens=tokens)
    first = last = 0.0
    count = 0
    for event in model.generate(GenerateRequest((Message("user", PROMPT),), sampling, (1,)), CancelToken()):
        if event.tokens and not first:
            first = time.monotonic()
        count, last = event.tokens, time.monotonic()
    return (count - 1) / (last - first)


def through_api(client: Client, tokens: int) -> tuple[float, int]:
    """Tokens per second through /write, from the first update with text to the last one, and how many tokens there were."""
    first = last = 0.0
    before = count = 0
    for update in client.submit(PROMPT, {**GREEDY, "max_new_tokens": tokens, "seed": 1}, api_name="/write"):
        if update["tokens"][0] and not first:
            first, before = time.monotonic(), update["tokens"][0]
        if update["tokens"][0] != count:
            count, last = update["tokens"][0], time.monotonic()
    return (count - before) / (last - first), count


def through_page(page: Page, tokens: int, written: int) -> float:
    """Tokens per second that a person sees, from the first words on the page to the last; `written` tokens make up the answer."""
    seen = record(page, PROMPT, **GREEDY, max_new_tokens=tokens)
    return written * (1 - seen.first_characters / seen.characters) / seen.grew_s


def main() -> None:
    """Run and print the speeds and their ratios to the direct call."""
    parser = argparse.ArgumentParser(description="the studio's own cost")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=200)
    arguments = parser.parse_args()
    models = starter_models()
    model = starter_text_model()
    speeds: dict[str, list[float]] = {"direct": [], "/write": [], "page": []}
    with (
        tempfile.TemporaryDirectory() as folder,
        RunningStudio(Path(folder) / "data", models) as studio,
        sync_playwright() as playwright,
    ):
        client, page = Client(studio.url, verbose=False), open_write_page(playwright, studio.url)
        for number in range(arguments.runs + 1):  # the first round only warms up
            api_speed, written = through_api(client, arguments.tokens)
            figures = {
                "direct": direct(model, arguments.tokens),
                "/write": api_speed,
                "page": through_page(page, arguments.tokens, written),
            }
            for name, speed in figures.items():
                if number:
                    speeds[name].append(speed)
                print(f"run {number}: {name:<7} {speed:6.2f} tokens/s", flush=True)
    base = statistics.median(speeds["direct"])
    for name, values in speeds.items():
        print(f"{name:<7} median {statistics.median(values):6.2f} tokens/s, {statistics.median(values) / base:.3f} of direct")


if __name__ == "__main__":
    main()
