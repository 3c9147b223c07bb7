"""Runs are planned, start, queue, stop, go on and end with an adapter. A stand-in for the program that trains does the work."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.errors import BadOptionError, NoModelError, NotEnoughDataError, NotFoundError
from engine.services.meters import Meters
from engine.services.runs import RunRequest
from engine.services.training_tail import EventTail
from engine.training.artifact import verify
from engine.types import TrainOptions
from tests.engine.services.fakes import wait_for
from tests.engine.services.training_parts import CPU, OWNER, TrainingStudio, training_studio

LONG = {"steps": 100, "step_s": 0.1}
"""Long enough to do something to it, on a busy machine too."""
REST = {"steps": 100, "step_s": 0.001}


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[TrainingStudio]:
    with training_studio(tmp_path) as opened:
        yield opened


@pytest.fixture
def does(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Say what the stand-in does."""
    return lambda **what: monkeypatch.setenv("STAND_IN", json.dumps(what))


def kill(studio: TrainingStudio, run_id: str, number: int = signal.SIGKILL) -> None:
    """End the run's process from outside."""
    pid = json.loads((studio.folder / "runs" / run_id / "pid.json").read_text())["pid"]
    os.kill(pid, number)


def test_a_run_ends_with_an_adapter_whose_lineage_is_whole(studio: TrainingStudio) -> None:
    record = studio.dataset()
    started = studio.training.train(OWNER, OWNER, TrainOptions(dataset=record.id, preset="quick", name="Short and kind"))
    snapshot = studio.end(started.run_id)
    assert snapshot.status == "done", snapshot.error
    view = studio.training.run(OWNER, started.run_id)
    assert view.adapter is not None and view.adapter.id == started.adapter_id
    assert (view.adapter.name, view.adapter.run_id, view.adapter.dataset_id) == ("Short and kind", started.run_id, record.id)
    manifest = verify(studio.folder / "adapters" / started.adapter_id)
    assert (manifest.sha256, manifest.base_sha256) == (view.adapter.sha256, view.adapter.base_sha256)
    assert manifest.settings == view.settings == started.settings
    assert manifest.dataset_sha256 == record.sha256
    assert view.adapter.metrics == {"held_out_accuracy": 0.75}


def test_figures_reach_the_rows_once_each_and_in_order(studio: TrainingStudio) -> None:
    run_id = studio.train()
    studio.end(run_id)
    metrics = studio.events(run_id, "metrics")
    assert [event.body["step"] for event in metrics] == list(range(1, 13))
    assert [body["loss"] for body in studio.training.run(OWNER, run_id).metrics] == [1 / step for step in range(1, 13)]
    newest = studio.training.events(OWNER, run_id, after=metrics[-2].n)
    assert newest[0] == metrics[-1] and newest[-1].kind == "done"
    data = studio.runner.snapshot(run_id).data  # type: ignore[union-attr]
    assert data["last"]["step"] == data["step"] == data["total"] == 12 and data["events_n"] == newest[-1].n
    assert data["machine"]["memory_bytes"] > 0


def test_what_a_page_saw_live_it_sees_after_a_restart(tmp_path: Path) -> None:
    with training_studio(tmp_path) as studio:
        run_id = studio.train()
        live = studio.end(run_id)
    with training_studio(tmp_path) as studio:
        later = studio.jobs.get(OWNER, run_id)
        assert later.status == "done" and later.result == live.result
        assert {**later.data, "machine": {}} == {**live.data, "machine": {}}


def test_the_same_click_twice_is_one_run(studio: TrainingStudio) -> None:
    assert studio.train(idempotency_key="a") == studio.train(idempotency_key="a") != studio.train(idempotency_key="b")


