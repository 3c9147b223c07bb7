"""The Summarise page in a real browser: files in, what was read, summaries, sources, rating, the Library, stopping, reloading."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.studio import RunningStudio
from tests.engine.summary import papers

pytestmark = [pytest.mark.browser, pytest.mark.integration]

Shot = Callable[[Page, str], None]
WORK_LIMIT_MS = 240_000
"""The first summary also waits for the encoder's libraries, and two busy cores may be slow."""
MILL = [
    "The old mill at Harrow burned down on Tuesday night. Nobody was hurt in the fire, which was seen from three villages.",
    "The owner, Vera Lind, had sold the building to the council for 40,000 crowns in March. She had cried all night.",
    "Firefighters fought the flames until dawn. The council wants to build a library where the mill stood.",
    "It will decide on the plan in June. A library would cost about two million crowns, the mayor said.",
]
ZH = (
    "哈罗的老磨坊在星期二晚上被烧毁。火灾中没有人受伤。业主维拉在三月把房子卖给了镇政府，价格是四万克朗。"
    "镇政府想在原址建一座图书馆。六月将决定这个计划。"
)


class SummarizePage:
    """One open Summarise page, used as a person uses it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.text = page.locator("#summary-text")
        self.create = page.locator("#summary-create")
        self.files = page.locator("#summary-file-list .su-file")
        self.cards = page.locator("#summary-list .su-card")

    def add(self, *paths: Path) -> None:
        """Choose files, as with the button."""
        self.page.locator("#summary-files").set_input_files([str(path) for path in paths])

    def choose(self, *methods: str) -> None:
        """Exactly these methods."""
        every = ("extractive", "abstractive", "hybrid")
        for name in sorted(every, key=lambda one: one not in methods):  # those wished for first: one is always chosen
            button = self.page.locator(f"#summary-methods [data-value={name}]")
            if (button.get_attribute("aria-pressed") == "true") != (name in methods):
                button.click()

    def done(self, card: Locator) -> None:
        """Wait until a summary is there and judged."""
        expect(card).to_have_attribute("data-status", "done", timeout=WORK_LIMIT_MS)
        expect(card.locator(".su-sentence").first).to_be_visible()


@pytest.fixture
def summaries(studio: RunningStudio, open_page: OpenPage) -> SummarizePage:
    return SummarizePage(open_page(f"{studio.url}/?tab=summarize", selector="#summary-text"))


@pytest.fixture
def mill_pdf(tmp_path: Path) -> Path:
    pages = [[*textwrap.wrap(paragraph, 72), f"Page {n} of 4"] for n, paragraph in enumerate(MILL, 1)]
    (tmp_path / "mill.pdf").write_bytes(papers.pdf(pages, title="The mill"))
    return tmp_path / "mill.pdf"


def test_from_a_pdf_to_a_source_to_the_library(summaries: SummarizePage, mill_pdf: Path) -> None:
    page = summaries.page
    expect(summaries.create).to_be_disabled()
    summaries.add(mill_pdf)
    expect(summaries.files.first).to_have_attribute("data-state", "ready", timeout=WORK_LIMIT_MS)
    expect(summaries.files.first).to_contain_text("4 pages")
    expect(summaries.files.first).to_contain_text("page numbers")
    summaries.choose("extractive")
    summaries.create.click()
    card = summaries.cards.first
    expect(card).to_be_visible()
    summaries.done(card)
    sentence = card.locator(".su-sentence").last
    said = sentence.inner_text().strip()
    sentence.click()
    mark = page.locator("#summary-document mark").first
    expect(mark).to_be_visible()
    assert mark.inner_text().strip() in said or said in mark.inner_text()
    expect(sentence).to_have_class(re.compile("is-open"))
    page.keyboard.press("Escape")
    card.locator(".su-rate [data-score='1']").click()
    expect(card.locator(".rate-effect")).to_be_visible()
    creation = str(card.get_attribute("data-creation"))
    page.goto(page.url.split("?")[0] + f"?tab=library&item={creation}", wait_until="domcontentloaded")
    pane = page.locator("#library-preview")
    expect(pane.locator(".pane-answer")).to_contain_text(said[:40])
    expect(pane.locator("[data-scale='5']")).to_have_attribute("aria-pressed", "true")


def test_two_methods_stand_side_by_side_and_a_reload_in_the_middle_shows_the_same_work(summaries: SummarizePage) -> None:
    page = summaries.page
    summaries.text.fill("\n\n".join(MILL))
    summaries.choose("extractive", "abstractive")
    summaries.create.click()
    expect(summaries.cards).to_have_count(2)
    ids = [str(card.get_attribute("data-creation")) for card in summaries.cards.all()]
    page.reload(wait_until="domcontentloaded")
    expect(summaries.cards).to_have_count(2)
    assert [str(card.get_attribute("data-creation")) for card in summaries.cards.all()] == ids
    for card in summaries.cards.all():
        summaries.done(card)
    summaries.cards.first.locator("[data-action=pick]").click()
    expect(summaries.cards.first.locator(".su-best")).to_be_visible()
    expect(summaries.cards.last.locator(".su-best")).to_be_hidden()


def test_several_seeds_stand_side_by_side_one_is_picked_and_its_seed_used_again(summaries: SummarizePage, shot: Shot) -> None:
    page = summaries.page
    count = page.locator("#summary-count")
    summaries.choose("extractive")
    expect(page.locator("#summary-count-about")).to_contain_text("same each time")
    expect(count.locator("[data-value='2']")).to_be_disabled()
    summaries.text.fill("\n\n".join(MILL))
    summaries.choose("abstractive")
    page.locator("#summary-style").select_option("one_line")
    count.locator("[data-value='3']").click()
    expect(page.locator("#summary-count-about")).to_be_hidden()
    page.locator(".su-more > summary").click()
    page.locator("#summary-seed").fill("41")
    page.locator("#summary-seed").blur()
    shot(page, "summaries-form")
    summaries.create.click()
    expect(summaries.cards).to_have_count(3)
    expect(summaries.cards.first.locator("[data-action=stop]")).to_have_text("Stop all")
    ids = [str(card.get_attribute("data-creation")) for card in summaries.cards.all()]
    page.reload(wait_until="domcontentloaded")
    expect(summaries.cards).to_have_count(3)
    assert [str(card.get_attribute("data-creation")) for card in summaries.cards.all()] == ids
    for seed, card in enumerate(summaries.cards.all(), 41):
        summaries.done(card)
        expect(card.locator("[data-action=seed]")).to_have_text(f"seed {seed}")
    first, second, third = (card.bounding_box() for card in summaries.cards.all())
    assert first and second and third and first["x"] < second["x"] < third["x"]
    assert first["y"] == second["y"] == third["y"]
    summaries.cards.nth(1).locator("[data-action=pick]").click()
    expect(summaries.cards.nth(1).locator(".su-best")).to_be_visible()
    expect(page.locator("#summary-list .su-best:visible")).to_have_count(1)
    summaries.cards.nth(2).locator("[data-action=seed]").click()
    assert page.locator("#summary-seed").input_value() == "43"
    shot(page, "summaries-side-by-side")
    page.set_viewport_size({"width": 390, "height": 844})
    boxes = [card.bounding_box() for card in summaries.cards.all()]
    assert len({box["x"] for box in boxes if box}) == 1
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    shot(page, "summaries-phone")
    page.goto(page.url.split("?")[0] + "?tab=train", wait_until="domcontentloaded")
    page.locator("#train-task [data-value=summary]").click()
    headline = page.locator("#train-headline")
    expect(headline).to_contain_text(re.compile(r"\d+ pairs"))
    pairs = re.search(r"(\d+) pairs", headline.inner_text())
    assert pairs and int(pairs[1]) >= 2  # two of this click; other tests of the studio may have made one more
    expect(page.locator("#train [data-action=rate]")).to_have_text("Summarise and rate")
    shot(page, "summaries-train-phone")
    page.set_viewport_size({"width": 1280, "height": 860})
    shot(page, "summaries-train")


def test_one_stop_ends_all_summaries_of_a_click(summaries: SummarizePage) -> None:
    summaries.text.fill("\n\n".join(f"Day {n}. " + paragraph for n in range(40) for paragraph in MILL))
    summaries.choose("abstractive")
    summaries.page.locator("#summary-count [data-value='2']").click()
    summaries.create.click()
    expect(summaries.cards).to_have_count(2)
    summaries.cards.last.locator("[data-action=stop]").click()
    for card in summaries.cards.all():
        expect(card).to_have_attribute("data-status", "cancelled", timeout=WORK_LIMIT_MS)
        expect(card.locator("[data-action=resume]")).to_be_visible()


def test_an_address_inside_is_not_fetched_and_one_sentence_says_so(tmp_path: Path, models_dir: Path, open_page: OpenPage) -> None:
    asked: list[str] = []

    class Inside(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

    inside = ThreadingHTTPServer(("127.0.0.1", 0), Inside)
    Thread(target=inside.serve_forever, daemon=True).start()
    try:
        with RunningStudio(tmp_path / "data", models_dir, "--read-urls", offline=False) as running:
            page = open_page(f"{running.url}/?tab=summarize", selector="#summary-url")
            inside_url = f"http://127.0.0.1:{inside.server_port}/secret"
            for address, sentence in (
                ("http://127.0.0.1/secret", "not on the open internet, so it is not fetched. Paste its text instead."),
                ("http://localhost/secret", "not on the open internet"),
                (inside_url, "no address of a web page"),
            ):
                page.locator("#summary-url").fill(address)
                page.locator("#summary-fetch").click()
                row = page.locator("#summary-file-list .su-file", has_text=address)
                expect(row).to_have_attribute("data-state", "refused", timeout=WORK_LIMIT_MS)
                expect(row).to_contain_text(sentence)
            expect(page.locator("#summary-create")).to_be_disabled()
    finally:
        inside.shutdown()
        inside.server_close()
    assert asked == []


def test_stopping_in_the_middle_keeps_what_there_is_and_it_can_go_on(summaries: SummarizePage) -> None:
    summaries.text.fill("\n\n".join(f"Day {n}. " + paragraph for n in range(40) for paragraph in MILL))
    summaries.choose("abstractive")
    summaries.create.click()
    card = summaries.cards.first
    expect(card.locator("[data-action=stop]")).to_be_visible()
    expect(card.locator(".im-line-text")).to_have_text(re.compile("Part|Writing|Loading"), timeout=WORK_LIMIT_MS)
    summaries.page.keyboard.press("Escape")
    expect(card).to_have_attribute("data-status", "cancelled", timeout=WORK_LIMIT_MS)
    expect(card.locator("[data-action=resume]")).to_be_visible()
    expect(card.locator(".su-note")).to_contain_text("Stopped")


def test_a_file_that_cannot_be_read_says_why_and_the_text_stays(summaries: SummarizePage, tmp_path: Path) -> None:
    (tmp_path / "locked.pdf").write_bytes(papers.locked_pdf("secret"))
    summaries.text.fill("Some text that was typed before.")
    summaries.add(tmp_path / "locked.pdf")
    expect(summaries.files.first).to_have_attribute("data-state", "refused", timeout=WORK_LIMIT_MS)
    expect(summaries.files.first).to_contain_text("locked with a password")
    expect(summaries.text).to_have_value("Some text that was typed before.")
    summaries.page.reload(wait_until="domcontentloaded")
    expect(summaries.text).to_have_value("Some text that was typed before.")


def test_editing_makes_a_version_whose_inventions_are_marked(summaries: SummarizePage) -> None:
    summaries.text.fill("\n\n".join(MILL))
    summaries.choose("extractive")
    summaries.create.click()
    summaries.done(summaries.cards.first)
    summaries.cards.first.locator("[data-action=edit]").click()
    area = summaries.cards.first.locator(".su-edit textarea")
    area.fill("The old mill at Harrow burned down on Tuesday night. Seventeen penguins escaped to Brazil by submarine.")
    summaries.cards.first.locator("[data-action=save]").click()
    edited = summaries.cards.last
    expect(summaries.cards).to_have_count(2)
    expect(edited.locator(".su-sentence")).to_have_count(2, timeout=WORK_LIMIT_MS)
    expect(edited.locator(".su-sentence").last).to_have_class(re.compile("is-unsupported"))
    expect(edited.locator(".su-sentence").first).not_to_have_class(re.compile("is-unsupported"))
    edited.locator(".su-sentence").last.click()
    expect(edited.locator(".su-why")).to_contain_text("Not found")


def test_a_chinese_text_on_a_phone(studio: RunningStudio, open_page: OpenPage) -> None:
    summaries = SummarizePage(open_page(f"{studio.url}/zh/?tab=summarize", locale="zh-CN", phone=True, selector="#summary-text"))
    summaries.text.fill(ZH)
    summaries.choose("extractive")
    summaries.create.click()
    summaries.done(summaries.cards.first)
    summaries.cards.first.locator(".su-sentence").first.click()
    expect(summaries.page.locator("#summary-document mark").first).to_be_visible()
    assert summaries.page.locator("#summary-document mark").first.inner_text() in ZH
    summaries.page.locator(".su-switch [data-show=summary]").click()
    expect(summaries.cards.first).to_be_visible()
    assert summaries.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0


def test_hostile_text_is_shown_as_text(summaries: SummarizePage) -> None:
    hostile = (
        '<img src="http://evil.example/x.png" onerror="document.title=1"> <script>document.title=2</script> was all that it said.'
    )
    summaries.text.fill("\n\n".join([hostile, *MILL]))
    summaries.choose("extractive")
    summaries.create.click()
    summaries.done(summaries.cards.first)
    document = summaries.page.locator("#summary-document")
    expect(document).to_contain_text("<img src=")
    assert summaries.page.locator("#page-summarize :is(.su-doc, .su-list) :is(img, script)").count() == 0
    assert summaries.page.title() not in ("1", "2")


def test_a_summary_is_taken_along(summaries: SummarizePage) -> None:
    page = summaries.page
    summaries.text.fill("\n\n".join(MILL))
    summaries.choose("extractive")
    summaries.create.click()
    summaries.done(summaries.cards.first)
    summaries.cards.first.locator("[data-action=export]").click()
    with page.expect_download() as download:
        page.locator(".tm-menu button", has_text="Markdown").click()
    content = Path(download.value.path()).read_text(encoding="utf-8")
    assert download.value.suggested_filename.endswith(".md") and "AIGC" in content and "mill" in content
