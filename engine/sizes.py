"""How much a folder holds, counted while somebody else writes and deletes in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def file_sizes(folder: Path) -> Iterator[int]:
    """Bytes of each file below `folder`, of links the link's own; none when it is not there.

    Folders and files that vanish meanwhile do not count: `Path.rglob` raises FileNotFoundError for them on Python 3.11.
    """
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                yield os.lstat(os.path.join(parent, name)).st_size
            except FileNotFoundError:
                continue
