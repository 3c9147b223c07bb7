"""Every failed download is plain words: no exception's name, no traceback, no address."""

from __future__ import annotations

import errno
import re
from types import SimpleNamespace

import pytest

from engine.models.download_reasons import NO_REASON, reason_in_log, reason_of_exception

RETRY = (
    "WARNING: Retrying (Retry(total=0, connect=None)) after connection broken by 'NewConnectionError('<pip._vendor.urllib3"
    ".connection.HTTPSConnection object at 0x7f>: Failed to establish a new connection: [Errno -2] Name or service not known')'\n"
)
NONE_FOUND = (
    "ERROR: Could not find a version that satisfies the requirement a==1\nERROR: No matching distribution found for a==1\n"
)
TRACEBACK = 'ERROR: Exception:\nTraceback (most recent call last):\n  File "x.py", line 1\n'


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (NONE_FOUND, "the package index has no a==1"),
        (RETRY + NONE_FOUND, "the server cannot be reached"),
        (TRACEBACK + "httpx.ConnectError: [Errno 111] Connection refused\n", "the server cannot be reached"),
        (TRACEBACK + "pip._vendor.urllib3.exceptions.ReadTimeoutError: Read timed out.\n", "the server did not answer in time"),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n", "the disk is full"),
        ("SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]'))\n" + NONE_FOUND, "the server's certificate"),
        ("ERROR: HTTP error 403 while getting x\nERROR: 403 Client Error: Forbidden for url: https://a/b\n", "refused access"),
        ("ModuleNotFoundError: No module named 'x'\n", NO_REASON),
        (TRACEBACK + "KeyError: 'x'\n", NO_REASON),
        ("", NO_REASON),
        ("noise\nERROR: the hub has no org/other\n", "the hub has no org/other"),
        ("ERROR: tokenizer.json arrived damaged\n", "tokenizer.json arrived damaged"),
    ],
)
def test_what_a_program_wrote_becomes_plain_words(log: str, reason: str) -> None:
    said = reason_in_log(log)
    assert reason in said
    assert not re.search(r"Error|Exception|Traceback|Errno|http|\n", said) and not said.endswith(".")


class HTTPError(Exception):
    def __init__(self, status: int) -> None:
        super().__init__("https://hub/secret")
        self.response = SimpleNamespace(status_code=status)


def caused_by(cause: BaseException) -> Exception:
    error = RuntimeError("outer")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (caused_by(OSError(errno.ENOSPC, "No space left on device")), "the disk is full"),
        (HTTPError(403), "refused access"),
        (HTTPError(429), "too many downloads"),
        (HTTPError(503), "trouble of its own"),
        (caused_by(ConnectionError("x")), "cannot be reached"),
        (ValueError("anything"), "cannot be reached or broke off"),
    ],
)
def test_an_exception_becomes_plain_words(error: Exception, reason: str) -> None:
    said = reason_of_exception(error)
    assert reason in said and not re.search(r"Error|http|secret", said)
    assert reason_in_log(f"ERROR: {said}\n") == said, "it passes from the hub's process to its parent as it is"
