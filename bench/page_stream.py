"""Whether the page keeps up: 2,000 streamed tokens in Chromium from a model that is fast, against the same stream read bare.

    python -m bench.page_stream [--tokens 2000] [--delay-ms 5]

The model is a small local server of OpenAI's kind that streams a word every few milliseconds, many times what the starter model
writes. Knows that server, the services and the page's elem_ids.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import httpx
from playwright.sync_api import sync_playwright

from bench.page import open_write_page, record
from engine.bootstrap import build_studio
from engine.settings import Settings
from storage.records import LOCAL_OWNER
from tests.browser.studio import RunningStudio
from tests.openai_server import KEY, OpenAIServer
from tests.starter import starter_models


def bare_s(server: OpenAIServer, tokens: int) -> float:
    """Seconds the server's stream takes for a reader that does nothing with it, from its first word to its last."""
    body = {"model": "counting", "stream": True, "max_tokens": tokens, "messages": [{"role": "user", "content": "count"}]}
    first = last = 0.0
    headers = {"authorization": f"Bearer {KEY}"}
    with httpx.stream("POST", f"{server.url}/chat/completions", json=body, headers=headers, timeout=120) as answer:
        for line in answer.iter_lines():
            if '"content"' in line:
                last = time.monotonic()
                first = first or last
    return last - first


def use_server(data_dir: Path, models_dir: Path, server: OpenAIServer) -> None:
    """Make the server the default text model of a data folder that nothing serves yet."""
    settings = Settings(data_dir=data_dir, models_dir=models_dir, offline=True, no_browser=True)
    studio = build_studio(settings)
    try:
        card = studio.models.add_server(LOCAL_OWNER, "counting", server.url, "counting", KEY)
        studio.models.set_default(LOCAL_OWNER, "text", card.id)
    finally:
        studio.close()


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description="streaming in the page")
    parser.add_argument("--tokens", type=int, default=2000)
    parser.add_argument("--delay-ms", type=float, default=5.0)
    arguments = parser.parse_args()
    models = starter_models()
    with tempfile.TemporaryDirectory() as folder, OpenAIServer(delay_s=arguments.delay_ms / 1000) as server:
        data_dir = Path(folder) / "data"
        use_server(data_dir, models, server)
        with RunningStudio(data_dir, models) as studio, sync_playwright() as playwright:
            page = open_write_page(playwright, studio.url)
            record(page, "Count a little.", max_new_tokens=50)  # the first answer loads what later ones need
            bare = [bare_s(server, arguments.tokens)]
            seen = record(page, "Count.", max_new_tokens=arguments.tokens)
            bare.append(bare_s(server, arguments.tokens))
    model_s = sum(bare) / 2
    print(f"bare stream {bare[0]:.2f} and {bare[1]:.2f} s, {arguments.tokens / model_s:.0f} tokens/s")
    print(f"page        {seen.grew_s:.2f} s from the first words to the last; first words after {seen.first_s:.2f} s")
    print(f"            {seen.changes / seen.grew_s:.1f} changes a second, the longest pause {seen.longest_gap_s:.2f} s")
    print(f"page's speed is {model_s / seen.grew_s:.3f} of the bare stream's")


if __name__ == "__main__":
    main()
