"""What is kept of a picture and what comes back of it: kills, settings, files, lists, choices, bundles."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from engine.errors import BadFileError, BadOptionError, NoModelError, NotFoundError, StudioError
from engine.image.sticker import StickerModel
from engine.models.catalog import ModelSpec
from engine.models.store import ModelStore
from engine.safety.labels import read_labels
from engine.services.expansion import joined
from engine.services.feedback import TRAINING_EXAMPLES_NEEDED
from engine.services.image_parts import same_pixels
from engine.types import ImagineOptions, options_from_json
from storage.bundle import read_bundle, write_bundle
from storage.files import FileStore, Stores
from storage.records import CreationFilter
from tests.engine.image.tiny import Words, write_model
from tests.engine.services.image_studio import DRAWING, OWNER, FakeModels, ImageStudio, image_studio
from tests.postgres import running_cluster

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[ImageStudio]:
    with image_studio(tmp_path) as opened:
        yield opened


@pytest.mark.parametrize(("pictures", "steps"), [(0, 0), (1, 0), (1, 2), (2, 1)])
def test_kill_9_keeps_what_was_done_and_a_resume_draws_the_rest(tmp_path: Path, pictures: int, steps: int) -> None:
    command = [sys.executable, "-m", "tests.engine.services.drawing_child", str(tmp_path), str(pictures), str(steps)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            said = json.loads(child.stdout.readline())
        finally:
            child.kill()
        assert child.wait(20) == -signal.SIGKILL
    (tmp_path / "files" / "images").mkdir(parents=True, exist_ok=True)
    (tmp_path / "files" / "images" / f".{'0' * 32}.tmp").write_bytes(b"half a picture")
    (tmp_path / "files" / "images" / "orphan.png").write_bytes(b"a picture whose row was not committed")
    with image_studio(tmp_path) as studio:
        rows = studio.rows(tuple(said["creations"]))
        assert [row.status for row in rows] == ["done"] * pictures + ["interrupted"] * (3 - pictures)
        snapshot = studio.jobs.get(OWNER, said["job"])
        assert snapshot.status == "interrupted" and snapshot.can_resume
        assert [one["status"] for one in snapshot.data["creations"]] == [row.status for row in rows]
        kept = [row.media_name for row in rows if row.media_name]
        assert studio.files.names() == tuple(sorted(kept)) and studio.partial_files() == []
        (batch,) = studio.image.recent(OWNER, OWNER)
        assert batch.can_resume and len(batch.creations) == 3
        studio.image.resume(OWNER, said["job"])
        assert studio.finish(said["job"]).status == "done"
        assert [row.seed for row in studio.rows(tuple(said["creations"]))] == [5, 6, 7]
        assert [request.seed for request in studio.model.requests] == [5, 6, 7][pictures:]


@pytest.fixture(scope="module")
def sticker(tmp_path_factory: pytest.TempPathFactory) -> StickerModel:
    return StickerModel("fake", write_model(tmp_path_factory.mktemp("sticker")), Words(), "cpu")


def test_a_dropped_file_s_settings_give_identical_pixels_from_the_real_model(tmp_path: Path, sticker: StickerModel) -> None:
    """Prompt → picture → drop the file → the same settings → the same picture, also after a restart."""
    with image_studio(tmp_path, sticker) as studio:
        wish = {"style": "flat", "steps": 4, "width": 128, "height": 128, "guidance": 3.5, "seed": 11, "scheduler": "heun"}
        row = studio.drew("red apple", **wish)
        first = studio.picture(row)
        data = studio.files.path(row.media_name or "").read_bytes()
    with image_studio(tmp_path, sticker) as studio:
        found = studio.image.read_settings(OWNER, data)
        assert found.prompt == "red apple" and {**found.options, "height": 128} == {"model": "fake", **wish}
        assert found.creation_id == row.id and found.tool == "Tastemaker" and found.notices == ()
        options = options_from_json(ImagineOptions, dict(found.options))
        again = studio.drew(found.prompt, **{name: getattr(options, name) for name in found.options})
        assert same_pixels(studio.picture(again), first)
        other = studio.drew(found.prompt, **{**found.options, "seed": 12})
        assert not same_pixels(studio.picture(other), first)
        assert studio.finish(studio.image.reproduce(OWNER, row.id)).result == {
            "creation_id": row.id, "identical": True, "same_model": True
        }  # fmt: skip
        large = studio.drew("red apple", **{**wish, "upscale": 2, "transparent": True})
        assert studio.picture(large).size == (256, 256) and studio.picture(large).mode == "RGBA"
        up = studio.image.upscale(OWNER, row.id, 2)
        studio.finish(up.job_id)
        made = studio.row(up.creation_ids[0])
        assert studio.picture(made).size == (256, 256) and made.path["engine"] == "sticker"


def foreign(text: str) -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", text)
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG", pnginfo=info)
    return file.getvalue()


def test_another_tool_s_settings_come_back_as_far_as_they_can_be_used(studio: ImageStudio) -> None:
    line = "Steps: 28, Sampler: DPM++ 2M Karras, CFG scale: 6.5, Seed: 99, Size: 128x128, Model: dream"
    text = f"a red fox\nNegative prompt: blurry\n{line}"
    found = studio.image.read_settings(OWNER, foreign(text))
    assert (found.prompt, found.creation_id, found.tool) == ("a red fox", None, None)
    assert found.options == {
        "steps": 28, "guidance": 6.5, "seed": 99, "width": 128, "height": 128, "negative": "blurry"
    }  # fmt: skip
    assert [notice.values["name"] for notice in found.notices] == ["model", "scheduler"]
    known = studio.image.read_settings(OWNER, foreign(text.replace("DPM++ 2M Karras", "Euler")))
    assert known.options["scheduler"] == "euler"
    odd = studio.image.read_settings(OWNER, foreign("x\nSteps: 99999, Sampler: Euler, CFG scale: 999, Size: 40000x20"))
    assert odd.options == {"scheduler": "euler"}
    studio.drew(odd.prompt, **odd.options)


def test_files_without_settings_and_files_that_are_none_are_one_sentence(studio: ImageStudio) -> None:
    plain = io.BytesIO()
    Image.new("RGB", (8, 8)).save(plain, "PNG")
    for data in (plain.getvalue(), b"", b"%PDF-1.7", b"<html>"):
        with pytest.raises(BadFileError) as refused:
            studio.image.read_settings(OWNER, data)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("format", ["png", "webp", "jpeg"])
@pytest.mark.parametrize("visible", [False, True])
def test_exports_keep_the_labels(studio: ImageStudio, format: Any, visible: bool) -> None:
    row = studio.drew(seed=3, transparent=True, negative="blue")
    file = studio.image.export(OWNER, row.id, format=format, visible=visible)
    labels = read_labels(file.data)
    assert labels is not None and replace(labels, created_at=None) == replace(
        read_labels(studio.files.path(row.media_name or "").read_bytes()) or labels, created_at=None
    )
    assert file.media_type == f"image/{format}" and file.name.startswith("tastemaker-")
    if format == "png" and not visible:
        assert file.data == studio.files.path(row.media_name or "").read_bytes()
    with Image.open(io.BytesIO(file.data)) as picture:
        assert picture.size == (64, 64) and ("A" in picture.mode) == (format != "jpeg")
    with pytest.raises(BadOptionError, match="gif"):
        studio.image.export(OWNER, row.id, format="gif")  # type: ignore[arg-type]


def test_a_thumbnail_is_small_labelled_made_once_and_made_again_when_lost(studio: ImageStudio) -> None:
    row = studio.drew(width=256, upscale=4)
    path = studio.image.thumbnail(OWNER, row.id)
    with Image.open(path) as small:
        assert small.size == (256, 256) and small.format == "WEBP"
    first = path.stat().st_mtime_ns
    assert studio.image.thumbnail(OWNER, row.id).stat().st_mtime_ns == first
    assert read_labels(path.read_bytes()) is not None
    path.unlink()
    assert studio.image.thumbnail(OWNER, row.id).is_file()
    studio.files.delete(row.media_name or "")
    for call in (studio.image.thumbnail, studio.image.export, studio.library.media_path):
        with pytest.raises(NotFoundError):
            call(OWNER, row.id)


def test_the_newest_clicks_come_first_and_what_is_in_the_trash_does_not(studio: ImageStudio) -> None:
    jobs = [studio.imagine(f"picture {number}", n=2) for number in range(4)]
    studio.finish(jobs[-1].job_id)
    best = jobs[3].creation_ids[1]
    studio.feedback.rate(OWNER, OWNER, best, 1.0)
    studio.library.trash(OWNER, [*jobs[1].creation_ids, jobs[2].creation_ids[0]])
    batches = studio.image.recent(OWNER, OWNER)
    assert [batch.prompt for batch in batches] == ["picture 3", "picture 2", "picture 0"]
    assert batches[0].scores == {best: 1.0} and [len(batch.creations) for batch in batches] == [2, 1, 2]
    older = studio.image.recent(OWNER, OWNER, limit=1, before_job_id=jobs[3].job_id)
    assert [batch.job_id for batch in older] == [jobs[2].job_id]
    assert studio.image.batch(OWNER, OWNER, jobs[1].job_id).creations == ()


def test_choices_are_known_without_loading_anything(studio: ImageStudio) -> None:
    choices = studio.image.choices(OWNER)
    own, wordy, missing = choices.models
    assert choices.default_model_id == own.id and own.styles == ("flat", "line") and own.is_square and own.can_clear
    assert [(preset.name, preset.steps) for preset in own.presets] == [("fast", 2), ("balanced", 3), ("fine", 5)]
    assert "watercolour" in wordy.styles and not wordy.can_mask and not wordy.has_negative
    assert (missing.state, missing.styles) == ("missing", tuple(wordy.styles))
    assert studio.model.requests == [] and choices.max_pictures == 16
    assert studio.image.warm(OWNER) is True


def test_weights_that_are_not_there_are_a_state_and_a_sentence(tmp_path: Path) -> None:
    class Shipped(FakeModels):
        def __init__(self) -> None:
            self._specs = (ModelSpec("sticker", "Sticker", "image", "sticker", "assets:models/sticker", drawing=DRAWING),)

        def default(self, task: str, owner_id: str) -> str:
            return "sticker"

        def require(self, model_id: str, owner_id: str) -> ModelSpec:
            raise NoModelError("Sticker is not in this copy of the studio: its weights are missing.")

    store = ModelStore(tmp_path / "models", tmp_path / "assets")
    spec = Shipped()._specs[0]
    assert store.state(spec) == "missing"
    with image_studio(tmp_path, models=Shipped()) as studio:
        assert studio.image.warm(OWNER) is False
        (choice,) = studio.image.choices(OWNER).models
        assert choice.styles == () and choice.schedulers
        with pytest.raises(NoModelError, match="weights are missing"):
            studio.imagine()
        assert studio.count() == 0
    write_model(tmp_path / "assets" / "models" / "sticker")
    assert store.state(spec) == "installed"
    (tmp_path / "assets" / "models" / "sticker" / "styles.json").unlink()
    assert store.state(spec) == "missing"


def test_ratings_choices_and_the_library_take_pictures_like_texts(studio: ImageStudio) -> None:
    started = studio.imagine("a red walrus 海象", n=3, style="flat")
    studio.finish(started.job_id)
    best, *others = started.creation_ids
    assert len(studio.feedback.prefer(OWNER, OWNER, best, others)) == 2
    result = studio.feedback.rate(OWNER, OWNER, others[0], -0.5)
    assert result.counts["by_task"]["image"] == {
        "ratings": 1, "thumbs": 1, "positive": 0, "negative": 1, "preferences": 2, "pairs": 2
    }  # fmt: skip
    page = studio.library.search(OWNER, OWNER, CreationFilter(query="海象", kind="image"))
    assert page.total == 3 and page.items[0].creation.kind == "image"
    needed = studio.feedback.counts(OWNER, "image")["next_training_in"]
    assert needed == result.next_training_in == TRAINING_EXAMPLES_NEEDED - 3
    assert studio.feedback.counts(OWNER)["next_training_in"] == TRAINING_EXAMPLES_NEEDED, "pictures say nothing about texts"
    varied = studio.image.vary(OWNER, best, 1)
    studio.finish(varied.job_id)
    detail = studio.library.get(OWNER, OWNER, best)
    assert [version.id for version in detail.versions] == [*started.creation_ids, *varied.creation_ids]
    studio.feedback.rate(OWNER, OWNER, varied.creation_ids[0], 1.0)
    studio.feedback.rate(OWNER, OWNER, best, 0.5)
    inferred = [one for one in studio.library.get(OWNER, OWNER, best).preferences if one.source == "ratings"]
    assert [(one.chosen_id, one.rejected_id) for one in inferred] == [(varied.creation_ids[0], best)]
    other = studio.drew("something else")
    with pytest.raises(BadOptionError, match="same prompt"):
        studio.feedback.prefer(OWNER, OWNER, best, [other.id])
    assert set(studio.library.facets(OWNER)["models"]) == {"fake"}


def test_a_bundle_brings_pictures_and_what_they_were_made_from_to_another_studio(studio: ImageStudio, tmp_path: Path) -> None:
    start = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(start, "PNG")
    row = studio.drew("a fox", picture=start.getvalue(), seed=4)
    stores = Stores(studio.files, FileStore(tmp_path / "adapters"))
    write_bundle(studio.database, stores, tmp_path / "out.zip", owner_id=OWNER, created_by="test")
    with image_studio(tmp_path / "there") as there:
        counts = read_bundle(
            there.database, Stores(there.files, FileStore(tmp_path / "there" / "adapters")), tmp_path / "out.zip", owner_id=OWNER
        )
        assert counts["creations"]["added"] == 1 and counts["creation_inputs"]["added"] == 1 and counts["files"]["added"] == 2
        assert same_pixels(there.picture(there.row(row.id)), studio.picture(row))
        result = there.finish(there.image.reproduce(OWNER, row.id)).result
        assert result is not None and result["identical"]
        there.image.vary(OWNER, row.id, 1)
    with image_studio(tmp_path / "there") as there:  # the sweep of a start keeps both files
        assert len(there.files.names()) >= 2


def test_a_picture_that_was_not_drawn_here_is_shown_and_not_drawn_again(studio: ImageStudio) -> None:
    """What an older or another program's bundle may bring: a file, and nothing of how it was made."""
    data = io.BytesIO()
    Image.new("RGB", (8, 8)).save(data, "PNG")
    sha256 = studio.files.put("images/other.png", data.getvalue())
    with studio.database.write() as uow:
        media = {"media_name": "images/other.png", "media_sha256": sha256, "status": "done", "path": {"x": 1}}
        other = uow.creations.add(OWNER, kind="image", prompt="p", model_id="fake", **media)
        uow.commit()
    for call in (studio.image.vary, studio.image.upscale, studio.image.reproduce):
        with pytest.raises(BadOptionError, match="drawn here|recorded settings"):
            call(OWNER, other.id)
    assert read_labels(studio.image.export(OWNER, other.id, format="webp").data) is not None
    assert studio.image.thumbnail(OWNER, other.id).is_file()
    started = studio.imagine("as a painting", init_image=other.id)
    assert studio.finish(started.job_id).status == "done"


