"""Why a download failed, as part of a plain sentence: from what pip or the hub's client wrote, or from the hub's exception.

What programs write of themselves (exception names, tracebacks) never reaches a page; the log keeps it.
Pure; knows no process and no network.
"""

from __future__ import annotations

import errno
import re

DISK_FULL = "the disk is full"
NO_REASON = "the download broke off"
HUB_UNREACHABLE = "the model hub cannot be reached or broke off"

_SIGNS: tuple[tuple[str, str], ...] = (
    (r"No space left on device|Errno 28\b|Errno 122\b|Disk quota exceeded|not enough space on the disk", DISK_FULL),
    (r"Errno 13\b|PermissionError|Permission denied", "its folder cannot be written"),
    (r"ProxyError|Cannot connect to proxy|407 Proxy|Tunnel connection failed", "the proxy does not let it through"),
    (r"CERTIFICATE_VERIFY_FAILED|SSLError|SSL: ", "the server's certificate cannot be checked"),
    (r"DO NOT MATCH THE HASHES", "the file arrived damaged"),
    (r"\b(401|403) (Client )?Error|\b401 Unauthorized|\b403 Forbidden", "the server refused access"),
    (
        r"connection broken by|NewConnectionError|ConnectionError|ConnectError|Max retries exceeded|getaddrinfo failed"
        r"|Name or service not known|name resolution|Network is unreachable|Connection refused|Connection aborted"
        r"|Connection reset|RemoteProtocolError|ProtocolError|IncompleteRead",
        "the server cannot be reached",
    ),
    (r"ReadTimeout|ConnectTimeout|[Tt]imed? ?out", "the server did not answer in time"),
)
"""What pip or a client writes → why, the more certain first."""
_NO_PACKAGE = re.compile(r"No matching distribution found for (\S+)")
_RAW = re.compile(r"Traceback|Errno|https?://|\b[A-Za-z_.]*(Error|Exception|Warning)\b|[<>{}()\\]|^Exception:?$")


def reason_in_log(text: str) -> str:
    """Return why it failed, without a final stop, from everything that pip or the hub's client wrote."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    last = errors[-1].rstrip(".") if errors else ""
    package = _NO_PACKAGE.search(last)
    if last and package is None and not _RAW.search(last) and len(last) <= 200:
        return last
    for sign, reason in _SIGNS:
        if re.search(sign, text):
            return reason
    return f"the package index has no {package[1][:100]}" if package else NO_REASON


def reason_of_exception(error: BaseException) -> str:
    """Return why the hub's client failed, without a final stop, from its exception and those that caused it."""
    seen: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in seen:
        seen.append(link)
        link = link.__cause__ or link.__context__
    if any(isinstance(one, OSError) and one.errno in (errno.ENOSPC, errno.EDQUOT) for one in seen):
        return DISK_FULL
    if any(type(one).__name__ == "RevisionNotFoundError" for one in seen):
        return "the hub has no such version of it"
    for one in seen:
        status = getattr(getattr(one, "response", None), "status_code", None)
        if status in (401, 403):
            return "the hub refused access; set HF_TOKEN if the model needs it"
        if status == 429:
            return "the hub asks to wait: too many downloads"
        if isinstance(status, int) and status >= 500:
            return "the hub has trouble of its own"
    return HUB_UNREACHABLE
