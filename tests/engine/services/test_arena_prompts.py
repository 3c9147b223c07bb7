"""Which prompts a blind test asks, and the studio's own ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import BadOptionError
from engine.safety.limits import clean_text
from engine.services.arena_prompts import ArenaPrompts, nearest
from engine.training.dataset import prompt_key
from tests.engine.services.arena_parts import ASSETS_DIR, STYLES, FakeDatasets, user
from tests.engine.services.studio_parts import OWNER, TextStudio, text_studio

SHIPPED = {
    language: [
        text
        for kind in json.loads((ASSETS_DIR / "prompts" / f"{language}.json").read_text(encoding="utf-8"))["kinds"].values()
        for text in kind
    ]
    for language in ("en", "zh")
}


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[TextStudio]:
    with text_studio(tmp_path) as parts:
        yield parts


def chosen(studio: TextStudio, *, n: int = 10, seed: int = 0, held_out: tuple[str, ...] = ()) -> list[str]:
    prompts = ArenaPrompts(studio.database, FakeDatasets([user(text) for text in held_out]), ASSETS_DIR / "prompts", STYLES)
    return [prompt.text for prompt in prompts.chosen(OWNER, "text", dataset_id=None, n=n, seed=seed)]


@pytest.mark.parametrize(("language", "least"), [("en", 150), ("zh", 60)])
def test_the_shipped_prompts(language: str, least: int) -> None:
    texts = SHIPPED[language]
    assert len(texts) >= least
    assert len({prompt_key(user(text)) for text in texts}) == len(texts)
    assert all(clean_text(text, max_chars=120, what="A prompt") == text.strip() == text for text in texts)
    templates = json.loads((ASSETS_DIR / "templates.json").read_text(encoding="utf-8"))
    assert not set(texts) & {one[language]["prompt"] for one in templates}


def test_the_owner_s_own_unrated_prompts_come_before_the_studio_s(studio: TextStudio) -> None:
    mine, rated = studio.wrote("Write a song about soup."), studio.wrote("Write a song about bread.")
    studio.feedback.rate(OWNER, OWNER, rated.id, 1.0)
    studio.wrote("hi")
    texts = chosen(studio, held_out=("Held out.",))
    assert texts[:2] == ["Held out.", mine.prompt]
    assert rated.prompt not in texts and "hi" not in texts
    assert set(texts[2:]) <= set(SHIPPED["en"])
    assert len(set(texts)) == len(texts) == 20


def test_a_prompt_that_was_trained_on_or_chosen_between_is_not_fresh(studio: TextStudio) -> None:
    trained, unseen = studio.wrote("Write about rain today."), studio.wrote("Write about wind today.")
    first, second = studio.wrote("Write about snow today.", seed=1), studio.wrote("Write about snow today.", seed=2)
    studio.feedback.prefer(OWNER, OWNER, first.id, second.id)
    with studio.database.write() as uow:
        uow.datasets.set_splits(OWNER, "text", {prompt_key(user(trained.prompt)): "train"})
        uow.commit()
    texts = chosen(studio)
    assert texts[0] == unseen.prompt
    assert not {trained.prompt, first.prompt} & set(texts)


def test_an_unrated_turn_is_asked_with_what_came_before_it(studio: TextStudio) -> None:
    chat = studio.conversations.create(OWNER, system="Be brief.")
    studio.wrote("Name a bird.", conversation_id=chat.id, seed=1)
    studio.wrote("And make it shorter.", conversation_id=chat.id, seed=2)
    prompts = ArenaPrompts(studio.database, FakeDatasets(), ASSETS_DIR / "prompts", STYLES)
    found = prompts.chosen(OWNER, "text", dataset_id=None, n=2, seed=0)
    by_text = {prompt.text: prompt for prompt in found}
    assert [message["role"] for message in by_text["And make it shorter."].messages] == ["system", "user", "assistant", "user"]


def test_fresh_prompts_are_like_what_the_owner_writes(studio: TextStudio) -> None:
    for number in range(3):
        row = studio.wrote(f"Write a tagline for a shop number {number}.")
        studio.feedback.rate(OWNER, OWNER, row.id, 1.0)
    kinds = json.loads((ASSETS_DIR / "prompts" / "en.json").read_text(encoding="utf-8"))["kinds"]
    texts = chosen(studio, n=5)
    assert sum(text in kinds["tagline"] for text in texts[:5]) >= 4


def test_chinese_owners_get_chinese_prompts(studio: TextStudio) -> None:
    row = studio.wrote("为一家茶馆写一句广告语。")
    studio.feedback.rate(OWNER, OWNER, row.id, 1.0)
    texts = chosen(studio, n=30)
    assert set(texts) <= set(SHIPPED["zh"]) and "广告语" in texts[0]


def test_the_same_seed_draws_the_same(studio: TextStudio) -> None:
    assert chosen(studio, n=20, seed=1) == chosen(studio, n=20, seed=1) != chosen(studio, n=20, seed=2)


def test_there_are_always_enough(studio: TextStudio) -> None:
    texts = chosen(studio, n=200)
    assert len(texts) == 400 and set(texts) == set(SHIPPED["en"])


def test_given_prompts_are_asked_in_their_order_and_again(studio: TextStudio) -> None:
    datasets = FakeDatasets([user("Two.")])
    prompts = ArenaPrompts(studio.database, datasets, ASSETS_DIR / "prompts", STYLES).given(OWNER, "text", ("One.", "Two."), 3)
    assert [(prompt.text, prompt.is_held_out) for prompt in prompts] == [("One.", False), ("Two.", True)] * 3


def test_one_text_is_no_list(studio: TextStudio) -> None:
    prompts = ArenaPrompts(studio.database, FakeDatasets(), ASSETS_DIR / "prompts", STYLES)
    with pytest.raises(BadOptionError, match="list of texts"):
        prompts.given(OWNER, "text", "Write a line.", 3)


def test_nearest() -> None:
    assert nearest(["a cat sleeps", "the dog barks", "rain"], ["my dog barks loudly"])[0] == "the dog barks"
    assert nearest(["b", "a"], []) == ["b", "a"]
