"""What every test gets: no network but this machine's own, one torch thread, a data directory of its own.

Knows pytest; knows no model and no page (fixtures for those sit beside their tests). Settings of the person who runs the
tests never reach them: each TASTEMAKER_… variable is removed, but for the few that steer the tests themselves.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# Before anything imports torch or gradio: one thread keeps tiny models fast on a busy machine, and nothing may phone home.
os.environ.update(
    OMP_NUM_THREADS="1",
    MKL_NUM_THREADS="1",
    GRADIO_ANALYTICS_ENABLED="False",
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    TOKENIZERS_PARALLELISM="false",
)

STEERING = {"TASTEMAKER_REQUIRE_ALL", "TASTEMAKER_SCREENSHOTS", "TASTEMAKER_TEST_CACHE"}
"""Variables for the tests: nothing may be skipped; where screenshots go; where the starter models are kept between runs."""

for name in [n for n in os.environ if n.startswith("TASTEMAKER_") and n not in STEERING]:
    del os.environ[name]


class NetworkBlockedError(RuntimeError):
    """A test tried to reach another machine."""


def _is_here(address: object) -> bool:
    if not isinstance(address, tuple):
        return True  # a Unix socket's path
    host = str(address[0])
    if host in ("", "localhost", "testserver"):
        return True
    try:
        return ipaddress.ip_address(host.split("%")[0]).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True, scope="session")
def no_network() -> Iterator[None]:
    """Only loopback sockets, in this process. Child processes that fetch (pip, once) are not under it."""
    patch = pytest.MonkeyPatch()
    connect, connect_ex, resolve = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def checked_connect(self: socket.socket, address: Any) -> None:
        if not _is_here(address):
            raise NetworkBlockedError(f"tests reach this machine only, not {address!r}")
        connect(self, address)

    def checked_connect_ex(self: socket.socket, address: Any) -> int:
        if not _is_here(address):
            raise NetworkBlockedError(f"tests reach this machine only, not {address!r}")
        return connect_ex(self, address)

    def checked_resolve(host: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name is not None and not _is_here((name,)):
            raise NetworkBlockedError(f"tests reach this machine only, not {name!r}")
        return resolve(host, *args, **kwargs)

    patch.setattr(socket.socket, "connect", checked_connect)
    patch.setattr(socket.socket, "connect_ex", checked_connect_ex)
    patch.setattr(socket, "getaddrinfo", checked_resolve)
    yield
    patch.undo()


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """An empty data directory for one test."""
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Iterator[None]:
    """With TASTEMAKER_REQUIRE_ALL=1 a test that cannot run here has failed: CI must not turn green by skipping."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("TASTEMAKER_REQUIRE_ALL") == "1":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and nothing may be: {reason}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Browser tests come last: Playwright keeps an event loop running in this thread, and no other may run beside it."""
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)
