"""What a page needs of a click's pictures: whole ratings, the picked one, pages without holes, pictures of styles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import NotFoundError
from engine.types import PreferOptions, RateOptions
from tests.engine.services.image_studio import OWNER, ImageStudio, image_studio


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[ImageStudio]:
    with image_studio(tmp_path) as opened:
        yield opened


def drawn(studio: ImageStudio, n: int) -> tuple[str, tuple[str, ...]]:
    started = studio.imagine(n=n)
    studio.finish(started.job_id)
    return started.job_id, started.creation_ids


def test_a_batch_carries_whole_ratings_and_no_withdrawn_ones(studio: ImageStudio) -> None:
    job_id, (first, second, _) = drawn(studio, 3)
    studio.feedback.rate(OWNER, OWNER, first, 0.5, RateOptions(reasons=("colours",), comment="so blue"))
    studio.feedback.rate(OWNER, OWNER, second, -1)
    studio.feedback.rate(OWNER, OWNER, second, None)
    batch = studio.image.batch(OWNER, OWNER, job_id)
    assert list(batch.ratings) == [first] and batch.scores == {first: 0.5}
    assert batch.ratings[first].reasons == ("colours",) and batch.ratings[first].comment == "so blue"


def test_the_picked_one_is_that_which_won_and_lost_to_none(studio: ImageStudio) -> None:
    job_id, ids = drawn(studio, 3)

    def picked() -> str | None:
        return studio.image.batch(OWNER, OWNER, job_id).picked_id

    def prefer(best: str, *others: str) -> None:
        studio.feedback.prefer(OWNER, OWNER, best, list(others))

    assert picked() is None
    prefer(ids[0], ids[1], ids[2])
    assert picked() == ids[0]
    prefer(ids[1], ids[0])
    assert picked() == ids[1]
    prefer(ids[2], ids[0], ids[1])
    assert picked() == ids[2]
    studio.feedback.prefer(OWNER, OWNER, ids[2], [ids[0], ids[1]], PreferOptions(tie=True))
    assert picked() == ids[1]  # still better than the first


def test_a_choice_that_ratings_only_suggest_is_no_pick(studio: ImageStudio) -> None:
    job_id, (first, second) = drawn(studio, 2)
    studio.feedback.rate(OWNER, OWNER, first, 1)
    studio.feedback.rate(OWNER, OWNER, second, -1)
    assert studio.image.batch(OWNER, OWNER, job_id).picked_id is None


def test_pages_of_batches_have_no_holes_where_pictures_were_trashed(studio: ImageStudio) -> None:
    made = [drawn(studio, 1) for _ in range(7)]
    studio.library.trash(OWNER, [ids[0] for _, ids in made[2:5]])
    first = studio.image.recent(OWNER, OWNER, limit=3)
    assert [batch.job_id for batch in first] == [made[6][0], made[5][0], made[1][0]]
    rest = studio.image.recent(OWNER, OWNER, limit=3, before_job_id=first[-1].job_id)
    assert [batch.job_id for batch in rest] == [made[0][0]]


def test_a_style_has_the_picture_that_lies_in_the_model_s_folder(studio: ImageStudio, tmp_path: Path) -> None:
    (model,) = (one for one in studio.image.choices(OWNER).models if one.id == "fake")
    assert model.pictured_styles == ()
    folder = next(tmp_path.rglob("styles.json")).parent / "styles"
    folder.mkdir()
    (folder / "flat.webp").write_bytes(b"picture")
    (model,) = (one for one in studio.image.choices(OWNER).models if one.id == "fake")
    assert model.pictured_styles == ("flat",)
    assert studio.image.style_picture(OWNER, "fake", "flat").read_bytes() == b"picture"
    for model_id, style in (("fake", "line"), ("fake", "../styles"), ("wordy", "photo"), ("nothing", "flat")):
        with pytest.raises(NotFoundError):
            studio.image.style_picture(OWNER, model_id, style)
