"""Lists, filters and search: the same on both databases, in any language, for any input."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from storage import search
from storage.database import Database
from storage.records import CreationFilter, CreationRecord
from storage.unit_of_work import UnitOfWork

HOSTILE = ('"', '""', '"""', "*", "OR", "AND", "NOT", "NEAR(", "NEAR(a b, 2)", "'; drop table creations", "a\0b", "\\", "(", ":*")
MORE_HOSTILE = ("a:*", "^a", "-a", "{a}:b", "body:a", "!", "<->", "a & b", "\ud800", "%", "_", " \t\n", "\u202e", "'a", "a' | 'b")


def add(uow: UnitOfWork, prompt: str, output: str = "", **fields: Any) -> CreationRecord:
    return uow.creations.add("owner", kind=fields.pop("kind", "text"), prompt=prompt, model_id="m", output=output, **fields)


def found(uow: UnitOfWork, query: str) -> list[str]:
    return [item.creation.prompt for item in uow.creations.search("owner", "owner", CreationFilter(query=query)).items]


@pytest.mark.parametrize(
    ("text", "hits", "misses"),
    [
        ("写一首关于小猫咪的诗", ("猫咪", "小猫咪", "猫", "诗", "写一首", "的诗", "关于 猫咪"), ("猫狗", "咪猫", "首诗", "猫诗")),
        ("Ein schöner Café-Besuch in Straße 5", ("cafe", "SCHONER", "café besuch", "strasse", "5"), ("caf5", "chöner", "ca")),
        ("今日はラーメンを食べる", ("ラーメン", "食べ", "今日"), ("ラン", "寿司")),
        ("안녕하세요 세계", ("안녕", "세계"), ("계세",)),
        ("สวัสดีชาวโลก", ("สวัสดี", "โลก"), ("แมว",)),
        ("नमस्ते दुनिया", ("नमस्ते", "दुनिया"), ("दनिया",)),
        ("iPhone手机评测2024年", ("手机", "iphone", "2024", "评测", "IPHONE 手机"), ("机手",)),
        ("a fox 🦊 and 👩‍👧", ("🦊", "fox", "👧"), ("🐱",)),
        ("the quick brown fox", ('"quick brown"', "fox quick", "bro", '"the quick" fox'), ('"brown quick"', "row", "quicker")),
        ("ＡＢＣ１２３", ("abc123", "ABC"), ("123",)),
        ("no NEAR or AND here", ("near", "AND", "or no"), ("NOT",)),
    ],
)
def test_words_are_found_in_any_language(database: Database, text: str, hits: tuple[str, ...], misses: tuple[str, ...]) -> None:
    with database.write() as uow:
        add(uow, text)
        assert {query: found(uow, query) for query in hits} == dict.fromkeys(hits, [text])
        assert {query: found(uow, query) for query in misses} == dict.fromkeys(misses, [])


@pytest.mark.parametrize("query", HOSTILE + MORE_HOSTILE)
def test_no_query_is_an_error(database: Database, query: str) -> None:
    with database.write() as uow:
        add(uow, "plain words")
        uow.conversations.add("owner", title="plain")
        page = uow.creations.search("owner", "owner", CreationFilter(query=query))
        assert page.total == len(page.items)
        if "\ud800" not in query:
            uow.conversations.list("owner", query=query)
        assert found(uow, "plain") == ["plain words"]


def test_index_follows_changes(database: Database) -> None:
    with database.write() as uow:
        made = add(uow, "猫咪", "first answer")
        uow.creations.update("owner", made.id, output="second 狗狗")
        assert (found(uow, "first"), found(uow, "answer")) == ([], [])
        assert (found(uow, "狗狗"), found(uow, "猫咪"), found(uow, "second")) == (["猫咪"], ["猫咪"], ["猫咪"])
        uow.creations.update("owner", made.id, status="done", starred=True)
        assert found(uow, "second") == ["猫咪"]
        uow.creations.update("owner", made.id, prompt="dog", output="")
        assert (found(uow, "second"), found(uow, "猫咪"), found(uow, "dog")) == ([], [], ["dog"])
        uow.creations.trash("owner", [made.id])
        assert found(uow, "dog") == []
        uow.commit()
    assert database.rebuild_search() == 1
    with database.read() as uow:
        page = uow.creations.search("owner", "owner", CreationFilter(query="dog", trashed=True))
        assert page.total == 1


def test_very_long_text_is_kept_and_its_beginning_found(database: Database) -> None:
    words = " ".join(f"word{number}" for number in range(40_000))
    with database.write() as uow:
        made = add(uow, "字" * 50_000, words)
        short = add(uow, "x" * 3000)
        assert uow.creations.get("owner", made.id).output == words
        assert found(uow, "字字") == [made.prompt] and found(uow, "x" * 3000) == [short.prompt]


def test_words_are_bounded_and_cut_the_same_every_time() -> None:
    assert len(search.words("字" * 50_000)) == search.MAX_INDEXED_WORDS
    assert all(len(word.encode()) <= search.MAX_WORD_BYTES for word in search.words("é" * 1000 + " " + "語" * 9))
    draw = random.Random(1)
    for _ in range(300):
        text = "".join(chr(draw.choice((draw.randrange(32, 0x250), draw.randrange(0x4E00, 0x4E20)))) for _ in range(40))
        cut = search.words(text)
        assert cut == search.words(text) and search.segment(text).split(" ") == (cut or [""])
        assert not set("'\"\\:*()&|!<> ") & set("".join(cut))


def test_filters_agree_with_plain_python(database: Database) -> None:
    """Every filter alone and many together, against a list comprehension."""
    draw = random.Random(3)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    with database.write() as uow:
        for number in range(120):
            made = uow.creations.add(
                "owner",
                kind=draw.choice(("text", "image", "summary")),
                prompt=draw.choice(("红色 apple", "绿色 pear", "plum")),
                model_id=draw.choice("ab"),
                adapter_id=draw.choice(("base", "tuned")),
                starred=draw.random() < 0.5,
                tags=draw.sample(("x", "y", "z"), k=draw.randrange(3)),
                created_at=start + timedelta(days=draw.randrange(30)),
                trashed_at=start if draw.random() < 0.2 else None,
            )
            if number % 2:
                uow.ratings.set("owner", made.id, draw.choice((-1, -0.5, 0, 0.5, 1, None)))
            uow.ratings.set("guest", made.id, 0.25)
        uow.creations.add("bob", kind="text", prompt="红色 apple", model_id="a")
        uow.commit()
    with database.read() as uow:
        everything = [item for on in (False, True) for item in uow.creations.each("owner", "owner", CreationFilter(trashed=on))]
        assert len(everything) == 120
        for _ in range(150):
            asked = _draw_filter(draw, start)
            wanted = sorted((i.creation.seq for i in everything if _matches(i.creation, i.score, asked)), reverse=True)
            page = uow.creations.search("owner", "owner", asked, page_size=200)
            assert [item.creation.seq for item in page.items] == wanted and page.total == len(wanted), asked
            assert [item.creation.seq for item in uow.creations.each("owner", "owner", asked)] == wanted[::-1]


def _draw_filter(draw: random.Random, start: datetime) -> CreationFilter:
    def maybe(*values: Any) -> Any:
        return draw.choice(values) if draw.random() < 0.25 else None

    return CreationFilter(
        query=maybe("apple", "红色", "绿色 pear", "nothing") or "",
        kind=maybe("text", "image"),
        model_id=maybe("a", "b"),
        adapter_id=maybe("base"),
        min_score=maybe(-0.5, 0.5),
        max_score=maybe(0.0, 0.5),
        rated=maybe(True, False),
        starred=maybe(True, False),
        tag=maybe("x", "none"),
        created_from=maybe(start + timedelta(days=10)),
        created_to=maybe(start + timedelta(days=20)),
        trashed=draw.random() < 0.3,
    )


def _matches(creation: CreationRecord, score: float | None, asked: CreationFilter) -> bool:
    scored_wanted = asked.rated is True or asked.min_score is not None or asked.max_score is not None
    tests = [
        all(word in creation.prompt for word in asked.query.split()),
        asked.kind in (None, creation.kind),
        asked.model_id in (None, creation.model_id),
        asked.adapter_id in (None, creation.adapter_id),
        asked.starred in (None, creation.starred),
        asked.tag is None or asked.tag in creation.tags,
        asked.created_from is None or creation.created_at >= asked.created_from,
        asked.created_to is None or creation.created_at <= asked.created_to,
        asked.trashed == (creation.trashed_at is not None),
        not (asked.rated is False and score is not None),
        not scored_wanted or score is not None,
        asked.min_score is None or (score is not None and score >= asked.min_score),
        asked.max_score is None or (score is not None and score <= asked.max_score),
    ]
    return all(tests)


def test_pages_are_newest_first_without_gaps(database: Database) -> None:
    with database.write() as uow:
        made = [add(uow, str(number)).id for number in range(25)]
        pages = [uow.creations.search("owner", "owner", CreationFilter(), page=n, page_size=10) for n in (1, 2, 3, 4)]
        assert [item.creation.id for page in pages for item in page.items] == made[::-1]
        assert [page.total for page in pages] == [25] * 4 and [page.page for page in pages] == [1, 2, 3, 4]


def test_each_streams_more_than_one_batch(database: Database) -> None:
    with database.write() as uow:
        made = [add(uow, str(number)).id for number in range(1101)]
        assert [item.creation.id for item in uow.creations.each("owner", "owner", CreationFilter())] == made


def test_facets_say_what_can_be_filtered(database: Database) -> None:
    with database.write() as uow:
        add(uow, "a", tags=("乙", "a"))
        add(uow, "b", adapter_id="tuned")
        uow.creations.add("owner", kind="text", prompt="c", model_id="gone", trashed_at=datetime.now(UTC), tags=("trash",))
        facets = uow.creations.facets("owner")
    assert facets["models"] == ["m"] and facets["adapters"] == ["base", "tuned"] and facets["tags"] == ["a", "乙"]
