"""Small wheels made on the spot, and an index on this machine that serves them as slowly as asked."""

from __future__ import annotations

import hashlib
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType

from engine.models.catalog import ModelSpec


def make_wheel(folder: Path, files: dict[str, bytes], *, name: str = "tinyweights", version: str = "1.0") -> Path:
    """Write NAME-VERSION-py3-none-any.whl with `files` under NAME/; return it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for member, data in files.items():
            wheel.writestr(f"{name}/{member}", data)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


def wheel_spec(files: dict[str, bytes], wheel: Path, *, member: str = "", sha256: dict[str, str] | None = None) -> ModelSpec:
    """The catalogue row of such a wheel: all files of a folder, or one `member`."""
    hashes = sha256 or {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    source = f"wheel:tinyweights==1.0:tinyweights{'/' + member if member else ''}"
    size = sum(len(data) for data in files.values())
    return ModelSpec(
        "tiny-weights",
        "Tiny weights",
        "text",
        "llama",
        source,
        hashes,
        wheel.stat().st_size,
        size,
        size * 2,
        "Apache-2.0",
        ("en",),
        512,
    )


class SlowIndex:
    """A package index on 127.0.0.1 with one wheel, sent in pieces; `pause_s` between two of them."""

    def __init__(self, wheel: Path, *, pieces: int = 20, pause_s: float = 0.1) -> None:
        data = wheel.read_bytes()
        digest = hashlib.sha256(data).hexdigest()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path.startswith("/simple/"):
                    link = f'<a href="/files/{wheel.name}#sha256={digest}">{wheel.name}</a>'
                    self._send(f"<!DOCTYPE html><html><body>{link}</body></html>".encode(), "text/html", 1)
                else:
                    self._send(data, "application/octet-stream", pieces)

            def _send(self, body: bytes, kind: str, count: int) -> None:
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                size = -(-len(body) // count)
                try:
                    for start in range(0, len(body), size):
                        self.wfile.write(body[start : start + size])
                        self.wfile.flush()
                        if count > 1:
                            time.sleep(pause_s)
                except OSError:
                    return  # the client went away, as these tests want

            def log_message(self, format: str, *args: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        """The index address for pip."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/simple/"

    def __enter__(self) -> SlowIndex:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
