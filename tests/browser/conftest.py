"""Chromium and the started studio, for the tests in this folder.

Every page is watched: an uncaught error in a script, a request to another host, or an answer of 500 and above fails the test that
caused it. With TASTEMAKER_SCREENSHOTS=folder, `shot(page, name)` writes pictures there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Response, expect, sync_playwright

from tests.browser.studio import RunningStudio
from tests.browser.write_page import shorten_answers
from tests.starter import starter_models

pytestmark = pytest.mark.browser

NEW_PAGE_LIMIT_MS = 30_000
EXPECT_LIMIT_MS = 15_000
"""Generous: tests share two cores with a model that writes."""
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
QUIET += ["--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"]


def chromium_path() -> str | None:
    """The system's Chromium or Chrome; None when there is none."""
    return next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)


@pytest.fixture(scope="session")
def models_dir() -> Path:
    """A store with the starter models, fetched once and used by every test."""
    return starter_models()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests; each page gets a context of its own."""
    path = chromium_path()
    if path is None:
        pytest.skip("no Chromium on this machine")
    with sync_playwright() as playwright:
        expect.set_options(timeout=EXPECT_LIMIT_MS)
        chromium = playwright.chromium.launch(executable_path=path, args=QUIET)
        yield chromium
        chromium.close()


class Watch:
    """What pages did that no page may do."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def follow(self, context: BrowserContext) -> None:
        """Watch every page of the context."""
        context.on("request", lambda request: self._request(request.url))
        context.on("response", self._response)
        context.on("weberror", lambda error: self.problems.append(f"script error: {error.error}"))

    def _request(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.hostname not in ("127.0.0.1", "localhost"):
            self.problems.append(f"request to another host: {url}")

    def _response(self, response: Response) -> None:
        if response.status >= 500:
            self.problems.append(f"{response.status} from {response.url}")


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Fails the test at its end when a watched page did something it may not."""
    watching = Watch()
    yield watching
    assert not watching.problems


OpenPage = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, watch: Watch) -> Iterator[OpenPage]:
    """`open_page(url, locale="zh-CN", dark=True, phone=True)` → a page in a fresh context, loaded and usable.

    `max_new_tokens` keeps answers short: a context starts with that setting, as if it had been chosen before.
    """
    contexts: list[BrowserContext] = []

    def open_one(
        url: str,
        *,
        locale: str = "en-GB",
        dark: bool = False,
        phone: bool = False,
        max_new_tokens: int = 24,
        selector: str = "#prompt textarea",
    ) -> Page:
        context = browser.new_context(
            locale=locale,
            color_scheme="dark" if dark else "light",
            viewport={"width": 390, "height": 844} if phone else {"width": 1280, "height": 860},
            accept_downloads=True,
        )
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        context.set_default_timeout(NEW_PAGE_LIMIT_MS)
        contexts.append(context)
        shorten_answers(context, max_new_tokens)
        watch.follow(context)
        page = context.new_page()
        page.goto(url, wait_until="domcontentloaded")
        page.locator(selector).wait_for(state="visible")
        return page

    yield open_one
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Iterator[RunningStudio]:
    """One started studio for the tests of a module that do not stop it."""
    with RunningStudio(tmp_path_factory.mktemp("studio") / "data", models_dir) as running:
        yield running


@pytest.fixture
def shot() -> Callable[[Page, str], None]:
    """`shot(page, name)` writes a screenshot where TASTEMAKER_SCREENSHOTS says, or nowhere."""

    def take(page: Page, name: str) -> None:
        folder = os.environ.get("TASTEMAKER_SCREENSHOTS")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=Path(folder) / f"{name}.png")

    return take