def test_one_trains_and_the_others_wait_in_their_order(studio: TrainingStudio, does: Any) -> None:
    does(step_s=0.3)
    first, second, third = (studio.train() for _ in range(3))
    studio.wait_for_step(first, 1)
    assert [studio.row(run_id).status for run_id in (first, second, third)] == ["running", "queued", "queued"]
    assert studio.training.plan(OWNER, OWNER).runs_ahead == 3
    assert studio.jobs.cancel(OWNER, second) == "cancelled"  # one that waits ends at once
    for run_id in (first, third):
        assert studio.end(run_id).status == "done"
    assert [view.run_id for view in studio.training.runs(OWNER)] == [third, second, first]


def test_stop_saves_and_resume_goes_on_as_the_same_run(studio: TrainingStudio, does: Any) -> None:
    does(**LONG)
    run_id = studio.train()
    studio.wait_for_step(run_id, 2)
    studio.training.stop(OWNER, run_id)
    assert studio.end(run_id).status == "interrupted"
    saved = studio.events(run_id, "checkpoint")[-1].body["step"]
    assert 2 <= saved < 100 and not list((studio.folder / "adapters").glob("*"))
    assert studio.training.run(OWNER, run_id).can_resume
    before = studio.runner.snapshot(run_id)
    does(**REST)
    assert studio.training.resume(OWNER, run_id) == run_id
    assert studio.training.resume(OWNER, run_id) == run_id  # twice is harmless
    assert studio.end(run_id).status == "done"
    after = studio.runner.snapshot(run_id)
    assert before is not None and after is not None and after.seq > before.seq  # who followed before hears of it
    assert [event.body["step"] for event in studio.events(run_id, "metrics")] == list(range(1, 101))
    assert studio.row(run_id).attempts == 2
    with pytest.raises(BadOptionError):
        studio.training.resume(OWNER, run_id)


def test_a_discarded_run_leaves_no_adapter_and_cannot_go_on(studio: TrainingStudio, does: Any) -> None:
    does(**LONG)
    run_id = studio.train()
    studio.wait_for_step(run_id, 5)
    studio.jobs.cancel(OWNER, run_id)
    assert studio.end(run_id).status == "cancelled"
    wait_for(lambda: not studio.is_alive(run_id))
    view = studio.training.run(OWNER, run_id)
    assert view.adapter is None and not view.can_resume
    assert not list((studio.folder / "adapters").glob("*")) and not (studio.folder / "runs" / run_id / "checkpoints").exists()
    with pytest.raises(BadOptionError):
        studio.training.resume(OWNER, run_id)


def test_discard_after_stop_is_heard(studio: TrainingStudio, does: Any) -> None:
    does(step_s=0.5)
    run_id = studio.train()
    studio.wait_for_step(run_id, 1)
    studio.training.stop(OWNER, run_id)
    studio.jobs.cancel(OWNER, run_id)
    assert studio.end(run_id).status == "cancelled"


def test_a_killed_process_is_an_interrupted_run_that_goes_on_after_its_checkpoint(studio: TrainingStudio, does: Any) -> None:
    does(**LONG)
    run_id = studio.train()
    studio.wait_for_step(run_id, 6)
    kill(studio, run_id)
    assert studio.end(run_id).status == "interrupted"
    saved = studio.events(run_id, "checkpoint")[-1].body["step"]
    does(**REST)
    studio.training.resume(OWNER, run_id)
    assert studio.end(run_id).status == "done"
    assert {event.body["step"] for event in studio.events(run_id, "metrics")} == set(range(1, 101))
    assert studio.training.run(OWNER, run_id).logs[-1].endswith(f"from step {saved}")


def test_a_terminated_process_saves_first(studio: TrainingStudio, does: Any) -> None:
    does(**LONG)
    run_id = studio.train()
    studio.wait_for_step(run_id, 2)
    kill(studio, run_id, signal.SIGTERM)
    assert studio.end(run_id).status == "interrupted"
    assert studio.events(run_id)[-1].kind == "interrupted" and studio.events(run_id, "checkpoint")


