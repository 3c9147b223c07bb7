"""The Library in a real browser: import, search in English and Chinese, open, rate, tag, bin and back, restore to Write."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.studio import RunningStudio

pytestmark = [pytest.mark.browser]
ROWS = [
    {"prompt": "Write about a lighthouse", "completion": "The lighthouse keeper counted waves.", "label": True},
    {"prompt": "Write about a bakery", "completion": "Warm bread at five in the morning.", "label": False},
    {"prompt": "写一句关于猫咪的话", "completion": "猫咪在窗台上睡着了。", "label": True},
    {"prompt": "写一句关于春天的话", "completion": "春天来了，花都开了。", "label": False},
]


def import_rows(page: Page, tmp_path: Path, rows: list[dict[str, object]]) -> None:
    """Through the Library's own dialog, as a person would."""
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    page.locator("#library-import").click()
    page.locator("#library-import-file").set_input_files(file)
    expect(page.locator(".lib-report")).to_contain_text(str(len(rows)))
    page.keyboard.press("Escape")
    expect(page.locator("dialog[open]")).to_have_count(0)


@pytest.fixture(scope="module")
def rows_are_in(studio: RunningStudio) -> set[str]:
    return set()


@pytest.fixture
def library(studio: RunningStudio, open_page: OpenPage, tmp_path: Path, rows_are_in: set[str]) -> Page:
    page = open_page(studio.url + "/?tab=library", selector="#library-search input")
    if not rows_are_in:
        import_rows(page, tmp_path, ROWS)
        rows_are_in.add("done")
    expect(page.locator("#library-list article")).to_have_count(len(ROWS))
    return page


def search(page: Page, text: str) -> None:
    page.locator("#library-search input").fill(text)


@pytest.mark.parametrize(
    ("query", "found"),
    [("lighthouse", 1), ("bread", 1), ("猫咪", 1), ("春天", 1), ("写一句", 2), ('"*', 0), ("nothing like it", 0)],
)
def test_search_finds_words_of_both_languages(library: Page, query: str, found: int) -> None:
    search(library, query)
    expect(library.locator("#library-list article")).to_have_count(found)
    if not found:
        expect(library.locator("#library .tm-empty")).to_be_visible()
    search(library, "")
    expect(library.locator("#library-list article")).to_have_count(len(ROWS))


def test_one_is_opened_rated_starred_tagged_and_has_an_address(library: Page) -> None:
    search(library, "bakery")
    library.locator("#library-list article", has_text="bakery").locator(".lib-open").click()
    pane = library.locator("#library-preview")
    expect(pane.locator(".pane-answer")).to_have_text("Warm bread at five in the morning.")
    expect(pane.locator("[data-score='-1']")).to_have_attribute("aria-pressed", "true")  # the imported label
    pane.locator("[data-score='1']").click()
    expect(pane.locator("[data-score='1']")).to_have_attribute("aria-pressed", "true")
    pane.locator("[data-action=star]").click()
    expect(pane.locator("[data-action=star]")).to_have_attribute("aria-pressed", "true")
    pane.locator(".pane-tag-input").fill("breakfast")
    pane.locator(".pane-tag-input").press("Enter")
    expect(pane.locator(".pane-tag")).to_contain_text("breakfast")
    assert re.search(r"[?&]item=[0-9a-f]{32}", library.url)
    library.reload(wait_until="domcontentloaded")
    expect(pane.locator(".pane-answer")).to_have_text("Warm bread at five in the morning.")
    expect(pane.locator("[data-score='1']")).to_have_attribute("aria-pressed", "true")
    expect(pane.locator(".pane-tag")).to_contain_text("breakfast")


def test_bin_and_back(library: Page) -> None:
    article = library.locator("#library-list article", has_text="lighthouse")
    article.locator(".lib-check").check()
    library.locator(".lib-marks [data-action=trash]").click()
    expect(library.locator("#library-list article")).to_have_count(len(ROWS) - 1)
    library.locator("#tm-notices .tm-link").first.click()  # undo
    expect(library.locator("#library-list article")).to_have_count(len(ROWS))
    article.locator(".lib-check").check()
    library.locator(".lib-marks [data-action=trash]").click()
    expect(article).to_have_count(0)
    library.goto(library.url.split("?")[0] + "?tab=library&trash=1", wait_until="domcontentloaded")
    expect(library.locator("#library-list article")).to_have_count(1)
    library.locator("#library-list article .lib-open").click()
    library.locator("#library-preview [data-action=restore]").click()
    expect(library.locator("#library-list article")).to_have_count(0)


def test_a_creation_goes_back_to_the_write_page(library: Page) -> None:
    search(library, "lighthouse")
    expect(library.locator("#library-list article")).to_have_count(1)
    library.locator("#library-list article .lib-open").click()
    library.locator("#library-preview [data-action=write]").click()
    expect(library.locator("#page-write #prompt textarea")).to_be_visible()
    expect(library.locator("#prompt textarea")).to_have_value("Write about a lighthouse")


def test_an_unknown_item_in_the_address_is_one_sentence(studio: RunningStudio, open_page: OpenPage) -> None:
    page = open_page(studio.url + "/?tab=library&item=" + "0" * 32, selector="#library-search input")
    expect(page.locator("#tm-notices .is-error")).to_be_visible()
    expect(page.locator("#library-preview")).to_be_hidden()
