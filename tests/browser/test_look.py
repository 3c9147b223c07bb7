"""How it looks: dark and light, English and Chinese, wide and phone. Pictures go where TASTEMAKER_SCREENSHOTS says."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.studio import RunningStudio
from tests.browser.write_page import WritePage

pytestmark = [pytest.mark.browser, pytest.mark.integration]
Shot = Callable[[Page, str], None]
PAGES = {
    "write": "#prompt textarea",
    "images": "#image-prompt textarea",
    "summarize": "#summary-text",
    "library": "#library-search input",
    "train": "#train h1",
    "arena": "#arena h1",
    "models": "#models",
    "settings": "#settings",
}
CJK = "[\u4e00-\u9fff]"


def assert_fits(page: Page) -> None:
    """Nothing sticks out to the right: the page itself never scrolls sideways."""
    sideways = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert sideways <= 0, f"{sideways} px too wide"


@pytest.fixture(scope="module")
def conversation(studio: RunningStudio) -> dict[str, str]:
    return {}


@pytest.fixture
def address(studio: RunningStudio, open_page: OpenPage, conversation: dict[str, str]) -> str:
    """A conversation to look at: an answer with versions and a rating."""
    if not conversation:
        write = WritePage(open_page(studio.url, max_new_tokens=90))
        write.write("Write a short product description for a raincoat.")
        write.again("regenerate")
        write.last.locator(".rate [data-score='1']").click()
        expect(write.last.locator(".rate-effect")).to_be_visible()
        conversation["id"] = write.conversation_id
    return f"?c={conversation['id']}"


@pytest.mark.parametrize("phone", [False, True], ids=["wide", "phone"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])
@pytest.mark.parametrize("name", list(PAGES))
def test_page(
    studio: RunningStudio, open_page: OpenPage, address: str, shot: Shot, name: str, locale: str, dark: bool, phone: bool
) -> None:
    query = address if name == "write" else f"?tab={name}"
    page = open_page(f"{studio.url}/{query}", locale=locale, dark=dark, phone=phone, selector=PAGES[name])
    language = "zh" if locale.startswith("zh") else "en"
    assert ("/zh" in page.url) == (language == "zh")
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN" if language == "zh" else "en")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark" if dark else "light")
    tab = page.locator(f"[role=tab][data-tab={name}]")
    expect(tab).to_have_attribute("aria-selected", "true")
    if name == "write":
        expect(page.locator("#thread article .answer")).to_be_visible()
    page.wait_for_timeout(400)
    assert_fits(page)
    assert "Gradio" not in page.locator("body").inner_text()
    shown = page.locator(f"#page-{name}").inner_text()
    assert (len(re.findall(CJK, shown)) > 10) == (language == "zh")
    assert not re.search(
        r"\b(write|images|summarize|library|train|arena|models|settings|frame|rating|error)\.[a-z_]+\b", shown
    ), "a word is missing"
    shot(page, f"{name}-{language}-{'dark' if dark else 'light'}-{'phone' if phone else 'wide'}")


def test_an_empty_studio_says_what_to_do(studio: RunningStudio, open_page: OpenPage, shot: Shot) -> None:
    page = open_page(studio.url)
    expect(page.locator(".th-empty")).to_be_visible()
    assert page.locator(".th-starter").count() >= 6
    shot(page, "write-empty")
    page.locator(".th-starter").first.click()
    assert len(page.locator("#prompt textarea").input_value()) > 10
    page.locator("#templates").click()
    expect(page.locator("dialog [data-template]").first).to_be_visible()
    shot(page, "templates")


def test_theme_and_language_are_kept(studio: RunningStudio, open_page: OpenPage) -> None:
    page = open_page(studio.url)
    page.locator("#theme").click()  # auto → light
    page.locator("#theme").click()  # → dark
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.reload(wait_until="domcontentloaded")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.locator("#theme").click()
    page.locator("#language").click()
    page.wait_for_url("**/zh/**")
    expect(page.locator("#create")).to_contain_text("\u521b\u4f5c")
    page.locator("#language").click()
    expect(page.locator("html")).to_have_attribute("lang", "en")


def test_keys_move_between_pages_and_show_themselves(studio: RunningStudio, open_page: OpenPage) -> None:
    page = open_page(studio.url)
    page.locator("[role=tab][data-tab=write]").focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator("[role=tab][data-tab=images]")).to_have_attribute("aria-selected", "true")
    page.keyboard.press("?")
    expect(page.locator("dialog .tm-keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)
