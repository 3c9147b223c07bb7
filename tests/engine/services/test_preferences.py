"""Preferences, space, backup, and restores that wait for the next start."""

from __future__ import annotations

import os
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import BadFileError, BadOptionError, RefusedStartError
from engine.services.export import ExportService
from engine.services.feedback import FeedbackService
from engine.services.preferences import Preferences, PreferencesService
from engine.services.restore import FAILED_NAME, STAGED_NAME, apply_staged, restore
from engine.settings import Settings
from storage.database import Database, open_database
from storage.files import FileStore, Stores
from storage.records import CreationFilter
from tests.engine.services.library_parts import OWNER, add, opened, rich_library
from tests.postgres import running_cluster

KEY = "sk-very-secret"


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    with running_cluster() as cluster:
        yield cluster.create_database()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = Settings(data_dir=tmp_path / "data 文件夹", models_dir=tmp_path / "models")
    made.data_dir.mkdir()
    return made


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    with opened(settings.data_dir) as database:
        yield database


@pytest.fixture
def preferences(settings: Settings, database: Database) -> PreferencesService:
    return PreferencesService(database, FileStore(settings.files_dir), settings)


def bundle_bytes(settings: Settings, database: Database) -> bytes:
    stores = Stores(FileStore(settings.files_dir), FileStore(settings.adapters_dir))
    service = ExportService(database, stores, exports_dir=settings.exports_dir, tmp_dir=settings.tmp_dir)
    return service.export(OWNER, OWNER, format="bundle").path.read_bytes()


def outputs(database: Database) -> set[str]:
    with database.read() as uow:
        return {item.creation.output for item in uow.creations.search(OWNER, OWNER, CreationFilter()).items}


def test_preferences_have_defaults_and_are_kept(preferences: PreferencesService, database: Database, settings: Settings) -> None:
    assert preferences.get(OWNER) == Preferences(None, "auto", "auto")
    assert preferences.set(OWNER, language="zh", theme="dark") == Preferences("zh", "dark", "auto")
    assert preferences.set(OWNER, language=None).language is None
    assert PreferencesService(database, FileStore(settings.files_dir), settings).get(OWNER).theme == "dark"
    assert preferences.get("alice") == Preferences()


@pytest.mark.parametrize("changes", [{"language": "xx"}, {"theme": "pink"}, {"theme": None}, {"device": "tpu"}, {"font": "x"}])
def test_impossible_preferences_are_refused_and_change_nothing(
    preferences: PreferencesService, changes: dict[str, str | None]
) -> None:
    with pytest.raises(BadOptionError):
        preferences.set(OWNER, **{"language": "en", **changes})
    assert preferences.get(OWNER) == Preferences()


def test_the_device_of_the_start_is_the_flags_then_the_chosen_one(preferences: PreferencesService, database: Database) -> None:
    preferences.set(OWNER, device="cpu")
    assert preferences.start_device().name == "cpu"
    with database.write() as uow:  # kept on a machine that had one
        uow.settings.set(OWNER, "preferences.device", "cuda:7")
        uow.commit()
    assert preferences.start_device().kind in ("cpu", "cuda", "mps")


def test_space_counts_what_is_there(preferences: PreferencesService, settings: Settings) -> None:
    FileStore(settings.files_dir).put("ab/x.bin", b"x" * 1000)
    settings.models_dir.mkdir()
    (settings.models_dir / "weights").write_bytes(b"x" * 2000)
    space = preferences.space()
    assert space["files_bytes"] == 1000 and space["models_bytes"] == 2000
    assert space["database_bytes"] > 0 and space["free_bytes"] > 0
    assert space["data_dir"] == str(settings.data_dir)


def test_a_backup_made_while_ratings_come_in_restores_into_an_empty_folder(
    preferences: PreferencesService, database: Database, settings: Settings, tmp_path: Path
) -> None:
    rich_library(database, FileStore(settings.files_dir))
    settings.secrets_path.write_text(KEY)
    creations = [add(database, f"prompt {n}") for n in range(30)]
    feedback, done = FeedbackService(database), threading.Event()

    def keep_rating() -> None:
        for n in range(10_000):
            feedback.rate(OWNER, OWNER, creations[n % 30].id, (-1) ** n)
            if done.is_set():
                return

    thread = threading.Thread(target=keep_rating)
    thread.start()
    try:
        path = preferences.backup()
    finally:
        done.set()
        thread.join(timeout=30)
    assert path.parent == settings.backups_dir and KEY.encode() not in path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        assert not any("secret" in name or KEY.encode() in archive.read(name) for name in archive.namelist())
    new = Settings(data_dir=tmp_path / "new", models_dir=tmp_path / "models")
    assert restore(new, path) is None
    with opened(new.data_dir) as restored:
        assert restored.check() == ()
        assert outputs(restored) == outputs(database)
        assert (new.files_dir / "ab" / "cat.png").read_bytes() == b"\x89PNG cat"


