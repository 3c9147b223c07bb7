"""The Write page as a person uses it: type, create, wait, press what is under an answer.

Knows the page's elem_ids and data-… names; asserts nothing beyond "this becomes visible".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from playwright.sync_api import BrowserContext, Locator, Page, expect

WRITING_LIMIT_MS = 120_000
"""On two busy cores the starter model may write three tokens a second."""


def shorten_answers(context: BrowserContext, max_new_tokens: int) -> None:
    """Start every page of the context with this limit, as if it had been set and kept before."""
    values = json.dumps({"max_new_tokens": max_new_tokens})
    script = (
        f"if (!localStorage.getItem('tastemaker:sampling')) localStorage.setItem('tastemaker:sampling', JSON.stringify({values}))"
    )
    context.add_init_script(f"if (location.protocol === 'http:') {{ {script} }}")


class WritePage:
    """One open Write page."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.prompt = page.locator("#prompt textarea")
        self.stop = page.locator("#stop")
        self.create = page.locator("#create")
        self.answers = page.locator("#thread article.th-answer")
        self.candidates = page.locator("#thread article.candidate")
        self.conversations = page.locator("#conversations [data-conversation]")

    @property
    def last(self) -> Locator:
        """The newest answer's article."""
        return self.answers.last

    @property
    def conversation_id(self) -> str:
        """The one in the address, or ""."""
        found = re.search(r"[?&]c=([0-9a-f]+)", self.page.url)
        return found.group(1) if found else ""

    def send(self, text: str) -> None:
        """Type a prompt and press Create; returns when the answer is being written."""
        self.prompt.fill(text)
        self.create.click()
        expect(self.page.locator("#thread .th-prompt-text").last).to_have_text(text, use_inner_text=True)

    def write(self, text: str) -> str:
        """Send a prompt and wait for the whole answer; returns its text."""
        self.send(text)
        return self.wait_done()

    def watch_lengths(self) -> Callable[[], list[int]]:
        """From now on note each length, in characters, that the newest answer has on the page; gives what was noted so far."""
        self.page.evaluate(
            """() => {
                window.lengths = [];
                const note = () => {
                    const shown = [...document.querySelectorAll("#thread article.th-answer .answer")].at(-1);
                    const length = shown ? shown.innerText.length : 0;
                    if (length && length !== window.lengths.at(-1)) window.lengths.push(length);
                };
                new MutationObserver(note).observe(document.body, { subtree: true, childList: true, characterData: true });
            }"""
        )
        return lambda: list(self.page.evaluate("() => window.lengths"))

    def wait_text(self, answer: Locator | None = None) -> None:
        """Until the first words of the answer are there."""
        node = (answer or self.last).locator(".answer")
        expect(node.locator(".block, p").filter(has_text=re.compile(r"\w")).first).to_be_visible(timeout=WRITING_LIMIT_MS)
        expect(node.locator(".th-wait")).to_have_count(0, timeout=WRITING_LIMIT_MS)

    def wait_done(self) -> str:
        """Until nothing is being written in this conversation; returns the newest answer's text."""
        expect(self.page.locator("#thread [data-status=queued], #thread [data-status=running]")).to_have_count(
            0, timeout=WRITING_LIMIT_MS
        )
        expect(self.stop).to_be_hidden()
        return self.text() if self.answers.count() else ""

    def text(self, answer: Locator | None = None) -> str:
        """The text of an answer, the newest one's if none is given."""
        return (answer or self.last).locator(".answer").inner_text().strip()

    def leave_box(self) -> None:
        """Take the focus out of every text box, so that keys act on the page."""
        self.page.evaluate("document.activeElement.blur()")

    def press(self, action: str, answer: Locator | None = None) -> None:
        """Press one of the buttons under an answer."""
        (answer or self.last).locator(f"[data-action={action}]").click()

    def again(self, action: str) -> str:
        """Press a button that makes another version of the newest answer, and wait for the whole of it; returns its text."""
        before = self.last.get_attribute("data-creation") or ""
        self.press(action)
        expect(self.last).not_to_have_attribute("data-creation", before)
        return self.wait_done()

    def version(self) -> str:
        """What stands between the arrows of the newest answer, such as "2/3"."""
        return self.last.locator(".versions span").inner_text()

    def expect_version(self, text: str) -> None:
        """Until the arrows of the newest answer say this."""
        expect(self.last.locator(".versions span")).to_have_text(text)
