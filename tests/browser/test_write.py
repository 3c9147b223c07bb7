"""Writing in a real browser with the real starter model: stream, stop, versions, candidates, ratings, two chats at once."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.studio import RunningStudio
from tests.browser.write_page import WritePage

pytestmark = [pytest.mark.browser, pytest.mark.integration]


@pytest.fixture
def write(studio: RunningStudio, open_page: OpenPage) -> WritePage:
    return WritePage(open_page(studio.url))


def test_an_answer_streams_and_says_how_it_was_made(studio: RunningStudio, open_page: OpenPage) -> None:
    write = WritePage(open_page(studio.url, max_new_tokens=200))
    seen = write.watch_lengths()
    write.send("Tell a long story about the sea.")
    final = write.wait_done()
    lengths = seen()
    assert len(lengths) >= 3 and lengths[0] < len(final), lengths  # it grew before the reader's eyes
    figures = write.last.locator(".figures").inner_text()
    assert "SmolLM2" in figures and re.search(r"\d+ tokens", figures) and "seed" in figures.lower()
    assert write.conversation_id
    expect(write.conversations.first).to_contain_text("Tell a long story about the sea.")


def test_stop_stops_the_model_and_keeps_what_was_written(studio: RunningStudio, open_page: OpenPage) -> None:
    write = WritePage(open_page(studio.url, max_new_tokens=1500))
    write.send("Tell a very long story about a lighthouse.")
    write.wait_text()
    write.stop.click()
    kept = write.wait_done()
    assert kept
    write.page.wait_for_timeout(1500)
    assert write.text() == kept
    expect(write.last).to_have_attribute("data-status", "cancelled")
    expect(write.page.locator("#activity")).not_to_have_class(re.compile("is-busy"))
    write.send("Go on, but shorter.")  # and it writes again at once
    write.wait_text()
    write.stop.click()
    assert write.wait_done()


def test_versions_are_made_by_regenerate_and_edit_and_flipped(write: WritePage) -> None:
    first = write.write("Name a colour and say why you like it.")
    second = write.again("regenerate")
    write.expect_version("2/2")
    write.last.locator(".versions .prev").click()
    write.expect_version("1/2")
    assert write.text() == first
    write.leave_box()
    write.page.keyboard.press("ArrowRight")
    write.expect_version("2/2")
    assert write.text() == second
    write.press("edit")
    editor = write.last.locator("textarea.th-editor")
    editor.fill("Blue, like **deep** water.")
    write.last.locator("[data-action=save]").click()
    write.expect_version("3/3")
    assert write.text() == "Blue, like deep water."
    write.page.reload(wait_until="domcontentloaded")
    write.expect_version("3/3")
    assert write.text() == "Blue, like deep water."


def test_an_edited_prompt_is_a_version_too(write: WritePage) -> None:
    write.write("Say hello to a cat.")
    turn = write.page.locator("#thread [data-turn]").last
    turn.hover()
    turn.locator("[data-action=edit-prompt]").click()
    turn.locator("textarea.th-editor").fill("Say hello to a dog.")
    turn.locator("[data-action=save]").click()
    expect(turn.locator(".th-prompt-text")).to_have_text("Say hello to a dog.")
    assert write.wait_done()
    write.expect_version("2/2")
    write.last.locator(".versions .prev").click()
    expect(turn.locator(".th-prompt-text")).to_have_text("Say hello to a cat.")


def test_a_branch_shares_the_past_and_goes_its_own_way(write: WritePage) -> None:
    first = write.write("Give me a name for a ship.")
    write.write("And one for its captain.")
    origin = write.conversation_id
    write.press("branch", write.answers.first)
    expect(write.answers).to_have_count(1)
    branch = write.conversation_id
    assert branch and branch != origin and write.text() == first
    write.write("And one for its cat.")
    write.page.goto(re.sub(r"c=\w+", f"c={origin}", write.page.url), wait_until="domcontentloaded")
    expect(write.page.locator("#thread .th-prompt-text")).to_have_text(["Give me a name for a ship.", "And one for its captain."])


def test_delete_can_be_undone(write: WritePage) -> None:
    text = write.write("Write one line about rain.")
    write.press("delete")
    expect(write.answers).to_have_count(0)
    write.page.locator("#tm-notices .tm-link").click()
    expect(write.answers).to_have_count(1)
    assert write.text() == text


def test_candidates_side_by_side_and_the_best_is_picked(write: WritePage) -> None:
    page = write.page
    page.locator("#candidates [data-n='3']").click()
    write.send("A headline for a bicycle shop.")
    expect(write.candidates).to_have_count(3)
    expect(write.candidates.nth(1).locator("[data-action=pick]")).to_be_enabled(timeout=180_000)
    texts = [write.text(write.candidates.nth(i)) for i in range(3)]
    assert len(set(texts)) > 1 and all(texts)
    write.candidates.nth(1).locator("[data-action=pick]").click()
    expect(write.answers).to_have_count(1)
    assert write.text() == texts[1]
    write.expect_version("2/3")
    page.reload(wait_until="domcontentloaded")
    expect(write.answers).to_have_count(1)
    assert write.text() == texts[1]


def test_a_rating_with_reason_and_comment_survives_a_reload(write: WritePage) -> None:
    write.write("Describe a good breakfast.")
    up = write.last.locator(".rate [data-score='1']")
    up.click()
    expect(up).to_have_attribute("aria-pressed", "true")
    expect(write.last.locator(".rate-effect")).to_contain_text(re.compile(r"\d"))
    write.last.locator(".reason").first.click()
    write.last.locator(".comment").fill("Makes me hungry.")
    write.last.locator(".comment").blur()
    write.page.wait_for_timeout(1200)  # a comment is sent a moment after the last key
    write.page.reload(wait_until="domcontentloaded")
    expect(write.last.locator(".rate [data-score='1']")).to_have_attribute("aria-pressed", "true")
    expect(write.last.locator(".reason[aria-pressed=true]")).to_have_count(1)
    expect(write.last.locator(".comment")).to_have_value("Makes me hungry.")
    write.leave_box()
    write.page.keyboard.press("1")
    expect(write.last.locator(".rate [data-score='-1']")).to_have_attribute("aria-pressed", "true")


def test_two_chats_stream_at_once(studio: RunningStudio, open_page: OpenPage) -> None:
    chats = [WritePage(open_page(studio.url, max_new_tokens=400)) for _ in range(2)]
    for number, chat in enumerate(chats):
        chat.send(f"Tell a long story, number {number}, about the stars.")
    for chat in chats:
        chat.wait_text()
    before = [chat.text() for chat in chats]
    for chat, text in zip(chats, before, strict=True):
        expect(chat.last.locator(".answer")).not_to_have_text(text, use_inner_text=True, timeout=60_000)
    assert all(chat.stop.is_visible() for chat in chats), "one had ended before the other went on"
    for chat in chats:
        chat.stop.click()
        assert chat.wait_done()
    assert chats[0].conversation_id != chats[1].conversation_id


def test_a_seed_writes_the_same_text_again(write: WritePage) -> None:
    write.page.locator("#settings-toggle").click()
    seed = write.page.locator("#sampling [data-option=seed]")
    seed.fill("4711")
    seed.blur()
    first = write.write("Invent a word for the smell of rain.")
    write.press("reproduce")
    expect(write.last.locator(".th-reproduced.is-good")).to_be_visible(timeout=120_000)
    write.page.locator("#new-conversation").click()
    assert write.write("Invent a word for the smell of rain.") == first


def test_two_clicks_at_once_are_one_creation(write: WritePage) -> None:
    write.prompt.fill("Only once, please.")
    write.page.evaluate("() => { const b = document.getElementById('create'); b.click(); b.click(); b.click(); }")
    write.prompt.press("Control+Enter")
    write.wait_done()
    expect(write.answers).to_have_count(1)
    expect(write.last.locator(".versions")).to_have_count(0)


def test_a_chinese_prompt_is_answered_and_said_to_be_foreign_to_the_model(write: WritePage) -> None:
    write.send("写一句关于春天的话。")
    expect(write.last.locator(".th-note").first).to_contain_text("English")
    write.wait_done()


def test_an_empty_and_a_far_too_long_prompt_lose_nothing(write: WritePage) -> None:
    expect(write.create).to_be_disabled()
    text = "x" * 300_000
    write.prompt.fill(text)
    write.create.click()
    expect(write.page.locator("#tm-notices .is-error")).to_contain_text("200,000")
    assert write.prompt.input_value() == text