def test_a_restore_keeps_the_old_library_aside(preferences: PreferencesService, database: Database, settings: Settings) -> None:
    rich_library(database, FileStore(settings.files_dir))
    before = bundle_bytes(settings, database)
    path = preferences.backup(settings.data_dir.parent / "backup.zip")
    add(database, "made after the backup", "only in the old library")
    database.close()
    aside = restore(settings, path)
    assert aside is not None and (aside / "tastemaker.db").is_file() and (aside / "files" / "ab" / "cat.png").is_file()
    with opened(settings.data_dir) as restored:
        assert bundle_bytes(settings, restored) == before
        assert "only in the old library" not in outputs(restored)
    with opened(aside) as old:
        assert "only in the old library" in outputs(old)
    assert list(settings.tmp_dir.iterdir()) == []
    for private in (settings.data_dir / "tastemaker.db", settings.files_dir, aside):
        assert private.stat().st_mode & 0o077 == 0


def test_a_staged_restore_waits_for_the_next_start(
    preferences: PreferencesService, database: Database, settings: Settings
) -> None:
    add(database, output="in the backup")
    path = preferences.backup()
    add(database, output="made later")
    assert not preferences.staged() and apply_staged(settings) is None
    preferences.stage_restore(path)
    assert preferences.staged() and outputs(database) == {"in the backup", "made later"}
    database.close()
    said = apply_staged(settings)
    assert said is not None and "before-restore" in said
    assert not (settings.data_dir / STAGED_NAME).exists() and apply_staged(settings) is None
    with opened(settings.data_dir) as restored:
        assert outputs(restored) == {"in the backup"}


def test_a_damaged_backup_is_refused_and_nothing_changes(
    preferences: PreferencesService, database: Database, settings: Settings
) -> None:
    add(database, output="kept")
    path = preferences.backup(settings.data_dir.parent / "backup.zip")
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        row = archive.getinfo("creations.jsonl")
    place = data.index(b"creations.jsonl") + len("creations.jsonl") + 20 + row.compress_size // 2
    flipped = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
    for name, broken in (("flipped", flipped), ("half", data[: len(data) // 2]), ("text", b"x")):
        bad = settings.data_dir.parent / f"{name}.zip"
        bad.write_bytes(broken)
        with pytest.raises(BadFileError):
            preferences.stage_restore(bad)
        with pytest.raises(BadFileError):
            restore(settings, bad)
    with pytest.raises(BadFileError):
        preferences.stage_restore(settings.data_dir / "nowhere.zip")
    assert not preferences.staged() and outputs(database) == {"kept"}
    assert list(settings.tmp_dir.iterdir()) == []


def test_a_staged_backup_that_became_damaged_is_set_aside_and_the_start_goes_on(
    preferences: PreferencesService, database: Database, settings: Settings
) -> None:
    add(database, output="kept")
    staged = preferences.stage_restore(preferences.backup())
    staged.write_bytes(staged.read_bytes()[:-100])
    database.close()
    said = apply_staged(settings)
    assert said is not None and "not restored" in said
    assert (settings.data_dir / FAILED_NAME).is_file() and not staged.exists()
    with opened(settings.data_dir) as still:
        assert outputs(still) == {"kept"}


def test_a_restore_that_cannot_put_the_new_in_place_puts_the_old_back(
    preferences: PreferencesService, database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    rich_library(database, FileStore(settings.files_dir))
    path = preferences.backup(settings.data_dir.parent / "backup.zip")
    add(database, output="newest")
    database.close()
    real = os.replace

    def fail_at_the_last(source: Path, target: Path) -> None:
        if Path(target).name == "tastemaker.db" and Path(source).name.endswith(".restored"):
            raise PermissionError(13, "Permission denied")
        real(source, target)

    monkeypatch.setattr("engine.services.restore.os.replace", fail_at_the_last)
    with pytest.raises(PermissionError):
        restore(settings, path)
    monkeypatch.undo()
    with opened(settings.data_dir) as still:
        assert "newest" in outputs(still)
    assert (settings.files_dir / "ab" / "cat.png").is_file()


def test_a_backup_goes_only_where_it_can(preferences: PreferencesService, settings: Settings) -> None:
    for path in (settings.data_dir / "no" / "such" / "folder.zip", settings.data_dir):
        with pytest.raises(BadOptionError):
            preferences.backup(path)


@pytest.mark.postgres
def test_a_backup_moves_a_library_from_sqlite_to_postgresql_and_back(
    preferences: PreferencesService, database: Database, settings: Settings, tmp_path: Path, postgres_url: str
) -> None:
    rich_library(database, FileStore(settings.files_dir))
    before = bundle_bytes(settings, database)
    path = preferences.backup()
    server = Settings(data_dir=tmp_path / "server", models_dir=tmp_path / "models", database=postgres_url)
    server.data_dir.mkdir()
    assert restore(server, path) is None
    moved = open_database(postgres_url)
    try:
        assert bundle_bytes(server, moved) == before
        back = PreferencesService(moved, FileStore(server.files_dir), server).backup()
    finally:
        moved.close()
    with pytest.raises(RefusedStartError, match="not empty"):
        restore(server, path)
    new = Settings(data_dir=tmp_path / "new", models_dir=tmp_path / "models")
    restore(new, back)
    with opened(new.data_dir) as restored:
        assert bundle_bytes(new, restored) == before
