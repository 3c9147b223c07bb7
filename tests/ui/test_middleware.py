"""The gate in front of every request: hosts, origins, sizes, headers, and the finished page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from ui.middleware import MAX_JSON_BYTES, GatewayMiddleware

PAGE = '<!doctype html>\n<html\n\tlang="en"\n>\n<head>\n<meta charset="utf-8" />\n</head><body></body></html>'


@dataclass
class Saved:
    language: str | None = None
    theme: str = "auto"

    def __call__(self) -> tuple[str | None, str]:
        return self.language, self.theme


async def _page(request: Request) -> Response:
    return HTMLResponse(PAGE)


async def _size(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


@pytest.fixture
def saved() -> Saved:
    return Saved()


@pytest.fixture
def client(saved: Saved) -> Iterator[TestClient]:
    app = Starlette(routes=[Route("/", _page), Route("/zh/", _page), Route("/size", _size, methods=["POST"])])
    gateway = GatewayMiddleware(app, host="127.0.0.1", preferences=saved)
    with TestClient(gateway, base_url="http://127.0.0.1:7860", follow_redirects=False) as made:
        yield made


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", ""])
def test_a_foreign_host_is_refused(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"host": host}).status_code == 400


def test_every_answer_carries_the_security_headers(client: TestClient) -> None:
    for response in (client.get("/"), client.get("/nothing"), client.get("/", headers={"host": "evil.example"})):
        policy = response.headers["content-security-policy"]
        assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy and "http" not in policy
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"


def test_a_post_from_another_site_is_refused(client: TestClient) -> None:
    assert client.post("/size", content=b"x", headers={"origin": "http://evil.example"}).status_code == 403
    assert client.post("/size", content=b"x", headers={"origin": "null"}).status_code == 403
    assert client.post("/size", content=b"x", headers={"origin": "http://127.0.0.1:7860"}).status_code == 200
    assert client.post("/size", content=b"x").status_code == 200


def test_a_body_past_the_limit_is_one_sentence(client: TestClient) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(MAX_JSON_BYTES // 2**20 + 1):
            yield b"x" * 2**20

    for content in (b"x" * (MAX_JSON_BYTES + 1), chunks()):
        response = client.post("/size", content=content)
        assert response.status_code == 413 and response.json()["detail"].startswith("[too_long]")


def test_the_page_has_our_head_before_the_first_paint(client: TestClient, saved: Saved) -> None:
    saved.theme = "dark"
    html = client.get("/").text
    assert html.index("savedTheme") < html.index("<meta charset")
    assert '"dark"' in html and "/assets/js/core.js?v=" in html and "/assets/css/tokens.css?v=" in html
    assert 'lang="zh-CN"' in client.get("/zh/").text


@pytest.mark.parametrize(
    ("language", "header", "leads_to"),
    [("zh", "en", "/zh/?c=1"), ("en", "zh", None), (None, "zh-CN,en", "/zh/?c=1"), (None, "de", None)],
)
def test_the_first_page_is_in_the_reader_s_language(
    client: TestClient, saved: Saved, language: str | None, header: str, leads_to: str | None
) -> None:
    saved.language = language
    response = client.get("/?c=1", headers={"accept": "text/html", "accept-language": header})
    assert response.headers.get("location") == leads_to


def test_an_address_without_its_last_slash_leads_to_the_page(client: TestClient) -> None:
    response = client.get("/zh?tab=library", follow_redirects=False)
    assert (response.status_code, response.headers["location"]) == (307, "/zh/?tab=library")
    assert client.get("/zh", follow_redirects=False).headers["location"] == "/zh/"
