"""The whole server in this process, on real storage and a model that writes to order, for tests that talk to it from outside.

Knows the API's two ways in (gradio_client and plain HTTP); knows no endpoint.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from gradio_client import Client

from engine.bootstrap import Overrides, build_studio
from engine.settings import Settings
from engine.studio import Studio
from storage.records import LOCAL_OWNER
from tests.browser.studio import free_port
from tests.engine.services.image_studio import FakeImageHost, FakeImageModel
from tests.ui.drawn import catalog_that_draws
from tests.ui.scripted import ScriptedHost, ScriptedModel
from ui.server import create_app

GRADIO_ARGUMENTS: dict[str, Any] = {"verbose": False, "analytics_enabled": False}


class Served:
    """The studio, its model, and where it answers."""

    def __init__(self, studio: Studio, model: ScriptedModel, image_model: FakeImageModel, model_id: str, url: str) -> None:
        self.studio = studio
        self.model = model
        self.image_model = image_model
        self.model_id = model_id
        self.url = url
        self.client = Client(url, **GRADIO_ARGUMENTS)

    def call(self, name: str, *arguments: Any) -> Any:
        """Ask an endpoint by its name; raises gradio_client's AppError."""
        return self.client.predict(*arguments, api_name=f"/{name}")

    def post(self, name: str, body: bytes | dict[str, Any]) -> list[tuple[str, Any]]:
        """Plain HTTP: every (event, data) of the answer."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        asked = httpx.post(f"{self.url}/gradio_api/call/{name}", content=content, headers=headers, timeout=30)
        asked.raise_for_status()
        text = httpx.get(f"{self.url}/gradio_api/call/{name}/{asked.json()['event_id']}", timeout=30).text
        events = [block.split("\n") for block in text.strip().split("\n\n")]
        return [(lines[0].removeprefix("event: "), json.loads(lines[1].removeprefix("data: "))) for lines in events]


@contextmanager
def serve(folder: Path) -> Iterator[Served]:
    """Start on a data folder in `folder`, with the scripted model as the default; stop at the end."""
    port = free_port()
    settings = Settings(data_dir=folder / "data", models_dir=folder / "models", port=port, offline=True, no_browser=True)
    model = ScriptedModel()
    image_model = FakeImageModel()
    parts = Overrides(ScriptedHost(model), FakeImageHost(image_model), catalog_that_draws(folder / "sticker"))
    studio = build_studio(settings, parts)
    added = studio.models.add_server(LOCAL_OWNER, "scripted", "http://127.0.0.1:9/v1", "scripted", "")
    studio.models.set_default(LOCAL_OWNER, "text", added.id)
    server = uvicorn.Server(uvicorn.Config(create_app(studio), host="127.0.0.1", port=port, log_level="warning", ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.02)
    try:
        yield Served(studio, model, image_model, added.id, f"http://127.0.0.1:{port}")
    finally:
        server.should_exit = True
        thread.join(10)
        studio.close()
