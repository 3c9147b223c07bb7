"""Child processes that use a database, and what happens to its file, for tests of faults."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from storage.database import open_database
from tests.storage.filled import fill

ROOT = Path(__file__).parents[2]

WRITE_FOR_EVER = """
import sys
from storage.database import open_database
database = open_database(sys.argv[1])
while True:
    with database.write() as uow:
        made = uow.creations.add("owner", kind="text", prompt="早上好 good morning", model_id="m", output="x" * 3000)
        uow.ratings.set("owner", made.id, 1)
        uow.commit()
    print(made.id, flush=True)
"""


def make(path: Path) -> None:
    """A closed database with something in it."""
    database = open_database(f"sqlite:///{path}")
    fill(database)
    database.close()


def run_python(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def overwrite_pages(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for page in range(2, len(data) // 4096, 3):
        data[page * 4096 : page * 4096 + 200] = b"\xa5" * 200
    path.write_bytes(data)
