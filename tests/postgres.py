"""A throw-away PostgreSQL server for tests: made in a temporary folder, reached through a Unix socket only, gone at the end.

Knows initdb and pg_ctl; knows no table. PostgreSQL refuses to run as root, so root starts it as another user of this machine.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

_PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql/bin", "/opt/homebrew/opt/postgresql*/bin")
_START_WAIT_S = 60


class PostgresCluster:
    """A running server; `create_database()` gives each test its own."""

    def __init__(self, programs: Path, folder: Path, user: str) -> None:
        self._programs = programs
        self._folder = folder
        self._user = user
        self._data = folder / "data"

    def start(self) -> None:
        """Make the cluster and wait until it answers."""
        self._run("initdb", "-D", str(self._data), "-A", "trust", "-U", "tester", "-E", "UTF8", "--locale=C", "--no-sync")
        # Durability is PostgreSQL's own business; the tests need its speed.
        options = f"-c listen_addresses='' -c unix_socket_directories='{self._folder}' -c fsync=off -c full_page_writes=off"
        self.run_server(options)

    def run_server(self, options: str = "") -> None:
        """Start the server with the options of the first start."""
        if options:
            (self._folder / "options").write_text(options)
        log = str(self._folder / "log")
        options = (self._folder / "options").read_text()
        self._run("pg_ctl", "start", "-D", str(self._data), "-w", "-t", str(_START_WAIT_S), "-l", log, "-o", options)

    def stop(self) -> None:
        """Stop the server at once, as a crash would; its data stays."""
        self._run("pg_ctl", "stop", "-D", str(self._data), "-m", "immediate", "-w")

    def create_database(self, *, encoding: str = "UTF8") -> str:
        """Address of a new empty database."""
        name = f"t{uuid.uuid4().hex}"
        address = ("-h", str(self._folder), "-U", "tester")
        self._run("createdb", *address, "-T", "template0", "-E", encoding, name)
        return f"postgresql+psycopg://tester@/{name}?host={self._folder}"

    def _run(self, program: str, *arguments: str) -> None:
        environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"}
        done = subprocess.run(
            [str(self._programs / program), *arguments],
            user=self._user or None,
            group=pwd.getpwnam(self._user).pw_gid if self._user else None,
            extra_groups=[] if self._user else None,
            cwd=self._folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if program != "pg_ctl" else subprocess.DEVNULL,
            stderr=subprocess.STDOUT if program != "pg_ctl" else subprocess.DEVNULL,
            text=True,
            check=False,
            timeout=_START_WAIT_S * 2,
        )
        if done.returncode != 0:
            log = self._folder / "log"
            said = done.stdout or (log.read_text() if log.exists() else "")
            raise RuntimeError(f"{program} failed ({done.returncode}): {said}")


def find_programs() -> Path | None:
    """The folder of the newest PostgreSQL's server programs, or None."""
    found = [folder for place in _PLACES for folder in Path("/").glob(place.lstrip("/")) if (folder / "initdb").exists()]
    on_path = shutil.which("initdb")
    if on_path:
        found.append(Path(on_path).resolve().parent)
    numbered = sorted(found, key=lambda folder: [int(part) for part in folder.parent.name.split(".") if part.isdigit()])
    return numbered[-1] if numbered else None


@contextlib.contextmanager
def running_cluster() -> Iterator[PostgresCluster]:
    """A server for a `with` block. Skips the test where PostgreSQL is not installed, or fails it where nothing may be skipped."""
    programs = find_programs()
    if programs is None:
        reason = "PostgreSQL's server programs (initdb, pg_ctl) are not installed on this machine"
        if os.environ.get("TASTEMAKER_REQUIRE_ALL"):
            pytest.fail(reason)
        pytest.skip(reason)
    # Short: the path of a Unix socket has about 100 characters.
    folder = Path(tempfile.mkdtemp(prefix="tm-pg-", dir="/tmp"))
    user = ""
    if os.geteuid() == 0:
        user = next(name for name in ("postgres", "nobody") if _is_user(name))
        shutil.chown(folder, user, pwd.getpwnam(user).pw_gid)
        folder.chmod(0o755)
    cluster = PostgresCluster(programs, folder, user)
    try:
        cluster.start()
        yield cluster
    finally:
        with contextlib.suppress(RuntimeError):
            cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _is_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
