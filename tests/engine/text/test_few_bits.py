"""Fewer bits need bitsandbytes, which other tests must not see: they run with what a new user has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from engine.device import Device
from engine.models.needs import text_need
from tests.starter import cache_folder
from tests.tiny import make_model

REQUIREMENT = "bitsandbytes==0.50.2"
ROOT = Path(__file__).resolve().parents[3]


def installed() -> Path:
    """A folder with nothing but bitsandbytes in it; fetched once (43 MB)."""
    folder = cache_folder() / REQUIREMENT
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not (folder / "bitsandbytes" / "__init__.py").is_file():
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), REQUIREMENT]
            subprocess.run(command, check=True, timeout=300)
    return folder


@pytest.mark.skipif(sys.platform == "darwin", reason="no bitsandbytes")
def test_fewer_bits_with_bitsandbytes() -> None:
    path = os.pathsep.join([str(ROOT), str(installed())])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(Path(__file__).with_name("few_bits.py"))]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "4 passed" in done.stdout


def test_without_bitsandbytes_weights_keep_their_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_model(tmp_path / "tiny")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert text_need(folder, Device("cuda:0", "bfloat16", 1), tmp_path, 512, 0).weight_bits is None
