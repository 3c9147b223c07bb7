"""The whole loop in a real browser with the real starter model: rate, train, test blindly, promote, write, roll back.

Most ratings come from a file, as an import would bring them: what is tested is the loop, not the patience of the one who rates.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gradio_client import Client, handle_file
from playwright.sync_api import Page, Request, expect

from tests.browser.conftest import OpenPage
from tests.browser.studio import RunningStudio
from tests.browser.write_page import WritePage

pytestmark = [pytest.mark.browser, pytest.mark.integration]
Shot = Callable[[Page, str], None]

THINGS = (
    "bakery bookshop barber florist cinema museum garage tailor brewery gallery bistro pharmacy ferry circus school hotel "
    "library theatre"
).split()
LONG = (
    "The {0} is a {0} where things that belong to a {0} are offered to everybody who is looking for a {0} in this part of town."
)
TRAINING_LIMIT_MS = 1_200_000
"""A minute on two idle cores; tests share them with whatever else runs."""
ANSWERS_LIMIT_MS = 600_000
VOTES = 10


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Iterator[RunningStudio]:
    """A studio whose user has already rated a little: short taglines beat long ones."""
    folder = tmp_path_factory.mktemp("learning")
    rows = [
        {"prompt": f"Write a tagline for a {thing}.", "chosen": f"Your {thing}!", "rejected": LONG.format(thing)}
        for thing in THINGS
    ]
    file = folder / "pairs.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    with RunningStudio(folder / "data", models_dir) as running:
        client = Client(running.url, verbose=False, analytics_enabled=False)
        assert client.predict(handle_file(str(file)), None, api_name="/import")["added"] > 0
        yield running


def left_until_training(write: WritePage) -> int:
    """What the line under a rating says is still missing; 0 when nothing is."""
    found = re.search(r"\d+", write.last.locator(".rate-effect").inner_text())
    return int(found.group()) if found else 0


def tab(page: Page, name: str) -> None:
    page.locator(f"[role=tab][data-tab={name}]").click()


def test_the_whole_loop(studio: RunningStudio, open_page: OpenPage, shot: Shot) -> None:
    page = open_page(studio.url)
    rate_by_keyboard(page)
    train(page, shot)
    blind_test(page, shot)
    promote(page, shot)
    write = WritePage(page)
    tab(page, "write")
    page.locator("#new-conversation").click()
    write.write("Write a tagline for a harbour.")
    name = page.locator("#model-in-use").inner_text().split("·")[-1].strip()
    assert name and name != "base"
    expect(write.last.locator(".figures")).to_contain_text(name)
    shot(page, "learning-written")
    follow_the_lineage(page, write)
    tab(page, "arena")
    page.locator("#arena .ar-in-use [data-action=rollback]").click()
    expect(page.locator("#arena .ar-using")).not_to_contain_text(name)
    expect(page.locator("#arena .ar-history li")).to_have_count(2)
    tab(page, "write")
    write.write("And one for a lighthouse.")
    expect(write.last.locator(".figures")).to_contain_text("base")


def rate_by_keyboard(page: Page) -> None:
    """5 and 1 rate the newest answer; the line under it says what that does."""
    write = WritePage(page)
    write.write("Write a tagline for a zoo.")
    write.leave_box()
    page.keyboard.press("5")
    expect(write.last.locator(".rate [data-score='1']")).to_have_attribute("aria-pressed", "true")
    before = left_until_training(write)
    write.again("regenerate")
    write.leave_box()
    page.keyboard.press("1")
    expect(write.last.locator(".rate [data-score='-1']")).to_have_attribute("aria-pressed", "true")
    expect(write.last.locator(".rate-effect")).to_be_visible()
    assert left_until_training(write) < before or before == 0


def train(page: Page, shot: Shot) -> None:
    """Quick; the charts move, a reload in the middle shows the same run going on."""
    tab(page, "train")
    page.locator("#train [data-preset=quick]").click()
    start = page.locator("#train [data-action=start]")
    expect(start).to_be_enabled()
    start.click()
    run = re.compile(r"[?&]run=[0-9a-f]+")
    page.wait_for_url(run)
    address = page.url
    line = page.locator("#train .charts svg[data-chart=loss] path").first
    expect(line).to_have_attribute("d", re.compile("L"), timeout=TRAINING_LIMIT_MS)
    first = line.get_attribute("d") or ""
    page.reload(wait_until="domcontentloaded")
    assert page.url == address
    expect(page.locator("#train .charts svg[data-chart=loss] path").first).not_to_have_attribute(
        "d", first, timeout=TRAINING_LIMIT_MS
    )
    shot(page, "learning-training")
    expect(page.locator("#train .tr-row[data-run][data-status=done]")).to_have_count(1, timeout=TRAINING_LIMIT_MS)
    shot(page, "learning-trained")


def blind_test(page: Page, shot: Shot) -> None:
    """Ten votes by keyboard, with one taken back and a pause; the shorter answer wins."""
    tab(page, "arena")
    page.locator("#arena [data-adapter] [data-action=evaluate]").click()
    page.locator("dialog select[name=n]").select_option(str(VOTES))
    page.locator("dialog .is-primary").click()
    count = page.locator("#arena .ar-count")
    for vote in range(VOTES):
        expect(count).to_have_text(f"{vote} of {VOTES}")
        sides = page.locator("#arena .ar-match .ar-side .answer")
        expect(sides).to_have_count(2, timeout=ANSWERS_LIMIT_MS)
        if vote == 0:
            shot(page, "learning-arena")
        if vote == 1:
            page.keyboard.press("u")
            expect(count).to_have_text(f"0 of {VOTES}")
            page.keyboard.press("ArrowDown")
            expect(count).to_have_text(f"1 of {VOTES}")
            page.locator("#arena [data-action=leave]").click()
            page.locator("#arena [data-action=go-on]").click()
            expect(sides).to_have_count(2, timeout=ANSWERS_LIMIT_MS)
        left, right = (len(text) for text in sides.all_inner_texts())
        page.keyboard.press("ArrowLeft" if left < right else "ArrowRight" if right < left else "ArrowDown")
    expect(page.locator("#arena .result")).to_be_visible()
    expect(page.locator("#arena .ar-interval")).to_be_visible()
    shot(page, "learning-result")


def promote(page: Page, shot: Shot) -> None:
    """By the gate when it has passed, else with a reason: ten votes prove only what is clear."""
    if page.locator("#arena .result").get_attribute("data-pass") == "true":
        page.locator("#arena [data-action=promote]").click()
    else:
        page.locator("#arena [data-action=override]").click()
        page.locator("dialog textarea").fill("Ten votes are few.")
        page.locator("dialog .is-primary").click()
    expect(page.locator("#arena [data-action=rollback]")).to_be_visible()
    expect(page.locator("#model-in-use")).not_to_contain_text("base")
    shot(page, "learning-promoted")


def follow_the_lineage(page: Page, write: WritePage) -> None:
    """From the answer to its training, and to the single ratings."""
    write.press("lineage")
    steps = page.locator("#lineage")
    expect(steps.locator(".ln-rows > li").first).to_be_visible()
    expect(steps.locator(".ln-rows")).to_contain_text(re.compile(r"Your \w+!"))
    run_id = steps.locator("[data-run]").get_attribute("data-run")
    steps.locator("[data-run]").click()
    expect(page.locator(f"#train-run[data-run='{run_id}']")).to_be_visible()
    tab(page, "write")


def test_nothing_tells_the_sides_apart(studio: RunningStudio, open_page: OpenPage) -> None:
    """What the page gets and holds while it is voted: two texts in two equal boxes."""
    client = Client(studio.url, verbose=False, analytics_enabled=False)
    adapters = [row["adapter"] for row in client.predict("", {}, 1, api_name="/library")["items"] if row["adapter"] != "base"]
    assert adapters, "the loop above has written with one"
    run_id = client.predict(adapters[0], {"n": 5, "against": "base"}, api_name="/evaluate")["run_id"]
    page = open_page(studio.url, selector="#prompt textarea")
    seen: list[str] = []
    page.on("requestfinished", lambda request: seen.append(answer_of(request)))
    page.goto(f"{studio.url}/?tab=arena&run={run_id}", wait_until="domcontentloaded")
    sides = page.locator("#arena .ar-match .ar-side")
    expect(sides).to_have_count(2, timeout=ANSWERS_LIMIT_MS)
    shapes = [re.sub(r">[^<]*<", "><", side.evaluate("node => node.cloneNode(false).outerHTML")) for side in sides.all()]
    assert re.sub("Left|Right", "", shapes[0]) == re.sub("Left|Right", "", shapes[1])
    page.keyboard.press("ArrowDown")
    expect(page.locator("#arena .ar-count")).to_have_text("1 of 5")
    told = [text for text in seen if '"left"' in text or "left" in text and "prompt" in text]
    assert told, "the pairs came over the network"
    for secret in (adapters[0], "sha256", "adapter_id", "candidate", "perplexity"):
        assert not [text for text in told if secret in text], secret
    assert adapters[0] not in page.locator("#page-arena").evaluate("node => node.outerHTML")


def answer_of(request: Request) -> str:
    """The body of an answer that is text, or nothing."""
    response = request.response()
    if response is None or "json" not in response.headers.get("content-type", ""):
        return ""
    return response.text()
