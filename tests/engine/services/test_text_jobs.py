"""A job looks the same from memory and from its row, to its owner only."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import NotFoundError
from engine.jobs.job import JobSnapshot
from engine.jobs.runner import JobRunner
from engine.services.jobs import JobsService, RowJobStore
from tests.engine.services.fakes import DEADLINE_S
from tests.engine.services.studio_parts import OWNER, TextStudio, text_studio


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[TextStudio]:
    with text_studio(tmp_path) as parts:
        yield parts


def later(studio: TextStudio) -> JobsService:
    """The service of a studio whose memory knows no job (any more)."""
    return JobsService(studio.database, JobRunner(RowJobStore(studio.database)))


async def states(service: JobsService, job_id: str, after: int = 0) -> list[JobSnapshot]:
    return [snapshot async for snapshot in service.follow(OWNER, job_id, after)]


def test_the_row_tells_what_memory_told(studio: TextStudio) -> None:
    started = studio.write("one two", n=2)
    studio.finish(started)
    live, row = studio.jobs.get(OWNER, started.job_id), later(studio).get(OWNER, started.job_id)
    assert row.status == live.status == "done"
    assert row.result == live.result
    for from_row, from_memory in zip(row.data["creations"], live.data["creations"], strict=True):
        assert from_row == pytest.approx(from_memory)
    assert {key: value for key, value in row.data.items() if key != "creations"} == {
        key: value for key, value in live.data.items() if key != "creations"
    }


def test_an_error_is_told_the_same_after_memory_is_gone(studio: TextStudio) -> None:
    studio.model.fail_after = 0
    started = studio.write("one two")
    studio.finish(started)
    live, row = studio.jobs.get(OWNER, started.job_id), later(studio).get(OWNER, started.job_id)
    assert (
        (row.status, row.error_code, row.error)
        == (live.status, live.error_code, live.error)
        == ("failed", "no_model", "The model broke.")
    )


def test_a_follower_who_comes_after_all_is_over_gets_the_end_whatever_it_saw(studio: TextStudio) -> None:
    started = studio.write("one two")
    studio.finish(started)
    for after in (0, 500):
        (snapshot,) = asyncio.run(states(later(studio), started.job_id, after))
        assert snapshot.is_final
        assert snapshot.seq > after


def test_a_follower_who_comes_before_the_runner_has_the_job_waits_for_it(studio: TextStudio) -> None:
    with studio.database.write() as uow:
        job, _ = uow.jobs.add(OWNER, kind="test", request={})
        uow.commit()

    async def run() -> list[JobSnapshot]:
        follower = asyncio.create_task(states(studio.jobs, job.id))
        await asyncio.sleep(0.06)
        studio.runner.start(job, lambda context: {"n": 1}, lane="batch")
        return await asyncio.wait_for(follower, DEADLINE_S)

    assert asyncio.run(run())[-1].result == {"n": 1}


def test_unknown_and_foreign_jobs_look_alike(studio: TextStudio) -> None:
    started = studio.write("one")
    studio.finish(started)
    messages = set()
    for owner_id, job_id in ((OWNER, "nothing"), ("guest", started.job_id)):
        with pytest.raises(NotFoundError) as refused:
            studio.jobs.get(owner_id, job_id)
        messages.add(str(refused.value))
        with pytest.raises(NotFoundError):
            studio.jobs.cancel(owner_id, job_id)
    assert len(messages) == 1


def test_active_jobs_are_the_owners_own_and_end(studio: TextStudio) -> None:
    studio.model.hold()
    started = studio.write("one")
    assert [snapshot.job_id for snapshot in studio.jobs.active(OWNER)] == [started.job_id]
    assert studio.jobs.active("guest") == ()
    studio.jobs.cancel(OWNER, started.job_id)
    studio.finish(started)
    assert studio.jobs.active(OWNER) == ()
    assert studio.jobs.cancel(OWNER, started.job_id) == "cancelled"


def test_the_row_knows_when_a_job_began_and_ended(studio: TextStudio) -> None:
    started = studio.write("one")
    studio.finish(started)
    with studio.database.read() as uow:
        job = uow.jobs.get(OWNER, started.job_id)
    assert job.started_at is not None and job.finished_at is not None
    assert job.created_at <= job.started_at <= job.finished_at
    assert job.attempts == 1
