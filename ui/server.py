"""One FastAPI application: our middleware, our files, and two Gradio apps (English at /, Chinese at /zh).

Knows HTTP; knows no model and no database beyond the Studio's services. `create_app` builds, `serve` runs until Ctrl-C.
Gradio reads some switches from the environment when it is imported, so `serve` sets them first and imports it afterwards.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
import time
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import RefusedStartError, StudioError
from storage.records import LOCAL_OWNER
from ui.terminal import Terminal, follow_downloads

if TYPE_CHECKING:
    from fastapi import FastAPI

    from engine.studio import Studio

logger = logging.getLogger("tastemaker.server")


def prepare_environment(tmp_dir: Path) -> None:
    """What Gradio must find before it is imported: nothing reported, nothing recorded, its files inside our data folder."""
    tmp_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_RUN_HISTORY"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(tmp_dir)
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ.pop("GRADIO_MCP_SERVER", None)
    os.environ.pop("GRADIO_SHARE", None)


def create_app(studio: Studio) -> FastAPI:
    """The whole application, ready for any ASGI server."""
    prepare_environment(studio.settings.tmp_dir)
    import gradio as gr
    from fastapi import FastAPI

    from ui.app import build
    from ui.files import add_file_routes
    from ui.middleware import GatewayMiddleware
    from ui.theme import studio_theme

    app = FastAPI(title="Tastemaker", docs_url=None, redoc_url=None, openapi_url=None)
    add_file_routes(app, studio)

    def preferences() -> tuple[str | None, str]:
        saved = studio.preferences.get(LOCAL_OWNER)
        return saved.language or studio.settings.lang, saved.theme

    theme = studio_theme()
    for language, path in (("zh", "/zh"), ("en", "/")):
        blocks = build(studio, "local", language)
        gr.mount_gradio_app(
            app,
            blocks,
            path,
            server_name=studio.settings.host,
            server_port=studio.settings.port,
            footer_links=[],
            run_history=False,
            show_error=False,
            max_file_size="200mb",
            ssr_mode=False,
            enable_monitoring=False,
            mcp_server=False,
            pwa=False,
            theme=theme,
            app_kwargs={"docs_url": None, "redoc_url": None, "openapi_url": None},
        )
    app.add_middleware(GatewayMiddleware, host=studio.settings.host, preferences=preferences)
    return app


def check_port(host: str, port: int) -> None:
    """Raises RefusedStartError when nobody could listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise RefusedStartError(
                f"Port {port} is in use. Stop the other program, or choose another port with --port {port + 1}.",
                key="error.port_in_use",
                port=port,
                other=port + 1,
            ) from error


SWITCH_INTERVAL_S = 0.0005


def serve(studio: Studio) -> None:
    """Serve until Ctrl-C or SIGTERM, then return. Prints the ready line once the first page is answered,
    and how far the models are that the first start gets.

    Raises RefusedStartError when the port is taken.
    """
    settings = studio.settings
    check_port(settings.host, settings.port)
    # Each of the hundreds of small operations of a token gives the interpreter up and wants it back at once; at the default
    # of 5 ms a page that is being served would hold up every one of them.
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    terminal, stop = Terminal(sys.stdout), threading.Event()
    downloads = threading.Thread(target=follow_downloads, args=(studio.jobs, terminal, stop), name="downloads", daemon=True)
    downloads.start()
    try:
        app = create_app(studio)
        import uvicorn

        config = uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=2,
            ws="none",
        )
        server = uvicorn.Server(config)
        threading.Thread(target=_announce, args=(studio, server, terminal), name="ready", daemon=True).start()
        server.run()
    finally:
        stop.set()
        downloads.join(2)


def _announce(studio: Studio, server: Any, terminal: Terminal) -> None:
    """Wait for the first page, say so, then load the default model so that the first answer does not wait for it."""
    import httpx

    settings = studio.settings
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = f"http://{host}:{settings.port}"
    while not server.should_exit:
        if server.started:
            try:
                if httpx.get(f"{url}/", timeout=10, trust_env=False).status_code == 200:
                    break
            except httpx.HTTPError as error:
                logger.debug("not ready yet: %s", error)
        time.sleep(0.02)
    if server.should_exit:
        return
    terminal.say(f"Tastemaker is ready: {url}")  # the line that people and programs wait for
    if not settings.no_browser:
        webbrowser.open(url)
    try:
        studio.models.warm()
    except StudioError as error:
        logger.info("no model to warm: %s", error)
