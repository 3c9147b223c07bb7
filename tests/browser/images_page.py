"""The Images page as a person uses it: type, create, wait, press what is on a picture, drop a file, paint.

Knows the page's elem_ids and data-… names; asserts nothing beyond "this becomes visible". `image_models` puts the starter image
model where the studio finds it: the trained one where the checkout has it, else a tiny one with random weights.
"""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Locator, Page, expect

from engine.bootstrap import ASSETS_DIR
from engine.models.pipeline_folder import STICKER_FAMILY, is_whole
from tests.engine.image.tiny import write_model

DRAWING_LIMIT_MS = 240_000
"""The first picture also waits for the model's libraries, and two busy cores may be slow."""
LONG = {"n": 8, "steps": 150, "width": 128, "height": 128}
"""Settings with which even a tiny model draws for a while."""
SHORT = {"n": 2, "steps": 5, "width": 128, "height": 128}
DROP = """([selector, name, type, data]) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], name, { type }));
  const target = document.querySelector(selector);
  for (const kind of ["dragenter", "dragover", "drop"]) {
    target.dispatchEvent(new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer }));
  }
}"""


def image_models(folder: Path, starters: Path) -> Path:
    """A models folder with the starters and an image model that draws: `starters` itself when the checkout has a trained one."""
    if is_whole(ASSETS_DIR / "models" / "sticker", STICKER_FAMILY):
        return starters
    linked_models(folder, starters)
    write_model(folder / "sticker")
    return folder


def linked_models(folder: Path, starters: Path) -> Path:
    """A models folder of its own with what `starters` has."""
    folder.mkdir(parents=True)
    for one in starters.iterdir():
        if not one.name.startswith("."):
            (folder / one.name).symlink_to(one, target_is_directory=True)
    return folder


class ImagesPage:
    """One open Images page."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.prompt = page.locator("#image-prompt textarea")
        self.create = page.locator("#image-create")
        self.skip = page.locator("#image-skip")
        self.stop = page.locator("#image-stop")
        self.queue = page.locator("#image-queue .im-waiting")
        self.batches = page.locator("#image-list .im-batch")
        self.tiles = page.locator("#image-list .im-tile")
        self.viewer = page.locator("#image-viewer")
        self.found = page.locator("#image-found")
        self.notices = page.locator("#tm-notices .tm-notice")

    @property
    def newest(self) -> Locator:
        """The newest click with its pictures."""
        return self.batches.first

    def settle(self) -> ImagesPage:
        """Until the form is there."""
        expect(self.page.locator("#image-styles button:visible, #image-missing:visible").first).to_be_visible()
        return self

    def set(self, **values: Any) -> None:
        """Settings as if they had been chosen before; the page is loaded again with them."""
        kept = json.dumps(values)
        self.page.evaluate("(kept) => localStorage.setItem('tastemaker:images', kept)", kept)
        self.page.reload(wait_until="domcontentloaded")
        self.prompt.wait_for(state="visible")
        self.settle()

    def send(self, text: str) -> None:
        """Type a prompt and press Create; returns when the studio has taken it."""
        self.prompt.fill(text)
        with self.page.expect_response(lambda response: "component_server" in response.url, timeout=DRAWING_LIMIT_MS):
            self.create.click()

    def draw(self, text: str) -> list[str]:
        """Send a prompt and wait for all pictures; their ids."""
        before = self.newest.get_attribute("data-job") if self.batches.count() else ""
        self.prompt.fill(text)
        self.create.click()
        return self.finished(before or "")

    def finished(self, before: str = "") -> list[str]:
        """Wait until a click newer than the job `before` has all of its pictures; their ids."""
        if before:
            expect(self.newest).not_to_have_attribute("data-job", before, timeout=DRAWING_LIMIT_MS)
        expect(self.newest).to_have_attribute("data-status", "done", timeout=DRAWING_LIMIT_MS)
        expect(self.stop).to_be_hidden()
        return [str(tile.get_attribute("data-creation")) for tile in self.newest.locator(".im-tile").all()]

    def open(self, creation_id: str) -> None:
        """Show a picture large."""
        self.page.locator(f".im-tile[data-creation='{creation_id}'] .im-open").click()
        expect(self.viewer).to_be_visible()

    def press(self, action: str) -> None:
        """Press one of the buttons of the large view."""
        self.viewer.locator(f"[data-action={action}]").click()

    def choose(self, text: str | re.Pattern[str]) -> None:
        """Choose from the menu that is open."""
        self.page.locator(".tm-menu button", has_text=text).click()

    def file(self, creation_id: str) -> bytes:
        """The picture's file as the studio serves it."""
        answer = self.page.request.get(f"{self.page.url.split('?')[0].rstrip('/').removesuffix('/zh')}/media/{creation_id}")
        assert answer.status == 200, answer.status
        return answer.body()

    def pixels(self, creation_id: str) -> bytes:
        """What is in it."""
        with Image.open(io.BytesIO(self.file(creation_id))) as picture:
            return picture.convert("RGBA").tobytes()

    def drop(self, name: str, data: bytes, *, selector: str = "#page-images", type: str = "image/png") -> None:
        """Drop a file on the page as from the desktop."""
        self.page.evaluate(DROP, [selector, name, type, base64.b64encode(data).decode()])
