"""One web page by its address, without ever talking to a machine that is not public.

The name is resolved once, every address it has must be public, and the connection goes to that address and no other, so that a
name that changes its answer gains nothing; redirects go through the same gate. No proxy, no cookies, no compression, http and
https on their usual ports, text only, with limits on size and time.
Source: OWASP, Server-Side Request Forgery Prevention Cheat Sheet. Knows no setting: whether it may be called is decided above.
"""

from __future__ import annotations

import http.client
import ipaddress
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Final, TypeAlias
from urllib.parse import quote, urljoin, urlsplit

from engine.errors import BadFileError, BadOptionError, CancelledError, TooLongError
from engine.summary.reading.read import Cancel, Source

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve: TypeAlias = Callable[[str, int], Iterable[str]]

URL_MAX_CHARS: Final = 2_000
PAGE_MAX_BYTES: Final = 20 * 1024 * 1024
TIME_S: Final = 20.0
REDIRECTS_MAX: Final = 5
_PORTS: Final = {"http": 80, "https": 443}
_CHUNK_BYTES: Final = 64 * 1024
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_TEXT: Final = re.compile(r"text/[\w.+-]+|application/xhtml\+xml|application/xml", re.I)
_CHARSET: Final = re.compile(r"charset\s*=\s*[\"']?([\w.:-]{2,40})", re.I)
_TRANSLATED: Final = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
"""IPv6 addresses that stand for IPv4 ones (RFC 6052, RFC 8215); a gateway would turn them into any address."""
_SPEAKS: Final = {
    "User-Agent": "Tastemaker",
    "Accept": "text/html, text/plain;q=0.9, text/*;q=0.8",
    "Accept-Encoding": "identity",
}


@dataclass(frozen=True, slots=True)
class Gate:
    """What may be reached. The defaults are the rule; tests that run a server of their own open it a little."""

    resolve: Resolve
    is_allowed: Callable[[Address], bool]
    ports: frozenset[int] = frozenset(_PORTS.values())


@dataclass(frozen=True, slots=True)
class _Target:
    """One request: where it goes and what it asks for."""

    scheme: str
    host: str
    port: int
    path: str
    address: str


def fetch_page(url: str, *, cancel: Cancel | None = None, gate: Gate | None = None) -> Source:
    """Return the page's bytes, named by its address.

    Raises BadOptionError for an address that is none or may not be reached, TooLongError for a page beyond PAGE_MAX_BYTES or
    TIME_S, BadFileError when it cannot be had or is no text, and CancelledError.
    """
    gate = gate or Gate(_resolve, is_public)
    ends_at = time.monotonic() + TIME_S
    for _ in range(REDIRECTS_MAX + 1):
        target = _checked(url, gate)
        answer = _ask(target, ends_at, cancel)
        if isinstance(answer, Source):
            return answer
        url = urljoin(url, answer)
    raise BadFileError("The page leads from address to address without end. Use another one.", key="error.url_redirects")


def is_public(address: Address) -> bool:
    """Whether an address is one of the open internet: not private, loopback, link-local, reserved, or standing for such a one."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is not None:
            return is_public(inner)
        if any(address in network for network in _TRANSLATED) or address.is_site_local:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _resolve(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


def _checked(url: str, gate: Gate) -> _Target:
    """The target of an address, resolved. Raises BadOptionError and BadFileError."""
    not_one = BadOptionError(
        "This is no address of a web page. It begins with http:// or https://, and names a server.", key="error.url_bad"
    )
    if len(url) > URL_MAX_CHARS or any(character.isspace() or character < " " for character in url.strip()):
        raise not_one
    try:
        parts = urlsplit(url.strip())
        scheme, host, port = parts.scheme.lower(), parts.hostname, parts.port or _PORTS.get(parts.scheme.lower(), 0)
        host = host.encode("idna").decode("ascii") if host and not host.isascii() else host
    except (ValueError, UnicodeError) as error:
        raise not_one from error
    if scheme not in _PORTS or not host or parts.username is not None or parts.password is not None or port not in gate.ports:
        raise not_one
    try:
        addresses = list(gate.resolve(host, port))
    except OSError as error:
        raise _unreachable(host) from error
    # All of them: a name with one public and one private address is somebody's trick.
    if not addresses or not all(gate.is_allowed(ipaddress.ip_address(one.partition("%")[0])) for one in addresses):
        raise BadOptionError(
            "This address is not on the open internet, so it is not fetched. Paste its text instead.", key="error.url_private"
        )
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._") + (
        f"?{quote(parts.query, safe='/%:@!$&()*+,;=~-._?')}" if parts.query else ""
    )
    return _Target(scheme, host, port, path, addresses[0])


class _Connection(http.client.HTTPConnection):
    """A connection to the one address that was checked, whatever the name would answer now."""

    def __init__(self, target: _Target, timeout: float) -> None:
        super().__init__(target.host, target.port, timeout=timeout)
        self._target = target
        self.wire: socket.socket | None = None
        """The socket, also while the response owns it."""

    def connect(self) -> None:
        """Connect, and speak TLS with the name's own certificate."""
        sock = socket.create_connection((self._target.address, self._target.port), self.timeout)
        if self._target.scheme == "https":
            sock = ssl.create_default_context().wrap_socket(sock, server_hostname=self._target.host)
        self.sock = self.wire = sock


