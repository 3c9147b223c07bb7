"""A studio that another process kills: `python -m tests.engine.services.writing_child FOLDER WORDS`.

Writes two candidates, says WORDS words of each, prints the ids once those words are in the rows, and waits for its end.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from tests.engine.services.fakes import wait_for
from tests.engine.services.studio_parts import text_studio


def main(folder: Path, words: int) -> None:
    """Never returns by itself within the test's patience."""
    with text_studio(folder) as studio:
        studio.model.hold()
        conversation = studio.conversations.create("owner")
        started = studio.write(" ".join(f"w{n}" for n in range(100)), n=2, conversation_id=conversation.id)
        if words:
            studio.model.release(2 * words)
            wait_for(lambda: all(len(studio.row(id).output.split()) == words for id in started.creation_ids))
        ids = {"job": started.job_id, "creations": started.creation_ids, "conversation": conversation.id}
        print(json.dumps(ids), flush=True)  # noqa: T201 - what the parent waits for
        time.sleep(60)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
