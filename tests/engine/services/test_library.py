"""Find, open, star, tag, trash, restore."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from engine.errors import BadOptionError, NotFoundError, TooLongError
from engine.services.feedback import FeedbackService
from engine.services.library import PAGE_SIZE, LibraryService
from storage.database import Database
from storage.files import FileStore
from storage.records import CreationFilter
from tests.engine.services.library_parts import OWNER, add, opened, version_of


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with opened(tmp_path) as database:
        yield database


@pytest.fixture
def files(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "files")


@pytest.fixture
def library(database: Database, files: FileStore) -> LibraryService:
    return LibraryService(database, files)


def found(library: LibraryService, **filters: object) -> list[str]:
    page = library.search(OWNER, OWNER, CreationFilter(**filters))  # type: ignore[arg-type]
    return [item.creation.output for item in page.items]


def test_search_finds_english_and_two_character_chinese_words(database: Database, library: LibraryService) -> None:
    add(database, "写一首诗", "一只猫咪在窗台上睡觉")
    add(database, "Write a tagline", "Coffee that wakes the mountain")
    assert found(library, query="猫咪") == ["一只猫咪在窗台上睡觉"]
    assert found(library, query="mountain") == ["Coffee that wakes the mountain"]
    assert found(library, query="tagline coffee") == ["Coffee that wakes the mountain"]
    assert found(library, query="狗") == []


@pytest.mark.parametrize(
    "query", ['"', "*", "OR", "NEAR(", "'; drop table creations; --", "a AND", "(", "col:x", "\0", "\ud800", "%"]
)
def test_no_query_is_an_error(database: Database, library: LibraryService, query: str) -> None:
    add(database)
    assert isinstance(found(library, query=query), list)
    assert len(found(library)) == 1


def test_an_overlong_query_and_a_bad_page_are_refused_in_words(library: LibraryService) -> None:
    with pytest.raises(TooLongError):
        found(library, query="x" * 1001)
    for page in (0, -1, 1.5, True, "1"):
        with pytest.raises(BadOptionError):
            library.search(OWNER, OWNER, page=page)  # type: ignore[arg-type]
    with pytest.raises(BadOptionError):
        found(library, min_score=2)
    with pytest.raises(BadOptionError):
        found(library, created_from=datetime(2026, 1, 1))  # noqa: DTZ001 - a time without a zone is what is tested


def test_pages_are_newest_first_and_together_hold_everything_once(database: Database, library: LibraryService) -> None:
    made = [add(database, output=f"answer {n}").output for n in range(PAGE_SIZE + 3)]
    first, second = (library.search(OWNER, OWNER, page=n) for n in (1, 2))
    assert first.total == second.total == len(made)
    assert [item.creation.output for item in (*first.items, *second.items)] == made[::-1]


def test_filters_by_rating_star_and_tag(database: Database, library: LibraryService) -> None:
    good, bad, none = (add(database, output=name) for name in ("good", "bad", "none"))
    feedback = FeedbackService(database)
    feedback.rate(OWNER, OWNER, good.id, 1)
    feedback.rate(OWNER, OWNER, bad.id, -1)
    library.star(OWNER, [bad.id])
    library.tag(OWNER, [none.id, good.id], add=["for the shop"])
    assert found(library, min_score=0.5) == ["good"]
    assert found(library, max_score=0) == ["bad"]
    assert found(library, rated=False) == ["none"]
    assert found(library, starred=True) == ["bad"]
    assert found(library, tag="for the shop") == ["none", "good"]
    assert library.facets(OWNER)["tags"] == ["for the shop"]


def test_trash_hides_and_restore_brings_back_with_everything(database: Database, library: LibraryService) -> None:
    creation = add(database)
    FeedbackService(database).rate(OWNER, OWNER, creation.id, 1)
    assert library.trash(OWNER, [creation.id, "0" * 32]) == 1
    assert found(library) == [] and found(library, trashed=True) == ["an answer"]
    assert library.get(OWNER, OWNER, creation.id).creation.trashed_at is not None
    assert library.restore(OWNER, [creation.id]) == 1
    detail = library.get(OWNER, OWNER, creation.id)
    assert detail.creation.trashed_at is None and detail.rating is not None and detail.rating.score == 1


def test_detail_has_all_versions_ratings_and_preferences(database: Database, library: LibraryService) -> None:
    first = add(database)
    second = version_of(database, first, "another answer")
    feedback = FeedbackService(database)
    for creation, score in ((first, -1), (first, 0.5), (second, 1)):
        feedback.rate(OWNER, OWNER, creation.id, score)
    detail = library.get(OWNER, OWNER, first.id)
    assert [version.id for version in detail.versions] == [first.id, second.id]
    assert [rating.score for rating in detail.rating_history] == [-1, 0.5]
    assert [(p.chosen_id, p.rejected_id) for p in detail.preferences] == [(second.id, first.id)]


def test_others_creations_cannot_be_seen_or_changed(database: Database, library: LibraryService, files: FileStore) -> None:
    theirs = add(database, owner="alice", media_name="a.txt")
    files.put("a.txt", b"hers")
    assert (
        library.star(OWNER, [theirs.id]) == library.trash(OWNER, [theirs.id]) == library.tag(OWNER, [theirs.id], add=["x"]) == 0
    )
    assert found(library) == []
    for look in (lambda: library.get(OWNER, OWNER, theirs.id), lambda: library.media_path(OWNER, theirs.id)):
        with pytest.raises(NotFoundError, match="^Nothing with this id.$"):
            look()


def test_media_is_found_by_the_creation_and_missing_media_is_not_found(
    database: Database, library: LibraryService, files: FileStore
) -> None:
    digest = files.put("ab/picture.png", b"bytes")
    creation = add(database, media_name="ab/picture.png", media_sha256=digest)
    assert library.media_path(OWNER, creation.id).read_bytes() == b"bytes"
    files.delete("ab/picture.png")
    for creation_id in (creation.id, add(database).id, "a\0", "../x"):
        with pytest.raises(NotFoundError):
            library.media_path(OWNER, creation_id)
