"""Our own files over HTTP: scripts, styles, words, media, exports, pictures of runs. Every owner check is in the services."""

from __future__ import annotations

import mimetypes
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles

from engine.errors import StudioError
from storage.records import LOCAL_OWNER
from ui.i18n import ASSETS_DIR, LANGUAGES
from ui.page import words_script

if TYPE_CHECKING:
    from starlette.types import Scope

    from engine.studio import Studio

FOR_EVER = "public, max-age=31536000, immutable"
# Types that a browser shows in place; anything else is handed over as a download, so that no file of a user runs on our origin.
SHOWN_TYPES = ("image/png", "image/jpeg", "image/webp")


class VersionedFiles(StaticFiles):
    """Files whose address carries their version: kept for ever; asked without one, they are checked each time."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["cache-control"] = FOR_EVER if b"v=" in scope["query_string"] else "no-cache"
        return response


def add_file_routes(app: FastAPI, studio: Studio) -> None:
    """Mount /assets/{js,css,words}, /media, /summaries, /styles, /exports, /runs. Gradio's own /assets/<file> is not touched."""
    for folder in ("js", "css"):
        app.mount(f"/assets/{folder}", VersionedFiles(directory=ASSETS_DIR / folder), name=folder)

    @app.get("/assets/words/{name}.js")
    def words(name: str) -> Response:
        if name not in LANGUAGES:
            return JSONResponse({"detail": "Nothing with this id."}, status_code=404)
        return Response(words_script(name), media_type="text/javascript", headers={"cache-control": FOR_EVER})

    _add_picture_routes(app, studio)

    @app.get("/exports/{export_id}")
    def exports(export_id: str) -> Response:
        return _sent(lambda: studio.exports.path_of(LOCAL_OWNER, export_id))

    @app.get("/runs/{run_id}/run.png")
    def run_picture(run_id: str) -> Response:
        return _sent(lambda: studio.training.picture(LOCAL_OWNER, run_id), {"cache-control": "no-cache"})


def _add_picture_routes(app: FastAPI, studio: Studio) -> None:
    @app.get("/media/{creation_id}")
    def media(creation_id: str, v: str = "") -> Response:
        return _sent(lambda: studio.library.media_path(LOCAL_OWNER, creation_id), _kept(v))

    @app.get("/media/{creation_id}/thumb")
    def thumbnail(creation_id: str, v: str = "") -> Response:
        return _sent(lambda: studio.image.thumbnail(LOCAL_OWNER, creation_id), _kept(v))

    @app.get("/media/{creation_id}/export")
    def export(creation_id: str, format: str = "png", visible: bool = False) -> Response:
        try:
            file = studio.image.export(LOCAL_OWNER, creation_id, format=format, visible=visible)  # type: ignore[arg-type]
        except StudioError as error:
            return _refused(error)
        headers = {"content-disposition": f'attachment; filename="{file.name}"', "cache-control": "no-store"}
        return Response(file.data, media_type=file.media_type, headers=headers)

    @app.get("/summaries/{creation_id}/export")
    def summary(creation_id: str, format: str = "markdown") -> Response:
        try:
            file = studio.summary.export(LOCAL_OWNER, creation_id, format)
        except StudioError as error:
            return _refused(error)
        headers = {"content-disposition": f'attachment; filename="{file.name}"', "cache-control": "no-store"}
        return Response(file.data, media_type=file.media_type, headers=headers)

    @app.get("/styles/{model_id}/{style}")
    def style_picture(model_id: str, style: str) -> Response:
        return _sent(lambda: studio.image.style_picture(LOCAL_OWNER, model_id, style), {"cache-control": "private, no-cache"})


def _kept(version: str) -> dict[str, str]:
    """A picture never changes: with its version in the address a browser keeps it, on this machine and for this user only."""
    return {"cache-control": "private, max-age=31536000, immutable" if version else "private, no-cache"}


def _refused(error: StudioError) -> Response:
    """One sentence: what is not there (or is somebody else's), or what cannot be asked for."""
    return JSONResponse({"detail": error.message}, status_code=400 if error.code == "bad_option" else 404)


def _sent(find: Callable[[], Path], headers: Mapping[str, str] | None = None) -> Response:
    """The file that a service finds for its owner: a picture in place, anything else as a download; 404 when there is none."""
    try:
        path = find()
    except StudioError as error:
        return _refused(error)
    kind = mimetypes.guess_type(path.name)[0]
    if kind in SHOWN_TYPES:
        return FileResponse(path, media_type=kind, headers=headers)
    return FileResponse(path, media_type="application/octet-stream", filename=path.name, headers=headers)
