"""A killed or closed studio loses no prompt and no word that was on the page a second before."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine.services.fakes import FakeTextModel, wait_for
from tests.engine.services.studio_parts import OWNER, text_studio

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("words", [0, 3])
def test_kill_9_in_the_middle_of_an_answer_keeps_the_prompt_and_what_was_written(tmp_path: Path, words: int) -> None:
    command = [sys.executable, "-m", "tests.engine.services.writing_child", str(tmp_path), str(words)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            said = json.loads(child.stdout.readline())
        finally:
            child.kill()
        assert child.wait(20) == -signal.SIGKILL

    with text_studio(tmp_path, FakeTextModel(lambda request, row: ["more"])) as studio:
        snapshot = studio.jobs.get(OWNER, said["job"])
        assert snapshot.status == "interrupted"
        assert studio.jobs.interrupted(OWNER) == (snapshot,)
        for creation_id, view in zip(said["creations"], snapshot.data["creations"], strict=True):
            row = studio.row(creation_id)
            assert row.status == view["status"] == "interrupted"
            assert row.prompt.startswith("w0 w1 ") and row.prompt.endswith(" w99")
            assert len(row.output.split()) == words
        thread = studio.conversations.thread(OWNER, said["conversation"])
        assert thread.active_job_id is None
        assert [turn.creation.status for turn in thread.turns] == ["interrupted"]
        resumed = studio.text.resume(OWNER, said["creations"][1])
        studio.finish(resumed)
        assert studio.row(resumed.creation_ids[0]).output == studio.row(said["creations"][1]).output + "more"


def test_closing_the_studio_marks_what_runs_as_interrupted_with_what_it_has(tmp_path: Path) -> None:
    with text_studio(tmp_path) as studio:
        studio.model.hold()
        started = studio.write("one two three four")
        studio.model.release(2)
        wait_for(lambda: studio.runner.snapshot(started.job_id).data["creations"][0]["tokens"] == 2)  # type: ignore[union-attr]
    with text_studio(tmp_path) as studio:
        row = studio.row(started.creation_ids[0])
        assert (row.status, row.output, row.error) == ("interrupted", "one two ", None)
        assert studio.jobs.get(OWNER, started.job_id).status == "interrupted"
        assert studio.jobs.interrupted(OWNER) == ()  # it was not cut off: it was closed