def test_a_full_disk_fails_the_job_in_one_sentence_and_leaves_no_half_file(
    studio: ImageStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    from storage.errors import DiskFullError

    def full(name: str, data: object) -> str:
        raise DiskFullError("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(FileStore, "put", lambda self, name, data: full(name, data))
        started = studio.imagine(n=2)
        snapshot = studio.finish(started.job_id)
    assert (snapshot.status, snapshot.error_code) == ("failed", "busy") and "disk is full" in str(snapshot.error)
    assert [row.media_name for row in studio.rows(started.creation_ids)] == [None, None] and studio.files.names() == ()
    studio.image.resume(OWNER, started.job_id)
    assert studio.finish(started.job_id).status == "done"


@pytest.mark.parametrize(
    ("prompt", "written", "wanted"),
    [
        ("a fox", "a fox, soft fur, autumn leaves", "a fox, soft fur, autumn leaves"),
        ("a fox", " soft fur,\n autumn leaves. ", "a fox, soft fur, autumn leaves"),
        ("a cake", "a cake, a bright smile, sweet smile, sunny smile, cake, warm light", "a cake, a bright smile, warm light"),
        ("a fox,", '"A fox, soft fur"', "a fox, soft fur"),
        ("a fox", "", "a fox"),
        ("a fox", "a fox", "a fox"),
        ("一只狐狸", "一只狐狸，柔软的毛", "一只狐狸，柔软的毛"),
    ],
)
def test_an_expanded_prompt_keeps_the_user_s_own_words_first(prompt: str, written: str, wanted: str) -> None:
    assert joined(prompt, written) == wanted
    assert len(joined(prompt, ", ".join(f"unheard{chr(97 + n)}of thing{chr(97 + n)}" for n in range(26)))) < 200


def test_a_prompt_that_the_text_model_cannot_write_is_refused(studio: ImageStudio) -> None:
    with pytest.raises(NoModelError, match="Chinese"):
        studio.image.expand(OWNER, "一只狐狸")
    with pytest.raises(BadOptionError, match="prompt"):
        studio.image.expand(OWNER, "  ")
    first = studio.image.expand(OWNER, "a fox", idempotency_key="once")
    assert studio.image.expand(OWNER, "a fox", idempotency_key="once") == first
    assert studio.finish(first).status == "done" and studio.count() == 0


def test_a_prompt_in_a_language_the_model_lacks_is_drawn_with_a_notice(studio: ImageStudio) -> None:
    started = studio.imagine("一只红色的狐狸", model="wordy")
    assert [notice.key for notice in started.notices] == ["notice.image_language"]
    snapshot = studio.finish(started.job_id)
    assert snapshot.status == "done" and snapshot.data["notices"][0]["values"]["other"] == "Fake"
    assert studio.imagine("一只红色的狐狸").notices == ()


@pytest.mark.postgres
def test_pictures_on_postgresql(tmp_path: Path) -> None:
    start = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(start, "PNG")
    wish = {"n": 2, "seed": 5, "picture": start.getvalue(), "key": "click"}
    with running_cluster() as cluster:
        url = cluster.create_database()
        with image_studio(tmp_path, url=url) as studio:
            studio.model.fail_at = 2
            started = studio.imagine("一只红狐狸", **wish)
            assert studio.finish(started.job_id).status == "failed"
            assert studio.imagine("一只红狐狸", **wish) == started
        with image_studio(tmp_path, url=url) as studio:
            studio.image.resume(OWNER, started.job_id)
            assert studio.finish(started.job_id).status == "done"
            studio.feedback.prefer(OWNER, OWNER, started.creation_ids[0], [started.creation_ids[1]])
            (batch,) = studio.image.recent(OWNER, OWNER)
            assert batch.picked_id == started.creation_ids[0] and len(batch.creations) == 2
            assert studio.library.search(OWNER, OWNER, CreationFilter(query="狐狸", kind="image")).total == 2
            assert studio.finish(studio.image.reproduce(OWNER, started.creation_ids[0])).status == "done"


def test_every_error_of_a_picture_has_its_code(studio: ImageStudio) -> None:
    text = studio.drew()
    for call, kind in (
        (lambda: studio.image.upscale(OWNER, text.id, 3), BadOptionError),
        (lambda: studio.image.upscale(OWNER, "0" * 32), NotFoundError),
        (lambda: studio.image.vary(OWNER, text.id, 99), BadOptionError),
        (lambda: studio.image.resume(OWNER, "0" * 32), NotFoundError),
        (lambda: studio.image.reproduce(OWNER, "0" * 32), NotFoundError),
    ):
        with pytest.raises(kind) as refused:
            call()
        assert isinstance(refused.value, StudioError) and refused.value.message_key
