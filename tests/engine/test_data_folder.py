"""One studio for each data folder; a lock never outlives its process; what cannot be written is said in one sentence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine.data_folder import hold_data_folder
from engine.errors import RefusedStartError
from engine.settings import Settings, read_settings

ROOT = Path(__file__).resolve().parents[2]
HOLDER = """
import sys, time
from engine.data_folder import hold_data_folder
from engine.settings import read_settings
with hold_data_folder(read_settings({"data_dir": sys.argv[1]})):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return read_settings({"data_dir": str(tmp_path / "new" / "data")})


def test_the_folder_is_made_for_its_user_only_and_let_go(settings: Settings) -> None:
    with hold_data_folder(settings):
        assert settings.files_dir.is_dir()
        assert settings.data_dir.stat().st_mode & 0o077 == 0
    with hold_data_folder(settings):
        pass


def test_the_temporary_folder_starts_empty_and_the_rest_stays(settings: Settings) -> None:
    with hold_data_folder(settings):
        (settings.tmp_dir / "left over").write_text("x")
        (settings.files_dir / "kept").write_text("x")
    with hold_data_folder(settings):
        assert list(settings.tmp_dir.iterdir()) == []
        assert (settings.files_dir / "kept").exists()


def test_a_second_studio_is_refused_and_told_who_holds_it_until_that_one_is_gone(settings: Settings) -> None:
    command = [sys.executable, "-c", HOLDER, str(settings.data_dir)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        try:
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(RefusedStartError) as refused, hold_data_folder(settings):
                pass
            assert str(holder.pid) in str(refused.value)
            assert "--data-dir" in str(refused.value)
        finally:
            os.kill(holder.pid, signal.SIGKILL)
        assert holder.wait(20) == -signal.SIGKILL
    with hold_data_folder(settings):  # the killed one's lock went with it
        pass


def test_a_file_in_the_folders_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("not a folder")
    with pytest.raises(RefusedStartError) as refused, hold_data_folder(read_settings({"data_dir": str(tmp_path / "data")})):
        pass
    assert str(tmp_path / "data") in str(refused.value)
    assert "\n" not in str(refused.value)
