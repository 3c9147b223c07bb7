"""The Write page as a stopwatch: type a prompt, watch the answer grow inside the browser, say when each piece was there.

Knows the page's elem_ids; nothing of what it measures is measured from Python, so that the driver's own delay does not count.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass

from playwright.sync_api import Browser, Page, Playwright

QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
WRITE_LIMIT_MS = 900_000

RECORDER = """() => {
  window.seen = { first: 0, last: 0, changes: 0, longest_gap_ms: 0, from: performance.now() };
  if (window.seenObserver) window.seenObserver.disconnect();
  window.seenObserver = new MutationObserver(() => {
    const answer = [...document.querySelectorAll('#thread article .answer')].pop();
    const words = answer && !answer.querySelector('.th-wait') ? answer.textContent.trim() : '';
    if (!words || words.length === window.seen.length) return;
    const now = performance.now();
    if (window.seen.first) window.seen.longest_gap_ms = Math.max(window.seen.longest_gap_ms, now - window.seen.last);
    window.seen.first = window.seen.first || now;
    window.seen.first_length = window.seen.first_length || words.length;
    Object.assign(window.seen, { last: now, length: words.length, changes: window.seen.changes + 1 });
  });
  window.seenObserver.observe(document.getElementById('thread'), { subtree: true, childList: true, characterData: true });
}"""


@dataclass(frozen=True)
class Seen:
    """What a person saw of one answer."""

    first_s: float
    """From pressing Create to the first words."""
    grew_s: float
    """From the first words to the last change."""
    characters: int
    first_characters: int
    changes: int
    longest_gap_s: float


def chromium(playwright: Playwright) -> Browser:
    """The system's Chromium or Chrome, headless."""
    path = next(found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name)))
    return playwright.chromium.launch(executable_path=path, args=QUIET)


def open_write_page(playwright: Playwright, url: str) -> Page:
    """A new Chromium with the Write page, ready to type."""
    page = chromium(playwright).new_page()
    page.goto(url, wait_until="domcontentloaded")
    page.locator("#prompt textarea").wait_for()
    return page


def record(page: Page, prompt: str, **sampling: float) -> Seen:
    """Write one answer in a new conversation with these settings, and say how it came."""
    page.evaluate(f"localStorage.setItem('tastemaker:sampling', {json.dumps(json.dumps(sampling))})")
    page.goto(page.url.split("?")[0], wait_until="domcontentloaded")
    page.locator("#prompt textarea").fill(prompt)
    page.evaluate(RECORDER)
    page.evaluate("() => { window.seen.from = performance.now(); document.getElementById('create').click(); }")
    page.locator("#thread article .figures [data-action=reuse-seed]").wait_for(timeout=WRITE_LIMIT_MS)
    seen = page.evaluate("window.seen")
    return Seen(
        first_s=(seen["first"] - seen["from"]) / 1000,
        grew_s=(seen["last"] - seen["first"]) / 1000,
        characters=seen["length"],
        first_characters=seen["first_length"],
        changes=seen["changes"],
        longest_gap_s=seen["longest_gap_ms"] / 1000,
    )
