"""Nothing gets lost on the way out and back: export → import into an empty studio, backup → restore, both from the page."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.studio import ROOT, RunningStudio
from tests.browser.test_library import ROWS, import_rows
from tests.browser.write_page import WritePage

pytestmark = [pytest.mark.browser, pytest.mark.integration]


def export(page: Page, folder: Path, label: str) -> Path:
    """Save one export through the Library's menu; returns the file."""
    page.locator("#library-export").click()
    with page.expect_download() as download:
        page.locator(".tm-menu button", has_text=label).click()
    target = folder / f"{len(list(folder.iterdir()))}-{download.value.suggested_filename}"
    download.value.save_as(target)
    return target


def open_library(open_page: OpenPage, studio: RunningStudio) -> Page:
    return open_page(studio.url + "/?tab=library", selector="#library-search input")


def test_export_import_into_an_empty_studio_exports_the_same_bytes(
    studio: RunningStudio, models_dir: Path, open_page: OpenPage, tmp_path: Path
) -> None:
    write = WritePage(open_page(studio.url))
    written = write.write("Write one line to keep.")
    write.last.locator(".rate [data-score='1']").click()
    expect(write.last.locator(".rate-effect")).to_be_visible()
    library = open_library(open_page, studio)
    import_rows(library, tmp_path, ROWS)
    files = tmp_path / "files"
    files.mkdir()
    first = export(library, files, "bundle")
    with RunningStudio(tmp_path / "empty", models_dir) as other:
        page = open_library(open_page, other)
        expect(page.locator("#library .tm-empty")).to_be_visible()
        page.locator("#library-import").click()
        page.locator("#library-import-file").set_input_files(first)
        expect(page.locator(".lib-report")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator("#library-list article")).to_have_count(len(ROWS) + 1)
        page.locator("#library-search input").fill("猫咪")
        expect(page.locator("#library-list article")).to_have_count(1)
        page.locator("#library-search input").fill("")
        expect(page.locator("#library-list article")).to_have_count(len(ROWS) + 1)
        second = export(page, files, "bundle")
        digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in (first, second)]
        assert digests[0] == digests[1]
        again = WritePage(open_page(f"{other.url}/?c={write.conversation_id}"))
        assert again.text() == written
        expect(again.last.locator(".rate [data-score='1']")).to_have_attribute("aria-pressed", "true")


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "launch.py", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


def test_a_backup_taken_while_it_runs_is_restored_into_another_folder(
    studio: RunningStudio, models_dir: Path, open_page: OpenPage, tmp_path: Path
) -> None:
    write = WritePage(open_page(studio.url))
    written = write.write("Write one line to back up.")
    write.last.locator(".rate [data-score='-1']").click()
    expect(write.last.locator(".rate-effect")).to_be_visible()
    file = tmp_path / "backup.zip"
    done = command("backup", str(file), "--data-dir", str(studio.data_dir))
    assert done.returncode == 0 and file.exists(), done.stderr
    refused = command("restore", str(file), "--data-dir", str(studio.data_dir))
    assert refused.returncode == 2 and len(refused.stderr.strip().splitlines()) == 1, refused.stderr
    done = command("restore", str(file), "--data-dir", str(tmp_path / "restored"))
    assert done.returncode == 0, done.stderr
    with RunningStudio(tmp_path / "restored", models_dir) as other:
        again = WritePage(open_page(f"{other.url}/?c={write.conversation_id}"))
        assert again.text() == written
        expect(again.last.locator(".rate [data-score='-1']")).to_have_attribute("aria-pressed", "true")
        assert again.write("And it goes on.")
