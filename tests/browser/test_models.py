"""The Models and Settings pages in a browser: one's own server and its key, a bad folder, speed, backup and restore by click."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.studio import RunningStudio
from tests.browser.write_page import WritePage
from tests.openai_server import KEY, OpenAIServer

pytestmark = [pytest.mark.browser]


@pytest.fixture(scope="module")
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer(delay_s=0.02) as running:
        yield running


def add(page: Page, entry: str, **values: str) -> None:
    """Models → Add a model → fill in the form and press Add."""
    page.locator("#models-add").click()
    page.locator(".tm-menu button", has_text=entry).click()
    for name, value in values.items():
        page.locator(f"dialog input[name={name}]").fill(value)
    page.locator("dialog .tm-dialog-foot .is-primary").click()


def test_chat_through_a_server_whose_key_stays_out_of_the_data(
    studio: RunningStudio, open_page: OpenPage, server: OpenAIServer
) -> None:
    page = open_page(studio.url + "/?tab=models", selector="#models-add")
    add(page, "OpenAI", url=server.url, model="counting", name="Counter", key=KEY)
    card = page.locator("#models article", has_text="Counter")
    expect(card).to_be_visible()
    page.locator("#model-in-use").click()
    page.locator(".tm-menu button", has_text="Counter").click()
    expect(page.locator("#model-in-use")).to_contain_text("Counter")
    page.locator("[role=tab][data-tab=write]").click()
    write = WritePage(page)
    assert write.write("Count for me.").startswith("1 2 3")
    expect(write.last.locator(".figures")).to_contain_text("Counter")
    holders = [path.name for path in studio.data_dir.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert holders == ["secrets.json"]
    page.locator("#model-in-use").click()
    page.locator(".tm-menu button", has_text="SmolLM2 135M").first.click()
    expect(page.locator("#model-in-use")).to_contain_text("SmolLM2")


def test_a_folder_that_holds_no_model_is_one_sentence_and_the_form_stays(
    studio: RunningStudio, open_page: OpenPage, tmp_path: Path
) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    page = open_page(studio.url + "/?tab=models", selector="#models-add")
    add(page, "folder", path=str(tmp_path))
    expect(page.locator("dialog .mo-error")).to_be_visible()
    expect(page.locator("dialog input[name=path]")).to_have_value(str(tmp_path))


def test_backup_and_restore_by_click(tmp_path: Path, models_dir: Path, open_page: OpenPage, server: OpenAIServer) -> None:
    with RunningStudio(tmp_path / "data", models_dir) as studio:
        page = open_page(studio.url + "/?tab=models", selector="#models-add")
        add(page, "OpenAI", url=server.url, model="counting", name="Counter", key=KEY)
        expect(page.locator("#models article", has_text="Counter")).to_be_visible()
        page.locator("#model-in-use").click()
        page.locator(".tm-menu button", has_text="Counter").click()
        page.locator("[role=tab][data-tab=write]").click()
        write = WritePage(page)
        kept = write.write("Keep this one.")
        address = page.url
        page.locator("[role=tab][data-tab=settings]").click()
        with page.expect_download() as download:
            page.locator("#settings-backup-now").click()
        file = tmp_path / "backup.zip"
        download.value.save_as(file)
        assert file.read_bytes().startswith(b"PK")
        page.goto(studio.url, wait_until="domcontentloaded")
        write.write("This one comes after the backup.")
        page.goto(studio.url + "/?tab=settings", wait_until="domcontentloaded")
        page.locator("#settings-restore-file").set_input_files(file)
        page.locator("dialog .tm-dialog-foot .is-primary").click()
        expect(page.locator(".se-staged")).to_be_visible()
        page.close()
        assert studio.stop() == 0
        studio.start()
        again = WritePage(open_page(address))
        assert again.text() == kept
        expect(again.conversations).to_have_count(1)


def test_the_speed_is_measured_when_somebody_asks(studio: RunningStudio, open_page: OpenPage) -> None:
    page = open_page(studio.url + "/?tab=models", selector="#models-measure")
    page.locator("#models-measure").click()
    expect(page.locator(".mo-rates")).to_be_visible(timeout=60_000)
    written, read = (int(text) for text in page.locator(".mo-rates strong").all_inner_texts())
    assert read > written > 0
    expect(page.locator(".mo-speed")).to_contain_text("SmolLM2")
    expect(page.locator(".mo-speed")).to_contain_text("bits")
    expect(page.locator("#models-measure")).to_have_text("Measure again")
