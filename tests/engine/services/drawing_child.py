"""A studio that another process kills: `python -m tests.engine.services.drawing_child FOLDER PICTURES STEPS`.

Draws three pictures, lets PICTURES of them and STEPS of the next come, prints the ids once the rows say so, and waits.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from tests.engine.services.fakes import wait_for
from tests.engine.services.image_studio import OWNER, image_studio


def main(folder: Path, pictures: int, steps: int) -> None:
    """Never returns by itself within the test's patience."""
    with image_studio(folder) as studio:
        studio.model.hold()
        started = studio.imagine("a red fox", n=3, seed=5)
        if pictures or steps:
            studio.model.release(3 * pictures + steps)
        wait_for(lambda: sum(row.status == "done" for row in studio.rows(started.creation_ids)) == pictures)
        wait_for(lambda: studio.jobs.get(OWNER, started.job_id).data["creations"][pictures]["step"] == steps)
        print(json.dumps({"job": started.job_id, "creations": started.creation_ids}), flush=True)  # noqa: T201 - for the parent
        time.sleep(60)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
