"""A small server that speaks the OpenAI chat protocol, for tests: `with OpenAIServer() as server: server.url …`.

It answers with words of its own, streamed, and misbehaves as its model's name asks:

    echo          repeats the last message, word by word
    counting      one number after another until the connection closes (or max_tokens)
    strict        refuses options outside the protocol with 400
    breaks        ends the connection in the middle
    fails         500 · busy → 429 · hot → 400 · nonsense → a page instead of JSON
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

KEY = "sk-test-only"
EXTRA = ("top_k", "repetition_penalty")
MODELS = ("echo", "counting", "strict", "breaks", "fails", "busy", "hot", "nonsense")


class OpenAIServer:
    """Runs on a free port of 127.0.0.1 in a thread until the `with` block ends."""

    def __init__(self, *, key: str | None = KEY, delay_s: float = 0.005) -> None:
        self.key = key
        self.delay_s = delay_s
        self.requests: list[dict[str, Any]] = []
        """The body of each chat request."""
        self.open_streams = 0
        app = Starlette(
            routes=[
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
                Route("/v1/models", self._models, methods=["GET"]),
            ]
        )
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none", timeout_graceful_shutdown=1))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)

    @property
    def url(self) -> str:
        """The base address, as a user would enter it."""
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> OpenAIServer:
        self._thread.start()
        deadline = time.monotonic() + 20
        while not self._server.started:
            if time.monotonic() > deadline:
                raise TimeoutError("the test server did not start")
            time.sleep(0.01)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=10)
        self._socket.close()

    async def _models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": name, "object": "model"} for name in MODELS]})

    async def _chat(self, request: Request) -> Response:
        if self.key is not None and request.headers.get("authorization") != f"Bearer {self.key}":
            return _error(401, "Incorrect API key provided.")
        body = await request.json()
        self.requests.append(body)
        model = body["model"]
        if model not in MODELS:
            return _error(404, f"The model {model} does not exist.")
        if model == "strict" and any(name in body for name in EXTRA):
            return _error(400, "Unrecognized request argument supplied: top_k")
        failures = {"fails": (500, "Out of cheese."), "busy": (429, "Slow down."), "hot": (400, "Too hot.")}
        if model in failures:
            return _error(*failures[model])
        if model == "nonsense":
            return HTMLResponse("<html>Welcome to the router</html>")
        return StreamingResponse(self._stream(body), media_type="text/event-stream")

    async def _stream(self, body: dict[str, Any]) -> AsyncIterator[str]:
        self.open_streams += 1
        count = 0
        try:
            for word in _words(body):
                if count >= body["max_tokens"]:
                    break
                count += 1
                yield _chunk(body, {"delta": {"content": word}, "finish_reason": None})
                await asyncio.sleep(self.delay_s)
                if body["model"] == "breaks" and count == 3:
                    return
            reason = "length" if count >= body["max_tokens"] else "stop"
            yield _chunk(body, {"delta": {}, "finish_reason": reason})
            usage = {"prompt_tokens": 11, "completion_tokens": count, "total_tokens": 11 + count}
            yield _chunk(body, None, usage)
            yield "data: [DONE]\n\n"
        finally:
            self.open_streams -= 1


def _words(body: dict[str, Any]) -> Iterator[str]:
    if body["model"] == "counting":
        number = 0
        while True:
            number += 1
            yield f"{number} "
    text = body["messages"][-1]["content"]
    yield from (f"{word} " for word in text.split())


def _chunk(body: dict[str, Any], choice: dict[str, Any] | None, usage: dict[str, int] | None = None) -> str:
    choices = [] if choice is None else [{"index": 0, **choice}]
    row = {
        "id": "c1",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": body["model"],
        "choices": choices,
        "usage": usage,
    }
    return f"data: {json.dumps(row)}\n\n"


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": {"message": message, "type": "error", "code": None}}, status_code=status)