@pytest.mark.parametrize("what", [{"die_loading": True}, {"die_at": 6}])
def test_a_process_that_dies_twice_at_the_same_place_is_poison(studio: TrainingStudio, does: Any, what: dict[str, Any]) -> None:
    does(**what)
    run_id = studio.train()
    assert studio.end(run_id).status == "interrupted"
    studio.training.resume(OWNER, run_id)
    snapshot = studio.end(run_id)
    assert (snapshot.status, snapshot.error_code) == ("failed", "poison")
    does()
    after = studio.train()
    assert studio.end(after).status == "done"  # the queue goes on
    studio.training.resume(OWNER, run_id)  # and so does this one, by somebody's wish
    assert studio.end(run_id).status == "done"


def test_what_the_process_says_went_wrong_is_said(studio: TrainingStudio, does: Any) -> None:
    does(fail_at=6)
    run_id = studio.train()
    snapshot = studio.end(run_id)
    assert (snapshot.status, snapshot.error, snapshot.error_key) == ("failed", "No luck.", "error.fault")
    does()
    studio.training.resume(OWNER, run_id)
    assert studio.end(run_id).status == "done"


def test_training_gives_way_to_people_and_goes_on_by_itself(studio: TrainingStudio, does: Any) -> None:
    does(step_s=0.05, steps=1000)
    run_id = studio.train()
    studio.wait_for_step(run_id, 1)
    with studio.somebody_writing():
        wait_for(lambda: studio.runner.snapshot(run_id).data["is_waiting"])  # type: ignore[union-attr]
        reached = studio.events(run_id, "metrics")[-1].n
        wait_for(lambda: studio.events(run_id, "waiting"))
        assert studio.events(run_id, "metrics")[-1].n <= reached + 1  # at most the step that it was in
    wait_for(lambda: not studio.runner.snapshot(run_id).data["is_waiting"])  # type: ignore[union-attr]
    studio.wait_for_step(run_id, 10)
    studio.jobs.cancel(OWNER, run_id)


