"""One gate in front of every request: who may talk to us, how much, and which headers go back.

A pure ASGI middleware, so that streams pass through unbuffered. It also finishes the page's HTML: Gradio inserts its `head` only
after its scripts have run, which would flash an unstyled page.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect

from ui.i18n import from_accept_language
from ui.page import finish_html

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_JSON_BYTES = 20 * 1024 * 1024
TOO_LARGE = "[too_long] The request is larger than 20 MB. Your text is kept in the box; send less of it."
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
# Gradio builds its templates with Function(), so scripts need 'unsafe-eval'; nothing may come from or go to another host.
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' blob:; connect-src 'self'; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
PAGES = {"/": "en", "/zh/": "zh"}


class GatewayMiddleware:
    """Host and Origin checks, the body limit, security headers, the language of GET /, and the finished page.

    `preferences` gives the saved language (None = the browser's) and theme.
    """

    def __init__(self, app: ASGIApp, *, host: str, preferences: Callable[[], tuple[str | None, str]]) -> None:
        self.app = app
        self.hosts = {*LOOPBACK, f"[{host}]" if ":" in host else host}
        self.preferences = preferences

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _answer(send, *refusal)
            return
        if scope["path"] == "/zh" and scope["method"] == "GET":
            await _answer(send, 307, "", [("location", _with_query("/zh/", scope))])
            return
        path, is_page = scope["path"], scope["method"] == "GET" and scope["path"] in PAGES
        theme = "auto"
        if is_page:
            language, theme = await asyncio.to_thread(self.preferences)
            language = language or from_accept_language(headers.get("accept-language", ""))
            if path == "/" and language == "zh" and "text/html" in headers.get("accept", ""):
                await _answer(send, 307, "", [("location", _with_query("/zh/", scope))])
                return
        sender = _PageSender(send, PAGES[path], theme) if is_page else _HeaderSender(send)
        try:
            await self.app(scope, receive if _is_upload(headers) else _limited(receive, sender), sender)
        except ClientDisconnect:  # what the application sees when we have answered in its place
            if not sender.refused:
                raise

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        host = headers.get("host", "")
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if name not in self.hosts:
            return 400, "This address does not belong to this studio."
        if scope["method"] not in ("GET", "HEAD", "OPTIONS"):
            origin = headers.get("origin")
            if origin and urlsplit(origin).netloc != host:
                return 403, "Requests from other sites are not accepted."
            length = headers.get("content-length", "0")
            if not _is_upload(headers) and length.isdigit() and int(length) > MAX_JSON_BYTES:
                return 413, TOO_LARGE
        return None


def _with_query(path: str, scope: Scope) -> str:
    query = scope["query_string"].decode("latin-1")
    return f"{path}?{query}" if query else path


def _is_upload(headers: Headers) -> bool:
    """Files have Gradio's own limit and go to disk as they arrive."""
    return headers.get("content-type", "").startswith("multipart/")


def _limited(receive: Receive, sender: _HeaderSender) -> Receive:
    """Count what arrives: a chunked body has no length to check beforehand. Past the limit we answer ourselves."""
    total = 0

    async def counted() -> Message:
        nonlocal total
        message = await receive()
        if message["type"] == "http.request":
            total += len(message.get("body", b""))
            if total > MAX_JSON_BYTES:
                await sender.refuse(413, TOO_LARGE)
                return {"type": "http.disconnect"}
        return message

    return counted


class _HeaderSender:
    """Adds our headers to whatever answers."""

    def __init__(self, send: Send) -> None:
        self.send = send
        self.started = False
        self.refused = False

    async def refuse(self, status: int, text: str) -> None:
        """Answer in the application's place; what it still says is dropped."""
        if not self.started:
            await _answer(self.send, status, text)
        self.refused = True

    async def __call__(self, message: Message) -> None:
        if self.refused:
            return
        if message["type"] == "http.response.start":
            self.started = True
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
        await self.send(message)


class _PageSender(_HeaderSender):
    """Holds one HTML page back until it is complete, then sends it with our head."""

    def __init__(self, send: Send, language: str, theme: str) -> None:
        super().__init__(send)
        self.language = language
        self.theme = theme
        self.start: Message | None = None
        self.body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.start = message
            return
        if message["type"] != "http.response.body" or self.start is None:
            await super().__call__(message)
            return
        self.body += message.get("body", b"")
        if message.get("more_body"):
            return
        headers = MutableHeaders(scope=self.start)
        if headers.get("content-type", "").startswith("text/html"):
            self.body = finish_html(self.body.decode("utf-8"), self.language, self.theme).encode("utf-8")
            headers["content-length"] = str(len(self.body))
            headers["cache-control"] = "no-store"
        await super().__call__(self.start)
        await super().__call__({"type": "http.response.body", "body": self.body})


async def _answer(send: Send, status: int, text: str, extra: list[tuple[str, str]] | None = None) -> None:
    sender = _HeaderSender(send)
    body = json.dumps({"detail": text}).encode() if text else b""
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(name.encode(), value.encode("latin-1")) for name, value in extra or []]
    await sender({"type": "http.response.start", "status": status, "headers": headers})
    await sender({"type": "http.response.body", "body": body})
