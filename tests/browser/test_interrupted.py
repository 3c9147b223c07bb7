"""What a reload, a closed tab and a killed server leave behind: everything."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.studio import RunningStudio
from tests.browser.write_page import WritePage

pytestmark = [pytest.mark.browser, pytest.mark.integration]
LONG = "Tell a very long story about a lighthouse keeper and his dog."


def test_a_reload_in_mid_stream_goes_on_streaming(studio: RunningStudio, open_page: OpenPage) -> None:
    write = WritePage(open_page(studio.url, max_new_tokens=400))
    write.send(LONG)
    write.wait_text()
    before = write.text()
    write.page.reload(wait_until="domcontentloaded")
    expect(write.stop).to_be_visible()
    write.wait_text()
    assert write.text().startswith(before[:20])
    again = write.text()
    expect(write.last.locator(".answer")).not_to_have_text(again, use_inner_text=True, timeout=60_000)
    write.stop.click()
    write.wait_done()
    expect(write.answers).to_have_count(1)


def test_a_closed_tab_does_not_stop_the_answer(studio: RunningStudio, open_page: OpenPage) -> None:
    write = WritePage(open_page(studio.url, max_new_tokens=60))
    write.send("Write a paragraph about bread.")
    write.wait_text()
    address = write.page.url
    write.page.close()
    again = WritePage(open_page(address))
    expect(again.answers).to_have_count(1)
    assert len(again.wait_done()) > 20
    expect(again.last).to_have_attribute("data-status", "done")


@pytest.mark.parametrize("tokens", [60, 400])  # the answer ends before the connection is back, and after
def test_a_dropped_connection_is_followed_again(studio: RunningStudio, open_page: OpenPage, tokens: int) -> None:
    write = WritePage(open_page(studio.url, max_new_tokens=tokens))
    write.send("Write a long paragraph about mountains.")
    write.wait_text()
    write.page.context.set_offline(True)
    write.page.wait_for_timeout(1500)
    write.page.context.set_offline(False)
    assert len(write.wait_done()) > 20
    expect(write.last).to_have_attribute("data-status", "done")


def test_a_killed_server_keeps_prompt_and_text_and_goes_on_from_there(
    tmp_path: Path, models_dir: Path, open_page: OpenPage
) -> None:
    with RunningStudio(tmp_path / "data", models_dir) as studio:
        write = WritePage(open_page(studio.url, max_new_tokens=1000))
        write.send(LONG)
        write.wait_text()
        write.page.wait_for_timeout(2500)  # partial text is kept at least every second
        shown, address = write.text(), write.page.url
        studio.kill()
        write.page.close()
        studio.start()
        again = WritePage(open_page(address))
        expect(again.page.locator("#thread .th-prompt-text")).to_have_text(LONG)
        expect(again.last).to_have_attribute("data-status", "interrupted")
        kept = again.text()
        assert kept and shown.startswith(kept[: len(shown) // 3])
        expect(again.conversations).to_have_count(1)
        expect(again.last.locator(".th-note").first).to_be_visible()
        again.press("continue")
        expect(again.stop).to_be_visible()
        went_on = re.compile(re.escape(kept[-20:]) + ".{10,}", re.DOTALL)
        expect(again.last.locator(".answer")).to_have_text(went_on, use_inner_text=True, timeout=60_000)
        again.stop.click()
        assert len(again.wait_done()) > len(kept)
        again.expect_version("2/2")
