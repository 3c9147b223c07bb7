"""The Images page at work: queue, Skip, Stop, a refresh in the middle, masks, comparing, enlarging, files to take away."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.images_page import DRAWING_LIMIT_MS, LONG, SHORT, ImagesPage, image_models
from tests.browser.studio import RunningStudio

pytestmark = [pytest.mark.browser, pytest.mark.integration]


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Iterator[RunningStudio]:
    folder = tmp_path_factory.mktemp("images")
    with RunningStudio(folder / "data", image_models(folder / "models", models_dir)) as running:
        yield running


@pytest.fixture
def images(studio: RunningStudio, open_page: OpenPage) -> Iterator[ImagesPage]:
    page = ImagesPage(open_page(f"{studio.url}/?tab=images", selector="#image-prompt textarea"))
    page.set(**SHORT)
    yield page
    while page.stop.is_visible():  # the next test begins with a quiet studio
        page.stop.click()
        page.page.wait_for_timeout(200)


def test_stop_keeps_what_is_finished_and_the_rest_can_be_drawn_later(images: ImagesPage) -> None:
    images.set(**{**LONG, "n": 6})
    images.prompt.fill("a lighthouse")
    images.create.click()
    expect(images.newest.locator(".im-tile .im-picture:visible").first).to_be_visible(timeout=DRAWING_LIMIT_MS)
    images.stop.click()
    expect(images.newest).to_have_attribute("data-status", "cancelled", timeout=DRAWING_LIMIT_MS)
    kept = images.newest.locator(".im-tile").count()
    assert 1 <= kept < 6
    expect(images.newest.locator(".im-batch-facts")).to_contain_text("stopped")
    first = str(images.newest.locator(".im-tile").first.get_attribute("data-creation"))
    pixels = images.pixels(first)
    images.newest.locator("[data-action=resume]").click()
    expect(images.newest).to_have_attribute("data-status", "done", timeout=DRAWING_LIMIT_MS)
    expect(images.newest.locator(".im-tile")).to_have_count(6)
    assert images.pixels(first) == pixels


def test_skip_leaves_one_out_and_goes_on(images: ImagesPage) -> None:
    images.set(**{**LONG, "n": 2})
    images.prompt.fill("a windmill")
    images.create.click()
    expect(images.skip).to_be_enabled(timeout=DRAWING_LIMIT_MS)
    images.skip.click()
    expect(images.newest).to_have_attribute("data-status", "done", timeout=DRAWING_LIMIT_MS)
    expect(images.newest.locator(".im-tile")).to_have_count(1)
    expect(images.newest.locator(".im-batch-facts")).to_contain_text("skipped")


def test_a_refresh_in_the_middle_and_a_second_page_show_the_same_job(images: ImagesPage, open_page: OpenPage) -> None:
    images.set(**LONG)
    images.prompt.fill("a ship at sea")
    images.create.click()
    expect(images.newest.locator("[data-status=running]")).to_have_count(1, timeout=DRAWING_LIMIT_MS)
    job = images.newest.get_attribute("data-job")
    images.page.reload(wait_until="domcontentloaded")
    expect(images.stop).to_be_visible()
    expect(images.newest).to_have_attribute("data-job", str(job))
    expect(images.page.locator(".im-line-text")).to_contain_text(re.compile(r"of 8"))
    other = ImagesPage(open_page(images.page.url, selector="#image-prompt textarea"))
    expect(other.newest).to_have_attribute("data-job", str(job))
    expect(other.newest.locator(".im-preview:visible").first).to_be_visible(timeout=DRAWING_LIMIT_MS)
    other.page.locator("body").click(position={"x": 700, "y": 4})
    other.page.keyboard.press("Escape")
    for page in (images, other):
        expect(page.newest).to_have_attribute("data-status", "cancelled", timeout=DRAWING_LIMIT_MS)
        expect(page.stop).to_be_hidden()


def test_more_can_wait_while_one_is_drawn_and_be_taken_out_again(images: ImagesPage) -> None:
    images.set(**LONG)
    images.send("one house")
    expect(images.stop).to_be_visible()
    for prompt in ("two houses", "three houses"):
        images.send(prompt)
    expect(images.queue).to_have_count(2)
    expect(images.queue.first).to_contain_text("two houses")
    images.queue.first.locator("button").click()
    expect(images.queue).to_have_count(1)
    images.stop.click()
    expect(images.newest.locator(".im-batch-prompt")).to_have_text("three houses", timeout=DRAWING_LIMIT_MS)
    expect(images.queue).to_have_count(0)


def test_the_same_click_twice_is_one_job(images: ImagesPage) -> None:
    before = images.batches.count()
    images.prompt.fill("a double click")
    images.create.dblclick()
    images.finished()
    assert images.batches.count() == before + 1


def test_a_painted_part_is_made_anew(images: ImagesPage) -> None:
    page = images.page
    first, _ = images.draw("a face")
    images.open(first)
    images.press("paint")
    mask = page.locator("#image-mask")
    done, undo = mask.locator("[data-action=done]"), mask.locator("[data-action=undo]")
    expect(done).to_be_disabled()
    box = mask.locator(".mk-canvas").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + box["width"] / 4, y, steps=5)
    page.mouse.up()
    undo.click()
    expect(done).to_be_disabled()
    mask.locator(".mk-canvas").focus()
    page.keyboard.press("Space")  # by keys, in the middle
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Space")
    expect(done).to_be_enabled()
    done.click()
    expect(mask).to_have_count(0)
    expect(page.locator("#image-source")).to_contain_text("painted part")
    before = str(images.newest.get_attribute("data-job"))
    images.create.click()
    (anew, _) = images.finished(before)
    expect(images.newest.locator(".im-batch-facts")).to_contain_text("a part made anew")
    changed = [a != b for a, b in zip(images.pixels(anew), images.pixels(first), strict=True)]
    assert any(changed)
    images.open(anew)
    expect(images.viewer.locator(".pane-facts")).to_contain_text("Painted part")


def test_two_are_compared_and_the_better_one_is_kept(images: ImagesPage) -> None:
    page = images.page
    first, second = images.draw("a teapot")
    images.open(first)
    page.keyboard.press("c")
    compare = page.locator("#image-compare")
    expect(compare.locator("img:visible")).to_have_count(2)
    page.keyboard.press("m")
    expect(compare.locator(".cp-laid")).to_be_visible()
    page.keyboard.press("m")
    compare.locator("[data-action=better-right]").click()
    expect(compare).to_be_hidden()
    page.keyboard.press("Escape")
    expect(images.viewer).to_be_hidden()
    expect(page.locator(f".im-tile[data-creation='{second}']")).to_have_class(re.compile("is-picked"))
    assert "item=" not in page.url


def test_the_large_view_has_an_address_keys_and_everything_to_go_on_with(images: ImagesPage) -> None:
    page = images.page
    first, second = images.draw("a kite")
    images.open(first)
    assert f"item={first}" in page.url
    page.keyboard.press("5")
    expect(images.viewer.locator("[data-scale='5']")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("ArrowRight")
    expect(page).to_have_url(re.compile(f"item={second}"))
    page.reload(wait_until="domcontentloaded")
    expect(images.viewer).to_be_visible()
    images.viewer.locator("[data-action=reuse-seed]").click()
    images.press("enlarge")
    before = str(images.newest.get_attribute("data-job"))
    images.choose("2 times")
    (large,) = images.finished(before)
    with Image.open(io.BytesIO(images.file(large))) as picture:
        assert picture.size == (256, 256)
    images.open(second)
    images.press("vary")
    before = str(images.newest.get_attribute("data-job"))
    images.choose("New seeds")
    assert len(images.finished(before)) == 4
    page.locator("#image-settings-toggle").click()
    expect(page.locator("#image-settings input[data-option=seed]")).not_to_have_value("")


def test_files_to_take_away_keep_their_labels(images: ImagesPage) -> None:
    page = images.page
    page.locator("#image-settings-toggle").click()
    page.locator("#image-settings [data-option=transparent]").check()
    page.locator("#image-settings [data-action=reset] >> visible=true").wait_for()
    first, _ = images.draw("a clear leaf")
    expect(page.locator(f".im-tile[data-creation='{first}']")).to_have_class(re.compile("is-clear"))
    images.open(first)
    for name, format, text in (("PNG", "PNG", "Exact"), ("WebP", "WEBP", "Small"), ("JPEG", "JPEG", "old")):
        images.press("download")
        with page.expect_download() as download:
            images.choose(re.compile(f"{name}.*{text}"))
        data = Path(download.value.path()).read_bytes()
        with Image.open(io.BytesIO(data)) as picture:
            assert picture.format == format and (format == "JPEG" or picture.has_transparency_data)
        assert b"trainedAlgorithmicMedia" in data and b"AIGC" in data


def test_a_picture_goes_to_the_trash_and_back(images: ImagesPage) -> None:
    first, second = images.draw("a stone")
    images.open(first)
    images.page.keyboard.press("Delete")
    expect(images.page.locator(f".im-tile[data-creation='{first}']")).to_have_count(0)
    expect(images.page).to_have_url(re.compile(f"item={second}"))
    images.page.locator("#tm-notices .tm-link").click()
    expect(images.page.locator(f".im-tile[data-creation='{first}']")).to_have_count(1)


def test_the_text_model_adds_detail_and_it_can_be_taken_back(images: ImagesPage) -> None:
    images.prompt.fill("a garden")
    images.page.locator("#image-expand").click()
    undo = images.page.locator("#image-unexpand")
    expect(undo).to_be_visible(timeout=DRAWING_LIMIT_MS)
    assert len(images.prompt.input_value()) > len("a garden")
    undo.click()
    expect(images.prompt).to_have_value("a garden")