def test_a_damaged_adapter_is_never_taken_for_a_good_one(
    studio: TrainingStudio, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import engine.services.training_job as job_module

    def damaged(folder: Path) -> Any:
        (folder / "adapter_model.safetensors").write_bytes(b"half")
        return verify(folder)

    monkeypatch.setattr(job_module.artifact, "verify", damaged)
    run_id = studio.train()
    snapshot = studio.end(run_id)
    assert (snapshot.status, snapshot.error_code) == ("failed", "bad_file")
    assert studio.training.run(OWNER, run_id).adapter is None


def test_the_next_estimate_learns_from_the_last_run(studio: TrainingStudio, does: Any) -> None:
    record = studio.dataset()
    wish = TrainOptions(dataset=record.id, preset="quick")
    guess = studio.training.plan(OWNER, OWNER, wish).estimate
    assert guess is not None and not guess.is_measured and guess.steps > 0 and guess.memory_bytes > 0
    run_id = studio.train()
    result = studio.end(run_id).result
    assert result is not None and result["duration_s"] > 0
    with studio.database.write() as uow:
        uow.jobs.update(run_id, result={**result, "seconds_per_token": 0.01})
        uow.commit()
    learned = studio.training.plan(OWNER, OWNER, wish).estimate
    assert learned is not None and learned.is_measured and learned.duration_s > guess.duration_s


def test_before_the_first_step_the_estimate_says_what_is_left_and_a_stop_is_told(studio: TrainingStudio) -> None:
    request = RunRequest.from_json(studio.row(studio.train()).request)
    with studio.database.write() as uow:
        job, _ = uow.jobs.add(OWNER, kind="train", request=request.to_json())
        uow.commit()
    tail = EventTail(job, replace(request, estimate={"duration_s": 60.0}), studio.database, Meters(CPU))
    told: list[Any] = []
    context: Any = SimpleNamespace(publish=told.append, progress=lambda *_, **__: None)

    def left_s(n: int, t: float, phase: str, eta_s: float | None = None) -> float | None:
        tail.take([{"n": n, "t": t, "kind": "phase", "phase": phase, "step": 0, "total": 9, "eta_s": eta_s}], context)
        tail.flush(context)
        return told[-1]["eta_s"]  # type: ignore[no-any-return]

    assert left_s(1, 100.0, "load") == 60.0
    assert left_s(2, 120.0, "prepare") == 40.0
    assert left_s(3, 170.0, "prepare") is None, "an estimate that was too short says nothing more"
    assert left_s(4, 171.0, "train", 33.0) == 33.0
    assert left_s(5, 200.0, "save") is None
    assert not told[-1]["is_stopping"]
    tail.is_stopping = True
    tail.flush(context)
    assert told[-1]["is_stopping"]


def test_a_plan_says_what_is_missing_and_writes_nothing(studio: TrainingStudio) -> None:
    plan = studio.training.plan(OWNER, OWNER)
    assert not plan.can_start and plan.reasons[0].key.startswith("error.need_")
    assert plan.settings.method == plan.method
    assert not plan.estimates, "nobody can say how long nothing takes"
    with pytest.raises(NotEnoughDataError):
        studio.training.train(OWNER, OWNER)
    assert studio.training.runs(OWNER) == ()


def test_a_bad_setting_is_a_reason_in_the_plan_and_an_error_at_the_start(studio: TrainingStudio) -> None:
    wish = TrainOptions(dataset=studio.dataset().id, settings={"lora_rank": 0})
    plan = studio.training.plan(OWNER, OWNER, wish)
    assert not plan.can_start and "lora_rank" in plan.reasons[0].message
    assert plan.settings == plan.preset_settings
    with pytest.raises(BadOptionError, match="lora_rank"):
        studio.training.train(OWNER, OWNER, wish)
    good = replace(wish, settings={"lora_rank": 4})
    assert studio.training.plan(OWNER, OWNER, good).settings.lora_rank == 4
    started = studio.training.train(OWNER, OWNER, good)
    assert started.settings["lora_rank"] == 4
    copied = TrainOptions(dataset=good.dataset, settings=started.settings)  # settings can be loaded again
    assert studio.training.train(OWNER, OWNER, copied).settings == started.settings


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"recipe": "ppo"}, BadOptionError),
        ({"recipe": "kto"}, BadOptionError),
        ({"dataset": "0" * 32}, NotFoundError),
        ({"task": "image"}, NoModelError),
        ({"preset": "balanced", "settings": {"colour": 1}}, BadOptionError),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(
    studio: TrainingStudio, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        studio.train(**options)
    assert studio.training.runs(OWNER) == ()


def test_a_model_that_does_not_fit_is_a_reason(tmp_path: Path) -> None:
    with training_studio(tmp_path, most_bytes=lambda: 1_000_000) as studio:
        plan = studio.training.plan(OWNER, OWNER, TrainOptions(dataset=studio.dataset().id))
        assert [reason.key for reason in plan.reasons] == ["error.train_memory"] and plan.estimate is not None
        with pytest.raises(NoModelError):
            studio.train()


def test_runs_are_their_owners(studio: TrainingStudio) -> None:
    run_id = studio.train()
    studio.end(run_id)
    for ask in (studio.training.run, studio.training.stop, studio.training.resume, studio.training.picture):
        with pytest.raises(NotFoundError):
            ask("somebody", run_id)
    assert studio.training.runs("somebody") == ()


def test_a_picture_and_tensorboard_files_are_found(studio: TrainingStudio) -> None:
    run_id = studio.train()
    studio.end(run_id)
    assert studio.training.picture(OWNER, run_id).read_bytes().startswith(b"\x89PNG")
    assert studio.training.tensorboard_dir(OWNER, run_id).parent.name == run_id


def test_samples_are_fixed_prompts_the_held_out_ones_first(studio: TrainingStudio) -> None:
    run_id = studio.train()
    samples = RunRequest.from_json(studio.row(run_id).request).samples
    assert [sample["messages"][-1]["content"] for sample in samples] == [
        f"Would you like {subject}?" for subject in ("tea", "bread", "rain", "a walk")
    ]
    assert [sample["seed"] for sample in samples] == [1, 2, 3, 4]