def _ask(target: _Target, ends_at: float, cancel: Cancel | None) -> Source | str:
    """Return the page, or the address it leads to."""
    left_s = ends_at - time.monotonic()
    if left_s <= 0:
        raise _too_slow()
    connection = _Connection(target, left_s)
    # A server that sends one byte a second never runs into the timeout of one read.
    clock = threading.Timer(left_s, _hang_up, (connection,))
    clock.daemon = True
    clock.start()
    try:
        port = "" if target.port == _PORTS[target.scheme] else f":{target.port}"
        connection.request("GET", target.path, headers={**_SPEAKS, "Host": f"{_bracketed(target.host)}{port}"})
        with closing(connection.getresponse()) as response:
            return _answer(target, response, ends_at, cancel)
    except (OSError, http.client.HTTPException, ValueError) as error:
        if time.monotonic() >= ends_at:
            raise _too_slow() from error
        raise _unreachable(target.host) from error
    finally:
        clock.cancel()
        connection.close()


def _answer(target: _Target, response: http.client.HTTPResponse, ends_at: float, cancel: Cancel | None) -> Source | str:
    location = response.getheader("Location")
    if response.status in _REDIRECTS and location:
        return location
    if response.status != http.client.OK:
        raise BadFileError(
            f"{target.host} answers with error {response.status} instead of the page. Look at the address.",
            key="error.url_status",
            host=target.host,
            status=response.status,
        )
    kind = response.getheader("Content-Type") or "text/html"
    if not _TEXT.match(kind):
        message = f"{target.host} sends no text there. Download the file and add it."
        raise BadFileError(message, key="error.url_kind", host=target.host)
    return _source(target, _body(response, ends_at, cancel), kind)


def _body(response: http.client.HTTPResponse, ends_at: float, cancel: Cancel | None) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while chunk := response.read1(_CHUNK_BYTES):
        if cancel is not None and cancel.cancelled:
            raise CancelledError("The reading was stopped.", key="error.cancelled")
        if time.monotonic() >= ends_at:
            raise _too_slow()
        chunks.append(chunk)
        size += len(chunk)
        if size > PAGE_MAX_BYTES:
            megabytes = PAGE_MAX_BYTES // (1024 * 1024)
            raise TooLongError(
                f"The page is larger than {megabytes} MB. Download it and add the part you need.",
                key="error.url_bytes",
                megabytes=megabytes,
            )
    if time.monotonic() >= ends_at:
        raise _too_slow()  # what hung up was our own clock
    if response.length:
        raise http.client.IncompleteRead(b"", response.length)
    return b"".join(chunks)


def _source(target: _Target, data: bytes, kind: str) -> Source:
    """The page, in UTF-8 with a mark when the server says what it is in: that outranks what the page says of itself."""
    said = _CHARSET.search(kind)
    if said and not data.startswith((b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")):
        try:
            data = data.decode("gb18030" if said[1].lower() in ("gb2312", "gbk") else said[1]).encode("utf-8-sig")
        except (LookupError, UnicodeError):
            pass  # the bytes themselves say more than the server
    return Source(f"{target.host}{target.path}".rstrip("/").replace("/", "›")[:200], data)


def _hang_up(connection: _Connection) -> None:
    if connection.wire is not None:
        try:
            connection.wire.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it is closed already


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _unreachable(host: str) -> BadFileError:
    return BadFileError(
        f"{host} cannot be reached, or broke off. Look at the address, or paste the text.", key="error.url_reach", host=host
    )


def _too_slow() -> TooLongError:
    seconds = f"{TIME_S:g}"
    return TooLongError(
        f"The page did not arrive within {seconds} seconds. Try again later, or paste the text.",
        key="error.url_time",
        seconds=seconds,
    )
