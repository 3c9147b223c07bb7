"""A studio that another process kills: `python -m tests.engine.services.training_server FOLDER`.

Starts one run, queues another, prints their ids once the first one has taken steps, and waits for its end.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from tests.engine.services.training_parts import training_studio


def main(folder: Path) -> None:
    """Never returns by itself within the test's patience."""
    with training_studio(folder) as studio:
        runs = [studio.train(), studio.train()]
        studio.wait_for_step(runs[0], 2)
        print(json.dumps(runs), flush=True)  # noqa: T201 - what the parent waits for
        time.sleep(60)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
