"""The Train page with a real, short training: rows in, plan, curves, reload, a second window, stop, go on, picture, settings."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.studio import RunningStudio

pytestmark = [pytest.mark.browser, pytest.mark.integration]
TRAINING_LIMIT_MS = 1_200_000
"""Half a minute on two idle cores; tests share them with whatever else runs."""
LINE = "svg[data-chart=loss] .ch-line.is-1:not(.is-raw)"
PLACES = (
    "a bakery",
    "a bookshop",
    "a tea house",
    "a film club",
    "a choir",
    "a garden",
    "a school",
    "a market",
    "a pottery class",
    "a pub",
)
SHORT = {"epochs": "5", "max_length": "96", "sample_tokens": "8", "save_steps": "1"}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    lines = [
        {
            "prompt": f"Greet the guests of {place}.",
            "chosen": f"Welcome to {place}.",
            "rejected": f"It is announced that {place} exists.",
        }
        for place in PLACES
    ]
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return path


def open_train(open_page: OpenPage, studio: RunningStudio, query: str = "") -> Page:
    page = open_page(f"{studio.url}/?tab=train{query}", selector="#train .tr-preset.is-on")
    return page


def monitor(page: Page, status: str) -> Locator:
    """The run that is shown, once it is in this state."""
    run = page.locator(f"#train-run[data-status={status}]")
    expect(run).to_be_visible(timeout=TRAINING_LIMIT_MS)
    return run


def test_training_is_refused_with_the_reason_until_there_are_enough_ratings(
    studio: RunningStudio, open_page: OpenPage, rows: Path
) -> None:
    page = open_train(open_page, studio)
    start = page.locator("#train [data-action=start]")
    expect(page.locator(".tr-reasons")).to_contain_text("8 more pairs")
    page.evaluate("localStorage.setItem('tastemaker:train-form', JSON.stringify({ dataset: '0'.repeat(32) }))")
    page.reload(wait_until="domcontentloaded")  # a form that was kept, for a dataset that is gone since
    expect(page.locator(".tr-reasons")).to_contain_text("8 more pairs")
    expect(start).to_be_disabled()
    page.locator("#train-data > summary").click()
    page.locator("#train-data [data-action=import]").click()
    page.locator("#library-import-file").set_input_files(rows)
    expect(page.locator(".lib-report")).to_contain_text("10 added")
    page.keyboard.press("Escape")
    expect(page.locator("#train-headline")).to_contain_text("You have 10 usable ratings: 10 pairs.")
    expect(start).to_be_enabled()
    expect(page.locator("[data-preset=quick]")).to_contain_text("about")
    expect(page.locator("#train-data .tr-sample").first).to_contain_text("Welcome to")


def test_a_training_is_watched_stopped_and_goes_on(studio: RunningStudio, open_page: OpenPage) -> None:
    page = open_train(open_page, studio)
    page.locator("[data-preset=quick]").click()
    page.locator("#train-settings > summary").click()
    for name, value in SHORT.items():
        page.locator(f"#train-set-{name}").fill(value)
    expect(page.locator("#train-settings > summary .tm-badge")).to_be_visible()
    page.locator("#train [data-action=start]").click()
    expect(page).to_have_url(re.compile("run=[0-9a-f]{32}"))
    loss = page.locator(LINE)
    expect(loss).to_be_visible(timeout=TRAINING_LIMIT_MS)
    expect(page.locator("#activity")).to_contain_text("training")
    before = loss.get_attribute("d")

    waits = queue_another(page)
    other = open_page(page.url, selector=LINE)
    page.reload(wait_until="domcontentloaded")
    expect(page.locator(LINE)).to_be_visible()
    expect(other.locator("#train-run .tr-title")).to_have_text(page.locator("#train-run .tr-title").inner_text())
    page.locator("#train-run [data-action=stop]").click()
    run = monitor(page, "interrupted")
    monitor(other, "interrupted")
    run.locator("[data-action=resume]").click()
    run = monitor(page, "done")
    end = monitor(other, "done")
    expect(end.locator(".tr-sample .tr-text").last).to_have_text(run.locator(".tr-sample .tr-text").last.inner_text())
    expect(page.locator(f"[data-run='{waits}']")).to_have_attribute("data-status", "cancelled")
    assert page.locator(LINE).get_attribute("d") != before
    expect(run.locator("svg[data-chart=loss]")).to_have_attribute("aria-label", re.compile("Loss.*lowest"))
    expect(run.locator(".tr-sample").first).to_contain_text("Before")
    expect(run.locator("[data-action=evaluate]")).to_be_enabled()
    expect(page.locator("[data-run] [data-action=evaluate]").first).to_be_visible()


def queue_another(page: Page) -> str:
    """Start a second run, and discard it while it waits; the first one stays the one that is shown. Returns its id."""
    first = page.url
    page.locator("#train [data-action=start]").click()
    expect(page).not_to_have_url(first)
    waits = page.url.rsplit("run=", 1)[1]
    monitor(page, "queued").locator("[data-action=cancel]").click()
    monitor(page, "cancelled")
    page.goto(first, wait_until="domcontentloaded")
    monitor(page, "running")
    return waits


def test_a_run_gives_its_picture_its_settings_and_its_figures(studio: RunningStudio, open_page: OpenPage) -> None:
    page = open_train(open_page, studio)
    page.locator("[data-run][data-status=done] .tr-open").first.click()
    run = monitor(page, "done")
    with page.expect_download() as picture:
        run.locator("[data-action=picture]").click()
    assert Path(picture.value.path()).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    run.locator("[data-action=copy]").click()
    copied = json.loads(page.evaluate("navigator.clipboard.readText()"))
    assert copied["settings"]["max_length"] == 96 and copied["preset"] == "quick"
    run.locator("[data-action=again]").click()
    expect(page.locator("#train-set-max_length")).to_have_value("96")
    chart = run.locator("svg[data-chart=loss]")
    chart.focus()
    page.keyboard.press("End")
    expect(page.locator(".ch-tip:visible")).to_contain_text("Step")
    run.locator("#train-facts > summary").click()
    folder = Path(run.locator("#train-facts code", has_text="tensorboard").inner_text())
    assert list(folder.glob("**/events.out.tfevents*"))
