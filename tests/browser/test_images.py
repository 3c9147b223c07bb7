"""The Images page in a real browser: prompt, previews, grid, rating, the Library, a dropped file, the same picture again."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.images_page import SHORT, ImagesPage, image_models, linked_models
from tests.browser.studio import RunningStudio

pytestmark = [pytest.mark.browser, pytest.mark.integration]


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Iterator[RunningStudio]:
    folder = tmp_path_factory.mktemp("images")
    with RunningStudio(folder / "data", image_models(folder / "models", models_dir)) as running:
        yield running


@pytest.fixture
def images(studio: RunningStudio, open_page: OpenPage) -> ImagesPage:
    page = ImagesPage(open_page(f"{studio.url}/?tab=images", selector="#image-prompt textarea"))
    page.set(**SHORT)
    return page


def png(colour: str = "red", **texts: str) -> bytes:
    info = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        info.add_text(name, text)
    file = io.BytesIO()
    Image.new("RGB", (96, 96), colour).save(file, "PNG", pnginfo=info)
    return file.getvalue()


COUNT_PREVIEWS = """() => {
  window.previewsSeen = 0;
  const look = () => { window.previewsSeen += document.querySelectorAll('.im-preview[src^="data:image/"]').length; };
  new MutationObserver(look).observe(document.body, {subtree: true, childList: true, attributes: true});
}"""
"""A preview is there for a moment only: a test that looks for it now and then may miss it."""


def test_from_a_prompt_to_the_library_and_back_to_the_same_picture(images: ImagesPage) -> None:
    page = images.page
    images.set(**{**SHORT, "steps": 40}, seed="")
    images.prompt.fill("a red fox")
    page.evaluate(COUNT_PREVIEWS)
    page.keyboard.press("Control+Enter")
    first, second = images.finished()
    assert page.evaluate("window.previewsSeen") > 0
    tile = page.locator(f".im-tile[data-creation='{first}']")
    tile.locator(".im-open").focus()
    page.keyboard.press("4")
    expect(tile.locator(".rate [data-score='1']")).to_have_attribute("aria-pressed", "true")
    expect(images.newest.locator(".im-detail:visible [data-scale='4']")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("p")
    expect(tile.locator(".im-pick")).to_have_attribute("aria-pressed", "true")
    page.goto(page.url.replace("tab=images", f"tab=library&item={first}"), wait_until="domcontentloaded")
    pane = page.locator("#library-preview")
    expect(page.locator(f".lib-item[data-creation='{first}'] img")).to_be_visible()
    expect(pane.locator("[data-scale='4']")).to_have_attribute("aria-pressed", "true")
    expect(pane.locator(".pane-sections")).to_contain_text("Better than version 2")
    pane.locator("[data-action=draw]").click()
    expect(images.prompt).to_have_value("a red fox")
    page.locator("#image-count [data-value='1']").click()
    before = str(images.newest.get_attribute("data-job"))
    images.create.click()
    (again,) = images.finished(before)
    assert images.pixels(again) == images.pixels(first) != images.pixels(second)


def test_a_dropped_picture_brings_its_settings_back_and_the_same_seed_the_same_picture(images: ImagesPage) -> None:
    images.set(**SHORT, negative="blue", guidance=5.5)
    first, second = images.draw("一个红苹果")
    data = images.file(second)
    images.set(n=1)
    images.prompt.fill("something else")
    images.drop("apple.png", data)
    expect(images.found).to_contain_text("seed")
    expect(images.found).to_contain_text("Tastemaker")
    expect(images.prompt).to_have_value("一个红苹果")
    expect(images.page.locator("#image-negative")).to_have_value("blue")
    before = str(images.newest.get_attribute("data-job"))
    images.create.click()
    (again,) = images.finished(before)
    assert images.pixels(again) == images.pixels(second) != images.pixels(first)
    images.found.locator("[data-action=undo]").click()
    expect(images.prompt).to_have_value("something else")


def test_another_tool_s_settings_are_read_and_what_this_model_cannot_do_is_said(images: ImagesPage) -> None:
    text = (
        "a castle on a hill\nNegative prompt: fog\nSteps: 31, Sampler: Restart, CFG scale: 6.5, Seed: 11, Size: 128x128, "
        "Model: somebody's, Version: v1.10"
    )
    images.drop("castle.png", png(parameters=text), selector="#image-prompt")
    expect(images.prompt).to_have_value("a castle on a hill")
    expect(images.found.locator(".im-found-note").first).to_be_visible()
    expect(images.found).to_contain_text("Restart")
    expect(images.found).to_contain_text("somebody's")
    images.page.locator("#image-settings-toggle").click()
    for name, value in (("steps", "31"), ("guidance", "6.5"), ("seed", "11"), ("width", "128")):
        expect(images.page.locator(f"#image-settings input[data-option={name}]")).to_have_value(value)


def test_a_picture_without_settings_is_the_one_to_start_from(images: ImagesPage) -> None:
    images.drop("photo.png", png("green"))
    source = images.page.locator("#image-source")
    expect(source).to_be_visible()
    (first, _) = images.draw("a tree")
    expect(images.newest.locator(".im-batch-facts")).to_contain_text("from a picture")
    images.open(first)
    expect(images.viewer.locator(".pane-facts")).to_contain_text("Changed by")
    images.page.keyboard.press("Escape")
    source.locator("[data-action=drop-source]").click()
    expect(source).to_be_hidden()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("page.png", b"<html><script>window.hacked = 1</script></html>"),
        ("bomb.png", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x9c\x40\x00\x00\x9c\x40\x08\x06\x00\x00\x00" + b"\x00" * 60),
        ("cut.png", png(parameters="x\nSteps: 1, Seed: 2, Sampler: euler")[:60]),
        ("empty.png", b""),
    ],
)
def test_a_hostile_file_is_one_sentence_and_nothing_changes(images: ImagesPage, name: str, data: bytes) -> None:
    images.prompt.fill("kept")
    images.drop(name, data)
    notice = images.page.locator("#tm-notices .is-error")
    expect(notice).to_have_count(1)
    assert re.fullmatch(r"[^.]+(\. [^.]+)?\.", notice.locator(".tm-notice-text").inner_text())
    expect(images.prompt).to_have_value("kept")
    expect(images.page.locator("#image-source")).to_be_hidden()
    assert images.page.evaluate("window.hacked") is None


def test_a_missing_model_is_one_sentence_with_a_way_out(tmp_path: Path, models_dir: Path, open_page: OpenPage) -> None:
    folder = linked_models(tmp_path / "models", models_dir)
    (folder / "sticker").mkdir()  # takes the place of weights that came along, and holds nothing
    with RunningStudio(tmp_path / "data", folder) as running:
        images = ImagesPage(open_page(f"{running.url}/?tab=images", selector="#image-prompt textarea"))
        missing = images.page.locator("#image-missing")
        expect(missing).to_contain_text("Models page")
        images.prompt.fill("a red fox")
        expect(images.create).to_be_disabled()
        missing.locator("button").click()
        expect(images.page.locator("#page-models .mo-page")).to_be_visible()
        images.page.go_back()
        expect(images.prompt).to_have_value("a red fox")
