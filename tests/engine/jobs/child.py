"""A child for test_process.py: says hello with its job's word, then a step now and then until it is asked to stop."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from engine.jobs.process import ChildReporter

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    with ChildReporter(folder) as reporter:
        reporter.event("hello", **json.loads((folder / "job.json").read_text(encoding="utf-8")))
        while reporter.asked() not in ("stop", "cancel"):
            reporter.event("step")
            time.sleep(0.05)
        reporter.event("interrupted")
