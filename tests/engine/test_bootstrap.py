"""Building the studio: everything opens in order, closes in reverse, and a start that is refused leaves nothing held."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from engine.bootstrap import Overrides, build_studio, check_profile
from engine.errors import BusyError, NoModelError, RefusedStartError
from engine.models.catalog import STARTER_TEXT_ID, Catalog, ModelSpec
from engine.settings import Settings, read_settings
from engine.types import WriteOptions, WriteRequest
from storage.records import LOCAL_OWNER, CreationFilter
from tests.engine.services.fakes import DEADLINE_S, FakeHost, FakeTextModel, wait_for
from tests.tiny import make_model, tiny_spec

OWNER = LOCAL_OWNER


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    flags = {"data_dir": tmp_path / "data", "models_dir": tmp_path / "models", "offline": True, "device": "cpu"}
    return read_settings(flags)


def catalog_in(folder: Path) -> Catalog:
    """One model that is always there; the fake host answers for it."""
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return Catalog((ModelSpec(STARTER_TEXT_ID, "Fake", "text", "llama", f"local:{folder}", languages=("en",)),))


def test_an_offline_studio_without_models_runs_and_says_what_to_do(settings: Settings) -> None:
    studio = build_studio(settings)
    try:
        with pytest.raises(NoModelError, match="--offline"):
            studio.text.write(OWNER, WriteRequest("hello"))
        assert studio.library.search(OWNER, OWNER).total == 0
        assert studio.jobs.active(OWNER) == ()
        assert studio.models.cards()
    finally:
        studio.close()


def test_what_one_start_wrote_the_next_one_has(settings: Settings, tmp_path: Path) -> None:
    model = FakeTextModel()
    model.id = STARTER_TEXT_ID
    parts = Overrides(text_host=FakeHost(model), catalog=catalog_in(tmp_path / "fake"))
    studio = build_studio(settings, parts)
    model.hold()
    started = studio.text.write(OWNER, WriteRequest("one two three"))
    model.release(2)
    wait_for(lambda: studio.jobs.get(OWNER, started.job_id).data["creations"][0]["tokens"] == 2)
    studio.close()
    studio.close()  # twice is harmless
    with pytest.raises(BusyError):
        studio.text.write(OWNER, WriteRequest("too late"))

    studio = build_studio(settings, parts)
    try:
        (item,) = studio.library.search(OWNER, OWNER, CreationFilter(query="one")).items
        assert (item.creation.status, item.creation.output) == ("interrupted", "one two ")
    finally:
        studio.close()


def test_a_model_of_the_users_own_writes_through_the_real_host(settings: Settings, tmp_path: Path) -> None:
    spec = tiny_spec(make_model(tmp_path / "tiny"))
    studio = build_studio(settings, Overrides(catalog=Catalog((spec,))))
    try:
        started = studio.text.write(OWNER, WriteRequest("hello", WriteOptions(model="tiny", max_new_tokens=5)))
        wait_for(lambda: studio.jobs.get(OWNER, started.job_id).is_final, DEADLINE_S)
        snapshot = studio.jobs.get(OWNER, started.job_id)
        assert snapshot.status == "done", snapshot.error
        assert [model.id for model in studio.models.loaded()] == ["tiny"]
    finally:
        studio.close()
    assert not [thread for thread in threading.enumerate() if "tiny" in thread.name and thread.is_alive()]


def test_a_second_one_is_refused_and_the_first_goes_on(settings: Settings) -> None:
    studio = build_studio(settings)
    try:
        with pytest.raises(RefusedStartError, match="Another Tastemaker"):
            build_studio(settings)
        assert studio.conversations.create(OWNER).owner_id == OWNER
    finally:
        studio.close()


def test_a_refused_start_holds_nothing(settings: Settings) -> None:
    settings.data_dir.mkdir()
    database = settings.data_dir / "tastemaker.db"
    database.write_bytes(b"")  # what a full disk leaves
    with pytest.raises(RefusedStartError) as refused:
        build_studio(settings)
    assert "\n" not in str(refused.value)
    assert database.read_bytes() == b""
    database.unlink()
    build_studio(settings).close()


def test_a_database_that_is_nowhere_is_refused_in_one_sentence(settings: Settings) -> None:
    for url in ("oracle://x", "nonsense", "postgresql+psycopg://nobody:hunter2@127.0.0.1:1/none"):
        with pytest.raises(RefusedStartError) as refused:
            build_studio(settings.model_copy(update={"database": url}))
        assert "\n" not in str(refused.value)
        assert "hunter2" not in str(refused.value)
    build_studio(settings).close()


def test_files_without_a_row_are_swept_at_a_start(settings: Settings) -> None:
    settings.files_dir.mkdir(parents=True)
    orphan = settings.files_dir / "orphan.png"
    orphan.write_bytes(b"x")
    build_studio(settings).close()
    assert not orphan.exists()


def test_a_staged_backup_is_in_place_after_the_next_start(settings: Settings) -> None:
    studio = build_studio(settings)
    studio.conversations.create(OWNER, system="Kept.")
    backup = studio.preferences.backup()
    studio.conversations.create(OWNER, system="Made later.")
    studio.preferences.stage_restore(backup)
    studio.close()
    studio = build_studio(settings)
    try:
        assert [conversation.system for conversation in studio.conversations.list(OWNER)] == ["Kept."]
        assert any("restored" in warning for warning in studio.warnings)
    finally:
        studio.close()


@pytest.mark.parametrize("flags", [{"share": True}, {"host": "0.0.0.0"}, {"auth": "me:hunter2"}])
def test_what_would_let_others_in_is_refused(flags: dict[str, object]) -> None:
    with pytest.raises(RefusedStartError) as refused:
        check_profile(read_settings(flags))
    assert "hunter2" not in str(refused.value)
