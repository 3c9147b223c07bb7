"""Drawing: rows before the model, files before rows, what is done stays done, and every refusal is one sentence."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from engine.errors import BadFileError, BadOptionError, NoModelError, NotFoundError, StudioError, TooLongError
from engine.jobs.job import JobSnapshot
from engine.safety.labels import read_labels
from engine.types import ImagineOptions, ImagineRequest, options_from_json
from tests.engine.services.fakes import wait_for
from tests.engine.services.image_studio import OWNER, ImageStudio, image_studio


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[ImageStudio]:
    with image_studio(tmp_path) as opened:
        yield opened


def png(colour: Any = "red", size: tuple[int, int] = (40, 30), mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, colour).save(file, "PNG")
    return file.getvalue()


def test_a_click_gives_pictures_with_their_seeds_and_every_setting_in_the_row(studio: ImageStudio) -> None:
    started = studio.imagine("a red fox", n=3, seed=7, style="flat", preset="fine", negative="blue", transparent=True)
    assert started.seeds == (7, 8, 9) and started.turn_id == started.creation_ids[0]
    assert studio.finish(started.job_id).result == {"creation_ids": list(started.creation_ids)}
    for seed, row in zip((7, 8, 9), studio.rows(started.creation_ids), strict=True):
        assert (row.kind, row.status, row.seed, row.prompt, row.origin) == ("image", "done", seed, "a red fox", "generated")
        assert row.params["steps"] == 5 and row.params["guidance"] == 4.0 and row.params["scheduler"] == "euler"
        assert (row.params["width"], row.params["height"], row.params["negative"]) == (64, 64, "blue")
        assert row.path["device"] == "cpu" and row.duration_s is not None
        data = studio.files.path(row.media_name or "").read_bytes()
        assert hashlib.sha256(data).hexdigest() == row.media_sha256
        labels = read_labels(data)
        assert labels is not None and (labels.prompt, labels.seed, labels.style) == ("a red fox", seed, "flat")
        assert (labels.creation_id, labels.steps, labels.model) == (row.id, 5, "fake")
        assert studio.picture(row).mode == "RGBA"
    assert [request.style for request in studio.model.requests] == ["flat"] * 3


def test_a_seed_is_drawn_and_recorded_when_none_is_given(studio: ImageStudio) -> None:
    one, other = studio.imagine(), studio.imagine()
    assert one.seeds != other.seeds and 0 <= one.seeds[0] < 2**32


def test_rows_are_there_before_the_model_and_the_same_click_twice_is_one_job(studio: ImageStudio) -> None:
    studio.model.hold()
    started = studio.imagine(n=2, key="click")
    assert studio.imagine(n=2, key="click") == started
    assert [row.status for row in studio.rows(started.creation_ids)][1] == "queued" and studio.count() == 2
    studio.model.release(6)
    studio.finish(started.job_id)
    assert studio.imagine(n=2, key="click") == started and studio.count() == 2


def test_more_clicks_wait_their_turn(studio: ImageStudio) -> None:
    studio.model.hold()
    first, second = studio.imagine("one"), studio.imagine("two")
    wait_for(lambda: studio.model.requests)
    assert studio.jobs.get(OWNER, second.job_id).status == "queued"
    assert [job.job_id for job in studio.jobs.active(OWNER)] == [first.job_id, second.job_id]
    studio.model.release(6)
    studio.finish(second.job_id)
    assert [request.prompt for request in studio.model.requests] == ["one", "two"]


def test_a_follower_sees_steps_previews_and_time_left(studio: ImageStudio) -> None:
    async def follow(job_id: str) -> list[JobSnapshot]:
        return [snapshot async for snapshot in studio.jobs.follow(OWNER, job_id, interval_s=0.05)]

    studio.model.hold()
    started = studio.imagine(n=2, steps=6)

    async def watch() -> list[JobSnapshot]:
        following = asyncio.ensure_future(follow(started.job_id))
        for _ in range(12):
            studio.model.release()
            await asyncio.sleep(0.08)
        return await following

    seen = asyncio.run(watch())
    data = [snapshot.data["creations"] for snapshot in seen]
    shown = [one["preview"] for creations in data for one in creations if one["preview"]]
    assert shown and all(url.startswith("data:image/webp;base64,") and len(url) < 4000 for url in shown)
    assert any(one["status"] == "running" and 0 < one["step"] < 6 for creations in data for one in creations)
    assert max(snapshot.progress.get("step", 0) for snapshot in seen) == 12
    assert {snapshot.progress["total"] for snapshot in seen if snapshot.progress} == {12}
    assert any(snapshot.progress.get("eta_s") for snapshot in seen)
    assert seen[-1].status == "done" and all(one["preview"] is None for one in data[-1])
    assert all(
        one["media_sha256"] == row.media_sha256 for one, row in zip(data[-1], studio.rows(started.creation_ids), strict=True)
    )


def test_what_followers_see_from_the_row_is_what_they_saw_from_memory(studio: ImageStudio) -> None:
    started = studio.imagine("x" * 20, n=2, upscale=2)
    live = studio.finish(started.job_id)
    studio.runner._tasks.clear()
    kept = studio.jobs.get(OWNER, started.job_id)
    assert kept.data == live.data and kept.result == live.result
    assert live.data["creations"][0]["width"] == 128 and studio.picture(studio.row(started.creation_ids[0])).size == (128, 128)


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_stop_at_every_step_keeps_what_is_finished_and_leaves_nothing_half_written(studio: ImageStudio, at: int) -> None:
    studio.model.hold()
    started = studio.imagine(n=3)
    studio.model.release(3 + at)
    wait_for(
        lambda: studio.jobs.get(OWNER, started.job_id).data["creations"][1]["step"] >= at and len(studio.model.requests) == 2
    )
    studio.jobs.cancel(OWNER, started.job_id)
    assert studio.finish(started.job_id).status == "cancelled"
    done, *others = studio.rows(started.creation_ids)
    assert done.status == "done" and studio.picture(done).size == (64, 64)
    assert [(row.status, row.finish_reason, row.media_name) for row in others] == [("cancelled", "cancelled", None)] * 2
    assert studio.partial_files() == [] and studio.files.names() == (done.media_name,)


def test_a_skip_goes_on_with_the_next_picture(studio: ImageStudio) -> None:
    studio.model.hold()
    started = studio.imagine(n=3)
    studio.model.release(1)
    wait_for(lambda: studio.jobs.get(OWNER, started.job_id).data["creations"][0]["step"] == 1)
    assert studio.image.skip(OWNER, started.job_id)
    wait_for(lambda: len(studio.model.requests) == 2)
    assert studio.image.skip(OWNER, started.job_id, started.creation_ids[2])
    studio.model.release(3)
    snapshot = studio.finish(started.job_id)
    assert snapshot.status == "done" and snapshot.result == {"creation_ids": [started.creation_ids[1]]}
    states = [(row.status, row.finish_reason) for row in studio.rows(started.creation_ids)]
    assert states == [("cancelled", "skipped"), ("done", "stop"), ("cancelled", "skipped")]
    assert len(studio.model.requests) == 2
    assert not studio.image.skip(OWNER, started.job_id)
    with pytest.raises(NotFoundError):
        studio.image.skip("bob", started.job_id)


def test_a_model_that_fails_keeps_what_is_done_and_a_resume_draws_the_rest_the_same(studio: ImageStudio) -> None:
    studio.model.fail_at = 2
    started = studio.imagine(n=3, seed=5)
    snapshot = studio.finish(started.job_id)
    assert (snapshot.status, snapshot.error_code, snapshot.error) == ("failed", "no_model", "The model broke.")
    assert [row.status for row in studio.rows(started.creation_ids)] == ["done", "failed", "failed"]
    first = studio.row(started.creation_ids[0])
    assert studio.image.resume(OWNER, started.job_id) == started
    assert studio.finish(started.job_id).status == "done"
    rows = studio.rows(started.creation_ids)
    assert [row.status for row in rows] == ["done"] * 3 and rows[0].media_sha256 == first.media_sha256
    assert [request.seed for request in studio.model.requests] == [5, 6, 6, 7]
    with pytest.raises(BadOptionError, match="missing"):
        studio.image.resume(OWNER, started.job_id)


def test_text_goes_first_between_two_steps(studio: ImageStudio) -> None:
    studio.text_model.hold()
    studio.model.hold()
    writing = studio.image.expand(OWNER, "a fox")
    wait_for(lambda: studio.text_model.running)
    started = studio.imagine(n=1)
    studio.model.release(3)
    wait_for(lambda: studio.jobs.get(OWNER, started.job_id).progress.get("note") == "waiting")
    assert studio.jobs.get(OWNER, started.job_id).data["creations"][0]["step"] == 1
    studio.text_model.release(4)
    assert studio.finish(started.job_id).status == "done"
    assert studio.finish(writing).result == {"prompt": "a fox", "expanded": "a fox, soft fur"}


def test_reproduce_compares_every_pixel(studio: ImageStudio) -> None:
    row = studio.drew(seed=3)
    assert studio.finish(studio.image.reproduce(OWNER, row.id)).result == {
        "creation_id": row.id, "identical": True, "same_model": True
    }  # fmt: skip
    studio.model.draw = lambda request, cancel, watch: Image.new("RGB", (64, 64), "green")
    assert studio.finish(studio.image.reproduce(OWNER, row.id)).result["identical"] is False  # type: ignore[index]
    assert studio.count() == 1


def test_variations_are_versions_with_the_same_settings_and_new_seeds(studio: ImageStudio) -> None:
    row = studio.drew("a fox", seed=3, guidance=7.5, steps=4, style="line", picture=png(), strength=0.5)
    started = studio.image.vary(OWNER, row.id, 2)
    studio.finish(started.job_id)
    for made in studio.rows(started.creation_ids):
        assert (made.parent_id, made.turn_id, made.prompt) == (row.id, row.turn_id, "a fox") and made.seed != 3
        assert {**made.params, "n": 1, "preset": None} == {**row.params, "n": 1, "preset": None}
    assert studio.model.requests[-1].image is not None


def test_enlarging_makes_a_version_with_the_same_picture_larger(studio: ImageStudio) -> None:
    row = studio.drew(seed=3)
    started = studio.image.upscale(OWNER, row.id, 2, idempotency_key="up")
    assert studio.image.upscale(OWNER, row.id, 2, idempotency_key="up") == started
    assert studio.finish(started.job_id).status == "done"
    large = studio.row(started.creation_ids[0])
    assert studio.picture(large).size == (128, 128) and large.parent_id == row.id and large.turn_id == row.turn_id
    with pytest.raises(BadOptionError, match="no recorded settings"):
        studio.image.reproduce(OWNER, large.id)
    by_option = studio.imagine("", init_image=row.id, upscale=4)
    studio.finish(by_option.job_id)
    assert studio.picture(studio.row(by_option.creation_ids[0])).size == (256, 256)
    words = studio.drew(model="wordy")
    again = studio.image.upscale(OWNER, words.id, 2)
    assert studio.finish(again.job_id).status == "done"
    assert studio.row(again.creation_ids[0]).path["engine"] == "lanczos"


def test_a_picture_to_start_from_and_a_mask_are_kept_as_plain_pixels(studio: ImageStudio) -> None:
    mask = Image.new("L", (40, 30), 0)
    mask.paste(255, (0, 0, 20, 30))
    packed = io.BytesIO()
    mask.save(packed, "PNG")
    row = studio.drew(picture=png("red"), mask=packed.getvalue(), strength=0.5, steps=1, width=64)
    request = studio.model.requests[0]
    assert request.image.size == request.mask.size == (40, 30) and request.steps == 2  # half of one step is none
    picture = studio.picture(row).convert("RGB")
    assert picture.getpixel((60, 32)) == (255, 0, 0) and picture.getpixel((2, 32)) != (255, 0, 0)
    assert row.params["from_picture"] and row.params["mask"]
    with studio.database.read() as uow:
        inputs = {one.role: one for one in uow.inputs.of(OWNER, [row.id])[row.id]}
    assert set(inputs) == {"init", "mask"} and all(
        studio.files.sha256(one.media_name) == one.media_sha256 for one in inputs.values()
    )
    labels = studio.files.path(row.media_name or "").read_bytes()
    assert b"compositeWithTrainedAlgorithmicMedia" in labels
    again = studio.finish(studio.image.reproduce(OWNER, row.id))
    assert again.result is not None and again.result["identical"]


def test_another_creation_can_be_what_a_picture_starts_from(studio: ImageStudio) -> None:
    row = studio.drew(seed=3)
    made = studio.drew("as a painting", init_image=row.id, strength=0.4)
    assert made.params["init"] == {"creation_id": row.id} and not made.params["from_picture"]
    assert studio.model.requests[-1].image.getpixel((0, 0))[:3] == studio.picture(row).getpixel((0, 0))[:3]


def test_styles_in_words_reach_a_model_that_was_taught_none(studio: ImageStudio) -> None:
    row = studio.drew("a {prompt} fox", model="wordy", style="pixel-art")
    request = studio.model.requests[0]
    assert (
        request.style is None and request.prompt.startswith("pixel art of a {prompt} fox,") and "photograph" in request.negative
    )
    assert row.prompt == "a {prompt} fox" and row.params["style"] == "pixel-art" and row.path["prompt"] == request.prompt


BAD: list[tuple[dict[str, Any], type[StudioError], str]] = [
    ({"prompt": "  "}, BadOptionError, "prompt"),
    ({"prompt": "x" * 4001}, TooLongError, "4,001"),
    ({"style": "oil"}, BadOptionError, "flat, line"),
    ({"scheduler": "magic"}, BadOptionError, "euler"),
    ({"width": 40_000}, BadOptionError, "width"),
    ({"width": 1024}, BadOptionError, "64 to 256"),
    ({"width": 128, "height": 64}, BadOptionError, "square"),
    ({"n": 17}, BadOptionError, "16"),
    ({"steps": 0}, BadOptionError, "steps"),
    ({"guidance": float("nan")}, BadOptionError, "guidance"),
    ({"seed": -1}, BadOptionError, "seed"),
    ({"upscale": 3}, BadOptionError, "1, 2 or 4"),
    ({"model": "nothing"}, NotFoundError, "nothing"),
    ({"model": "missing"}, NoModelError, "not in this copy"),
    ({"model": "fake-model"}, BadOptionError, "does not draw"),
    ({"model": "wordy", "transparent": True}, BadOptionError, "clear"),
    ({"model": "wordy", "picture": png(), "mask": png()}, BadOptionError, "part of a picture"),
    ({"adapter": "x" * 32}, BadOptionError, "adapter"),
    ({"rank_by": "taste"}, BadOptionError, "taste"),
    ({"init_image": "0" * 32}, NotFoundError, "id"),
    ({"parent_id": "0" * 32}, NotFoundError, "id"),
    ({"mask": png()}, BadOptionError, "mask"),
    ({"picture": b"<svg/>"}, BadFileError, "damaged"),
    ({"picture": png()[:60]}, BadFileError, "damaged"),
    ({"picture": png(size=(20_000, 10), mode="L", colour=0)}, TooLongError, "16,384"),
    ({"picture": png(), "mask": b"GIF89a"}, BadFileError, "mask"),
    ({"picture": png(), "init_image": "0" * 32}, BadOptionError, "two pictures"),
]


@pytest.mark.parametrize("number", range(len(BAD)))
def test_what_cannot_work_is_one_sentence_and_writes_nothing(studio: ImageStudio, number: int) -> None:
    wish, kind, words = BAD[number]
    given = dict(wish)
    with pytest.raises(kind, match=words) as refused:
        studio.imagine(given.pop("prompt", "a fox"), **given)
    assert "\n" not in str(refused.value) and studio.count() == 0 and studio.jobs.active(OWNER) == ()
    assert studio.partial_files() == [] and not [name for name in studio.files.names() if not name.startswith("inputs/")]


def test_unknown_options_are_named() -> None:
    with pytest.raises(BadOptionError, match='"stepz"'):
        options_from_json(ImagineOptions, {"stepz": 3})


def test_nobody_else_sees_or_touches_a_picture(studio: ImageStudio) -> None:
    row = studio.drew()
    job_id = row.job_id or ""
    calls = (
        lambda: studio.image.vary("bob", row.id),
        lambda: studio.image.upscale("bob", row.id),
        lambda: studio.image.reproduce("bob", row.id),
        lambda: studio.image.resume("bob", job_id),
        lambda: studio.image.batch("bob", "bob", job_id),
        lambda: studio.image.export("bob", row.id),
        lambda: studio.image.thumbnail("bob", row.id),
        lambda: studio.library.media_path("bob", row.id),
        lambda: studio.image.imagine("bob", ImagineRequest("a fox", ImagineOptions(init_image=row.id))),
        lambda: studio.image.imagine("bob", ImagineRequest("a fox", ImagineOptions(parent_id=row.id))),
    )
    for call in calls:
        with pytest.raises(NotFoundError):
            call()
    assert studio.image.recent("bob", "bob") == () and studio.count() == 1
