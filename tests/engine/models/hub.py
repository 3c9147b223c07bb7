"""A model hub on 127.0.0.1 with one repository, as far as downloading from it goes."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import cast

COMMIT = "c0ffee" + "0" * 34


class Handler(BaseHTTPRequestHandler):
    """Answers for the hub that its server belongs to."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def log_message(self, format: str, *args: object) -> None:
        return

    def _answer(self, *, with_body: bool) -> None:
        hub = cast(HubServer, self.server).hub
        name = self.path.rpartition(f"/resolve/{COMMIT}/")[2]
        if self.path.startswith("/api/models/org/tiny"):
            self._send(200, json.dumps(hub.info()).encode(), {"Content-Type": "application/json"}, with_body)
        elif self.path.startswith(f"/org/tiny/resolve/{COMMIT}/") and name in hub.files:
            data = hub.files[name]
            headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": COMMIT}
            if name in hub.lies:
                data = bytes([data[0] ^ 1]) + data[1:]
            if with_body:
                hub.sent.append(name)
            self._send(200, data, headers, with_body)
        else:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, with_body)

    def _send(self, status: int, body: bytes, headers: dict[str, str], with_body: bool) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)


class HubServer(ThreadingHTTPServer):
    """The server, which knows its hub."""

    daemon_threads = True

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        super().__init__(("127.0.0.1", 0), Handler)


class Hub:
    """Serves `files` of org/tiny at COMMIT; `lies` are sent changed. Remembers what was sent."""

    def __init__(self, files: dict[str, bytes], *, lies: tuple[str, ...] = ()) -> None:
        self.files = files
        self.lies = lies
        self.sent: list[str] = []
        self._server = HubServer(self)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        """For HF_ENDPOINT."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def info(self) -> dict[str, object]:
        """What the hub's API says of the repository."""
        rows = []
        for name, data in self.files.items():
            row: dict[str, object] = {"rfilename": name, "size": len(data)}
            row["blobId"] = hashlib.sha1(f"blob {len(data)}\0".encode() + data, usedforsecurity=False).hexdigest()
            if name.endswith((".safetensors", ".bin")):
                row["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
            rows.append(row)
        return {
            "id": "org/tiny",
            "modelId": "org/tiny",
            "sha": COMMIT,
            "siblings": rows,
            "private": False,
            "tags": [],
            "downloads": 0,
        }

    def __enter__(self) -> Hub:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
