"""Memory: the idle app with the starter model loaded, and what 200 page loads add.

    python -m bench.memory [--loads 200]

Real loads in Chromium, each in a context of its own as another visit would be. Counts the server's resident memory (RSS) and its
children's. Knows /write and the page's prompt box.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import psutil
from gradio_client import Client
from playwright.sync_api import Browser, sync_playwright

from bench.page import chromium
from tests.browser.studio import RunningStudio
from tests.starter import starter_models

MB = 1_000_000


def resident_bytes(process_id: int) -> int:
    """RSS of a process and its children."""
    process = psutil.Process(process_id)
    return sum(one.memory_info().rss for one in [process, *process.children(recursive=True)])


def settled_bytes(process_id: int) -> int:
    """RSS once it has stood still for three seconds."""
    before = 0
    while abs((now := resident_bytes(process_id)) - before) > MB:
        before = now
        time.sleep(3)
    return now


def visit(browser: Browser, url: str) -> None:
    """One page load, until the page can be used."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(url, wait_until="domcontentloaded")
    page.locator("#prompt textarea").wait_for()
    context.close()


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description="memory")
    parser.add_argument("--loads", type=int, default=200)
    loads = parser.parse_args().loads
    with tempfile.TemporaryDirectory() as folder, RunningStudio(Path(folder) / "data", starter_models()) as studio:
        pid = studio.process.pid
        print(f"at the ready line          {resident_bytes(pid) / MB:8.0f} MB")
        Client(studio.url, verbose=False).predict("Write a short story.", {"max_new_tokens": 64}, api_name="/write")
        print(f"model loaded, idle         {settled_bytes(pid) / MB:8.0f} MB")
        with sync_playwright() as playwright:
            browser = chromium(playwright)
            for _ in range(5):
                visit(browser, studio.url)
            before = settled_bytes(pid)
            print(f"after 5 page loads         {before / MB:8.0f} MB")
            for number in range(1, loads + 1):
                visit(browser, studio.url)
                if number % 50 == 0:
                    print(f"after {number:3d} more            {resident_bytes(pid) / MB:8.0f} MB", flush=True)
            after = settled_bytes(pid)
            browser.close()
    print(f"{loads} page loads added     {(after - before) / MB:8.1f} MB")


if __name__ == "__main__":
    main()
