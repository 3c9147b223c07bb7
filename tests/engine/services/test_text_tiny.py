"""Writing with a real engine on a tiny random model: what a row records is enough to get the identical text again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.jobs.job import JobSnapshot
from engine.text.local import LocalTextModel
from tests.engine.services.fakes import DEADLINE_S, MODEL_ID, wait_for
from tests.engine.services.studio_parts import OWNER, TextStudio, text_studio
from tests.tiny import load_tiny, make_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalTextModel]:
    loaded = load_tiny(make_model(tmp_path_factory.mktemp("tiny"), context_length=4096), MODEL_ID, context_length=4096)
    yield loaded
    loaded.close()


@pytest.fixture
def studio(tmp_path: Path, model: LocalTextModel) -> Iterator[TextStudio]:
    with text_studio(tmp_path, model) as parts:  # type: ignore[arg-type]
        yield parts


def reproduced(studio: TextStudio, creation_id: str) -> JobSnapshot:
    snapshot = studio.runner.wait(studio.text.reproduce(OWNER, creation_id), DEADLINE_S)
    assert snapshot is not None and snapshot.status == "done", snapshot
    return snapshot


def test_every_answer_of_a_conversation_comes_again(studio: TextStudio) -> None:
    chat, other = studio.conversations.create(OWNER, system="Be brief."), studio.conversations.create(OWNER)
    created = [studio.wrote("hello there", conversation_id=chat.id, max_new_tokens=24).id]
    # Another chat runs beside the second turn, and the second turn has candidates.
    beside = studio.write("something else entirely", conversation_id=other.id, max_new_tokens=60)
    several = studio.write("and now?", conversation_id=chat.id, n=3, max_new_tokens=24)
    studio.finish(several)
    studio.finish(beside)
    created += [*several.creation_ids, *beside.creation_ids]
    studio.conversations.pick(OWNER, chat.id, several.creation_ids[1])
    created.append(studio.wrote("go on 你好", conversation_id=chat.id, max_new_tokens=24, temperature=0.0).id)
    created.append(studio.wrote("", parent_id=created[-1], max_new_tokens=24, temperature=1.3).id)
    for creation_id in created:
        row = studio.row(creation_id)
        assert row.status == "done"
        assert row.path["segments"]
        assert reproduced(studio, creation_id).result == {"text": row.output, "identical": True, "creation_id": creation_id}


def test_a_stopped_answer_and_what_goes_on_from_it_come_again(studio: TextStudio) -> None:
    started = studio.write("count to a million", max_new_tokens=3000)
    wait_for(lambda: studio.runner.snapshot(started.job_id).data["creations"][0]["tokens"] > 5)  # type: ignore[union-attr]
    studio.jobs.cancel(OWNER, started.job_id)
    assert studio.finish(started).status == "cancelled"
    stopped = studio.row(started.creation_ids[0])
    assert stopped.status == "cancelled"
    assert 5 < (stopped.output_tokens or 0) < 3000
    result = reproduced(studio, stopped.id).result
    assert result is not None and result["identical"]
    longer = studio.wrote("", continue_from=stopped.id, max_new_tokens=20)
    assert longer.output.startswith(stopped.output)
    assert longer.output_tokens == 20
    result = reproduced(studio, longer.id).result
    assert result is not None and result["identical"]


def test_the_same_seed_in_the_same_place_writes_the_same(studio: TextStudio) -> None:
    first = studio.wrote("hello", seed=3, max_new_tokens=30)
    again = studio.write("hello", seed=2, n=2, max_new_tokens=30)
    studio.finish(again)
    assert studio.row(again.creation_ids[1]).output == first.output
