"""The whole path of writing on a PostgreSQL server: what the other tests show on SQLite holds there too."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.engine.services.fakes import DEADLINE_S, wait_for
from tests.engine.services.studio_parts import OWNER, TextStudio, text_studio
from tests.postgres import running_cluster

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running_cluster() as cluster:
        yield cluster.create_database()


@pytest.fixture
def studio(url: str) -> Iterator[TextStudio]:
    with text_studio(url) as parts:
        yield parts


def test_a_conversation_with_versions_candidates_and_a_branch(studio: TextStudio) -> None:
    chat = studio.conversations.create(OWNER, system="简短。")
    first = studio.wrote("你好 \0 \ud800", conversation_id=chat.id, seed=1)
    edited = studio.text.edit(OWNER, first.id, "Better.")
    started = studio.write("more", conversation_id=chat.id, n=3, seed=2)
    studio.finish(started)
    assert len(studio.conversations.pick(OWNER, chat.id, started.creation_ids[1])) == 2
    turns = studio.conversations.thread(OWNER, chat.id).turns
    assert [turn.creation.id for turn in turns] == [edited.creation_id, started.creation_ids[1]]
    branch = studio.conversations.branch(OWNER, chat.id, first.id)
    assert [turn.creation.id for turn in studio.conversations.thread(OWNER, branch.id).turns] == [first.id]
    snapshot = studio.runner.wait(studio.text.reproduce(OWNER, started.creation_ids[1]), DEADLINE_S)
    assert snapshot is not None and snapshot.result is not None and snapshot.result["identical"]


def test_stopping_keeps_what_was_written(studio: TextStudio) -> None:
    studio.model.hold()
    started = studio.write("one two three four")
    studio.model.release(2)
    wait_for(lambda: studio.row(started.creation_ids[0]).output == "one two ")
    studio.jobs.cancel(OWNER, started.job_id)
    row = studio.row(started.creation_ids[0])
    assert (row.status, row.output) == ("cancelled", "one two ")


def test_four_clicks_at_once_are_one_job(studio: TextStudio) -> None:
    together, before, results = threading.Barrier(4), studio.rows(), []

    def click() -> None:
        together.wait(DEADLINE_S)
        results.append(studio.write("hello", key="postgres-click"))

    threads = [threading.Thread(target=click) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert len({result.job_id for result in results}) == 1
    assert len(results) == 4
    studio.finish(results[0])
    assert studio.rows() == before + 1
