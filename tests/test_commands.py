"""The subcommands: plain lines, exit codes 0 and 2, the lock, and what they leave behind."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from engine.arguments import parse
from engine.commands import run
from engine.data_folder import hold_data_folder
from engine.settings import Settings, read_settings
from storage.files import FileStore
from storage.records import CreationFilter
from tests.engine.services.library_parts import OWNER, add, opened, rich_library

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = Settings(data_dir=tmp_path / "data", models_dir=tmp_path / "models")
    with hold_data_folder(made), opened(made.data_dir) as database:
        rich_library(database, FileStore(made.files_dir))
    return made


def command(settings: Settings, *argv: str) -> int:
    """Run a subcommand as launch.py does."""
    args, flags = parse(["--data-dir", str(settings.data_dir), "--models-dir", str(settings.models_dir), *argv])
    return run(args, read_settings(flags))


def outputs(settings: Settings) -> set[str]:
    with opened(settings.data_dir) as database, database.read() as uow:
        return {item.creation.output for item in uow.creations.search(OWNER, OWNER, CreationFilter()).items}


def test_backup_and_restore_bring_everything_back(settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = outputs(settings)
    backup = tmp_path / "backup.zip"
    with hold_data_folder(settings):  # beside a running studio
        assert command(settings, "backup", str(backup)) == 0
    assert str(backup) in capsys.readouterr().out
    new = Settings(data_dir=tmp_path / "new", models_dir=tmp_path / "models")
    assert command(new, "restore", str(backup)) == 0
    assert outputs(new) == before
    assert (new.files_dir / "ab" / "cat.png").read_bytes() == b"\x89PNG cat"
    assert command(new, "backup", str(tmp_path / "again.zip")) == 0
    assert (tmp_path / "again.zip").read_bytes() == backup.read_bytes()


def test_restore_and_import_refuse_beside_a_running_studio(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backup = tmp_path / "backup.zip"
    assert command(settings, "backup", str(backup)) == 0
    capsys.readouterr()
    with hold_data_folder(settings):
        for name in ("restore", "import"):
            assert command(settings, name, str(backup)) == 2
            said = capsys.readouterr()
            assert said.out == "" and said.err.count("\n") == 1 and "Stop it first" in said.err
    assert command(settings, "import", str(backup)) == 0


def test_export_and_import_round_trip(settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for format in ("bundle", "sft", "dpo", "kto", "csv"):
        with hold_data_folder(settings):
            assert command(settings, "export", str(tmp_path / format), "--format", format) == 0
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".export")) == []
    new = Settings(data_dir=tmp_path / "new", models_dir=tmp_path / "models")
    assert command(new, "import", str(tmp_path / "bundle")) == 0
    assert command(new, "export", str(tmp_path / "bundle2")) == 0
    assert (tmp_path / "bundle2").read_bytes() == (tmp_path / "bundle").read_bytes()
    with zipfile.ZipFile(tmp_path / "dpo") as archive:
        assert all(json.loads(line)["chosen"] for line in archive.read("rows.jsonl").splitlines())
    capsys.readouterr()
    assert command(new, "import", str(tmp_path / "csv")) == 2
    said = capsys.readouterr()
    assert "Row 1" in said.err and "Nothing was imported" in said.err


def test_commands_that_only_read_make_no_empty_library(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nowhere = Settings(data_dir=tmp_path / "typo", models_dir=tmp_path / "models")
    for argv in (("backup", str(tmp_path / "b.zip")), ("export", str(tmp_path / "e.zip"))):
        assert command(nowhere, *argv) == 2
        assert "no library" in capsys.readouterr().err
    assert command(nowhere, "doctor") == 0
    assert not nowhere.data_dir.exists() and not (tmp_path / "b.zip").exists()


@pytest.mark.parametrize(
    "argv",
    [
        ("backup", "{tmp}/no/such/folder.zip"), ("export", "{tmp}"),
        ("restore", "{tmp}/nowhere.zip"), ("import", "{tmp}/nowhere"),
        ("models", "get"), ("models", "get", "no-such-model"), ("models", "remove", "no-such-model"),
        ("models", "verify", "smollm2-135m-instruct"), ("--offline", "models", "get", "smollm2-135m-instruct"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_exit_code_2_and_one_line(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str], argv: tuple[str, ...]
) -> None:
    before = outputs(settings)
    assert command(settings, *(part.replace("{tmp}", str(tmp_path)) for part in argv)) == 2
    said = capsys.readouterr()
    assert said.err.startswith("tastemaker: ") and said.err.count("\n") == 1
    assert outputs(settings) == before


def lines_of(text: str) -> dict[str, str]:
    return {line.split(":")[0].split(maxsplit=1)[1]: line.split()[0] for line in text.splitlines() if ":" in line}


def test_doctor_finds_a_sound_studio_sound_and_changes_nothing(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_size for path in settings.data_dir.rglob("*") if path.is_file()}
    assert command(settings, "doctor") == 0
    found = lines_of(capsys.readouterr().out)
    assert found["database"] == found["files"] == found["data folder"] == found["network"] == "ok"
    assert found["model smollm2-135m-instruct"] == "warn"
    after = {path: path.stat().st_size for path in settings.data_dir.rglob("*") if path.is_file()}
    assert {path.name: size for path, size in after.items() if path in before} == {p.name: size for p, size in before.items()}
    with hold_data_folder(settings):
        assert command(settings, "doctor") == 0
    assert "held by a running studio" in capsys.readouterr().out


def test_doctor_names_damaged_missing_and_orphaned_files(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    files = FileStore(settings.files_dir)
    files.put("cd/orphan.png", b"nobody's")
    files.put("ab/cat.png", b"changed")
    assert command(settings, "doctor") == 2
    said = capsys.readouterr().out
    assert "1 damaged (ab/cat.png)" in said and "1 belong to nothing (cd/orphan.png)" in said
    files.delete("ab/cat.png")
    assert command(settings, "doctor") == 2
    assert "1 missing (ab/cat.png)" in capsys.readouterr().out


@pytest.mark.parametrize("damage", ["empty", "text", "header", "page"])
def test_doctor_says_that_the_database_is_damaged_and_leaves_it(
    settings: Settings, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    path = settings.data_dir / "tastemaker.db"
    data = bytearray(path.read_bytes())
    if damage == "empty":
        data = bytearray()
    elif damage == "text":
        data = bytearray(b"not a database")
    elif damage == "header":
        data[:16] = bytes(16)
    else:
        data[4096 * 3 : 4096 * 5] = b"\xff" * 8192
    path.write_bytes(data)
    assert command(settings, "doctor") == 2
    said = capsys.readouterr().out
    assert "fail  database" in said and "restore" in said
    assert path.read_bytes() == bytes(data)


def test_models_are_listed_with_their_state(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(settings, "models") == 0
    said = capsys.readouterr().out
    assert "missing" in said and "smollm2-135m-instruct" in said and "Apache-2.0" in said


def test_a_subcommand_starts_without_torch_and_gradio(settings: Settings) -> None:
    code = (
        "import sys\n"
        "import engine.commands, engine.services.models, engine.services.export, engine.services.preferences\n"
        "bad = {'torch', 'gradio', 'transformers', 'openai'} & set(sys.modules)\n"
        "sys.exit(f'imported {bad}' if bad else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_import_says_how_much_it_added(settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "p", "completion": "c", "label": true}\n', encoding="utf-8")
    assert command(settings, "import", str(path)) == 0
    assert "Imported 1 rows" in capsys.readouterr().out
    with opened(settings.data_dir) as database:
        add(database)
    assert command(settings, "import", str(path)) == 0
    assert "1 were already there" in capsys.readouterr().out
