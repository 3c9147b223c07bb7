"""The examples of docs/api.md, run as they stand against a started studio with the real starter models.

Knows fenced blocks and where the page says the studio listens; knows nothing of what the examples do.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.bootstrap import ASSETS_DIR
from engine.models.catalog import STARTER_IMAGE_ID
from engine.models.store import ModelStore
from tests.browser.studio import ROOT, RunningStudio
from tests.starter import starter_catalog, starter_models

pytestmark = pytest.mark.integration
ADDRESS = "http://127.0.0.1:7860"
LIMIT_S = 900
LOOP_LIMIT_S = 2400
"""For the whole loop, which takes minutes on two idle cores: other tests and programs may share them."""


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStudio]:
    with RunningStudio(tmp_path_factory.mktemp("api") / "data", starter_models()) as running:
        yield running


def examples(document: Path, language: str, address: str) -> str:
    """All fenced blocks of a language, in order, as one program that talks to `address`.

    A copy of the studio without the starter image model's weights cannot draw: /imagine is left out there.
    """
    text = document.read_text(encoding="utf-8")
    if ModelStore(starter_models(), ASSETS_DIR).state(starter_catalog().get(STARTER_IMAGE_ID)) != "installed":
        text = re.sub(r"^## /imagine$.*?(?=^## )", "", text, flags=re.M | re.S)
    blocks = re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)
    assert blocks
    return "\n".join(blocks).replace(ADDRESS, address)


@pytest.mark.parametrize("name", ["docs/api.md", "README.md"])
def test_python_examples_run(name: str, studio: RunningStudio, tmp_path: Path) -> None:
    program = examples(ROOT / name, "python", studio.url)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert done.returncode == 0, done.stderr


def test_shell_examples_run(studio: RunningStudio, tmp_path: Path) -> None:
    program = "set -eu\n" + examples(ROOT / "docs" / "api.md", "bash", studio.url)
    done = subprocess.run(["bash", "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stderr
    assert "event: error" not in done.stdout, done.stdout
    assert done.stdout.count("event: complete") == program.count("\ncall ") and "event: complete" in done.stdout
    assert (tmp_path / "pairs.zip").read_bytes().startswith(b"PK")


def test_the_learning_script_rates_trains_tests_and_decides(tmp_path: Path) -> None:
    """docs/learning.md's script as it stands, on a studio of its own: it trains on all that was rated there."""
    with RunningStudio(tmp_path / "data", starter_models()) as running:
        program = examples(ROOT / "docs" / "learning.md", "python", running.url)
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=LOOP_LIMIT_S, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert re.search(r"^won \d+, lost \d+, tied \d+: \d+%", done.stdout, re.M), done.stdout
        writer = re.search(r"^Written by (\w+)", done.stdout, re.M)
        assert writer and (writer.group(1) != "base") == ("Promoted." in done.stdout), done.stdout
