"""Fetching a page: nothing that is not public is ever asked, directly, by another name, or behind a redirect."""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from engine.errors import BadFileError, BadOptionError, StudioError, TooLongError
from engine.summary.reading import web
from engine.summary.reading.web import Gate, fetch_page, is_public

PAGE = "<html><head><title>桥</title></head><body><p>大桥关闭了。</p></body></html>"


class Pages(BaseHTTPRequestHandler):
    """A few pages, and what was asked for."""

    asked: list[str] = []

    def do_GET(self) -> None:  # noqa: N802 - the name that http.server calls
        self.asked.append(self.path)
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
        elif self.path == "/loop":
            self.send_response(302)
            self.send_header("Location", "/loop")
            self.end_headers()
        elif self.path == "/slow":
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            for _ in range(100):
                self.wfile.write(b"a")
                self.wfile.flush()
                time.sleep(0.1)
        elif self.path == "/large":
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.end_headers()
            for _ in range(100):
                self.wfile.write(b"a" * 100_000)
        else:
            self.send_response(200 if self.path != "/gone" else 404)
            kind = "image/png" if self.path == "/picture" else "text/html; charset=gbk"
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(PAGE.encode("gbk"))

    def log_message(self, format: str, *args: object) -> None:
        """Stay quiet."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    Pages.asked = []

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """A client that hangs up is what these tests are about."""

    running = Server(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=running.serve_forever, args=(0.05,))
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


def gate(server: ThreadingHTTPServer, *private: str) -> Gate:
    """This server stands for the internet; the named addresses and names are as private as they are."""
    names = {"rebound.example": "10.0.0.1", "inside.example": "127.0.0.1"}

    def resolve(host: str, port: int) -> list[str]:
        if host == "page.example":
            return ["127.0.0.1"]
        return [names.get(host, host)]

    allowed = ipaddress.ip_address("127.0.0.1")
    return Gate(resolve, lambda one: one == allowed or is_public(one), frozenset({server.server_port, 80, 443}))


def numbers(host: str, port: int) -> list[str]:
    """What every system makes of an address in numbers, however it is spelled; it asks no name server."""
    if host == "localhost" or ":" in host:
        return ["::1" if host == "localhost" else host]
    return [socket.inet_ntoa(socket.inet_aton(host))]


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "198.18.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1", "192.0.2.1", "::1", "::", "fe80::1", "fc00::1",
        "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "2002:7f00:1::",
        "2002:a9fe:a9fe::", "fec0::1",
    ],
)  # fmt: skip
def test_what_is_not_public_is_not_public_in_any_spelling(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_what_is_public_is(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("http://127.0.0.1/", "error.url_private"),
        ("http://localhost/", "error.url_private"),
        ("http://169.254.169.254/latest/meta-data/", "error.url_private"),
        ("http://2130706433/", "error.url_private"),
        ("http://0x7f.1/", "error.url_private"),
        ("http://0177.0.0.1/", "error.url_private"),
        ("http://[::1]/", "error.url_private"),
        ("http://[::ffff:127.0.0.1]/", "error.url_private"),
        ("http://0/", "error.url_private"),
        ("http://127.0.0.1:22/", "error.url_bad"),
        ("http://good.example@127.0.0.1/", "error.url_bad"),
        ("http://user:pass@8.8.8.8/", "error.url_bad"),
        ("file:///etc/passwd", "error.url_bad"),
        ("gopher://127.0.0.1/", "error.url_bad"),
        ("ftp://8.8.8.8/", "error.url_bad"),
        ("//8.8.8.8/", "error.url_bad"),
        ("http://", "error.url_bad"),
        ("http://a b/", "error.url_bad"),
        ("http://8.8.8.8/\r\nHost: x", "error.url_bad"),
        ("http://[oops/", "error.url_bad"),
        ("just words", "error.url_bad"),
        ("http://8.8.8.8/" + "a" * 3_000, "error.url_bad"),
    ],
)
def test_an_address_that_may_not_be_asked_is_refused_without_asking(url: str, key: str) -> None:
    with pytest.raises(BadOptionError) as refused:
        fetch_page(url, gate=Gate(numbers, is_public))
    assert refused.value.message_key == key


def test_a_page_comes_in_the_encoding_the_server_names(server: ThreadingHTTPServer) -> None:
    source = fetch_page(f"http://page.example:{server.server_port}/a/b?q=1", gate=gate(server))
    assert source.data.decode("utf-8-sig") == PAGE and source.name.startswith("page.example›a›b")
    assert Pages.asked == ["/a/b?q=1"]


def test_a_redirect_to_a_page_is_followed_and_one_inside_is_not(server: ThreadingHTTPServer) -> None:
    base = f"http://page.example:{server.server_port}"
    assert fetch_page(f"{base}/to//a", gate=gate(server)).data
    for inside in (
        "http://10.0.0.1/",
        "http://169.254.169.254/",
        "http://rebound.example/",
        "file:///etc/passwd",
        "http://[::1]/",
    ):
        Pages.asked.clear()
        with pytest.raises(BadOptionError):
            fetch_page(f"{base}/to/{inside}", gate=gate(server))
        assert len(Pages.asked) == 1
    with pytest.raises(BadFileError, match="without end"):
        fetch_page(f"{base}/loop", gate=gate(server))


def test_a_name_is_asked_once_so_that_a_second_answer_gains_nothing(server: ThreadingHTTPServer) -> None:
    answers = [["127.0.0.1"], ["10.0.0.1"]]
    one = gate(server)
    changing = Gate(lambda host, port: answers.pop(0), one.is_allowed, one.ports)
    assert fetch_page(f"http://rebound.example:{server.server_port}/", gate=changing).data
    assert answers == [["10.0.0.1"]]
    both = Gate(lambda host, port: ["127.0.0.1", "10.0.0.1"], one.is_allowed, one.ports)
    with pytest.raises(BadOptionError):
        fetch_page(f"http://mixed.example:{server.server_port}/", gate=both)


def test_what_is_slow_large_gone_or_no_text_is_one_sentence(server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "TIME_S", 0.5)
    monkeypatch.setattr(web, "PAGE_MAX_BYTES", 1_000_000)
    base = f"http://page.example:{server.server_port}"
    errors: dict[str, StudioError] = {}
    started = time.monotonic()
    for path in ("slow", "large", "gone", "picture"):
        with pytest.raises((BadFileError, TooLongError)) as refused:
            fetch_page(f"{base}/{path}", gate=gate(server))
        errors[path] = refused.value
    assert time.monotonic() - started < 5
    assert {path: error.message_key for path, error in errors.items()} == {
        "slow": "error.url_time",
        "large": "error.url_bytes",
        "gone": "error.url_status",
        "picture": "error.url_kind",
    }
