"""The very first start: no models, no data. The page opens at once, the models come, and the first prompt is answered."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.studio import RunningStudio
from tests.browser.write_page import WritePage

pytestmark = [pytest.mark.browser]
FETCH_LIMIT_MS = 480_000


@pytest.mark.integration
def test_from_nothing_to_the_first_answer(tmp_path: Path, open_page: OpenPage) -> None:
    with RunningStudio(tmp_path / "data", tmp_path / "models", offline=False) as studio:
        page = open_page(studio.url)
        expect(page.locator("#download-banner")).to_be_visible(timeout=30_000)
        page.locator("[role=tab][data-tab=models]").click()
        expect(page.locator("#models").get_by_role("progressbar").first).to_be_visible(timeout=30_000)
        page.locator("[role=tab][data-tab=write]").click()
        write = WritePage(page)
        write.prompt.fill("Say hello in one short sentence.")
        write.create.click()  # too early: one sentence that says how far the model is, and the prompt stays
        expect(page.locator("#tm-notices .is-error")).to_be_visible()
        assert write.prompt.input_value() == "Say hello in one short sentence."
        expect(page.locator("#download-banner")).to_be_hidden(timeout=FETCH_LIMIT_MS)
        assert write.write("Say hello in one short sentence.")
        log = studio.log()
        assert "SmolLM2" in log and "%" in log, "the terminal shows the progress too"
    with RunningStudio(tmp_path / "data", tmp_path / "models", offline=True) as again:
        write = WritePage(open_page(f"{again.url}/?c={write.conversation_id}"))
        assert write.write("And goodbye.")


def test_offline_without_models_says_what_to_do(tmp_path: Path, open_page: OpenPage) -> None:
    with RunningStudio(tmp_path / "data", tmp_path / "models", offline=True) as studio:
        page = open_page(studio.url)
        expect(page.locator("#download-banner")).to_be_visible(timeout=30_000)
        write = WritePage(page)
        write.prompt.fill("Anybody there?")
        write.create.click()
        expect(page.locator("#tm-notices .is-error")).to_be_visible()
        assert write.prompt.input_value() == "Anybody there?"
