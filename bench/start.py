"""How long a start takes, from `python launch.py` to the ready line, and from there to the first token of the first answer.

    python -m bench.start [--runs 5]

Each run is a new process on a warm model store and a data folder that has been used before; one more run first warms the disk.
Knows the command line and /write; knows nothing of what happens inside.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gradio_client import Client

from tests.browser.studio import ROOT, RunningStudio
from tests.starter import starter_models

PROMPT = "Write one sentence about the sea."


def first_token_s(client: Client) -> float:
    """Seconds from sending a prompt until the first text has arrived; the rest of the answer is awaited."""
    started, first = time.monotonic(), None
    for update in client.submit(PROMPT, {"max_new_tokens": 12, "seed": 1}, api_name="/write"):
        if first is None and any(update["texts"]):
            first = time.monotonic() - started
    if first is None:
        raise SystemExit("no text came")
    return first


def import_s(module: str) -> float:
    """Seconds a fresh interpreter takes to import `module`."""
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", f"import {module}"], cwd=ROOT, check=True)
    return time.monotonic() - started


def main() -> None:
    """Run and print the medians."""
    parser = argparse.ArgumentParser(description="start-up times")
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    models = starter_models()
    ready, first, second, after_ready = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(runs + 1):
            with RunningStudio(Path(folder) / "data", models) as studio:
                since_ready = time.monotonic()
                client = Client(studio.url, verbose=False)
                connected = time.monotonic()
                figures = studio.ready_after_s, first_token_s(client), first_token_s(client)
                if number:
                    ready.append(figures[0])
                    first.append(figures[1])
                    after_ready.append(connected - since_ready + figures[1])
                    second.append(figures[2])
            print(
                f"run {number}: ready {figures[0]:.2f} s, first token {figures[1]:.2f} s, second answer's {figures[2]:.2f} s",
                flush=True,
            )
    imports = [import_s("ui.app") for _ in range(runs)]
    for name, values in (
        ("launch.py to the ready line", ready),
        ("ready line to the first token (with connecting)", after_ready),
        ("first prompt to its first token", first),
        ("second prompt to its first token", second),
        ("python -c 'import ui.app'", imports),
    ):
        print(
            f"{name:<50} median {statistics.median(values):.2f} s  ({min(values):.2f} to {max(values):.2f}, {len(values)} runs)"
        )


if __name__ == "__main__":
    main()
