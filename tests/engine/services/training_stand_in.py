"""A stand-in for the program that trains: `python -m tests.engine.services.training_stand_in JOB_DIR`.

Speaks the child protocol, keeps checkpoints and makes an adapter's folder, in well under a second and without torch. What it
does otherwise is in $STAND_IN, a JSON object: {steps, step_s, die_at (step), die_loading, fail (a message), hold_at (step)}.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from engine.jobs.process import ChildReporter, write_json
from engine.training.artifact import CONFIG, WEIGHTS, publish

SAVE_STEPS = 4
MODULE = "tests.engine.services.training_stand_in"


class StandIn:
    """One attempt."""

    def __init__(self, job_dir: Path, reporter: ChildReporter) -> None:
        self.job_dir = job_dir
        self.reporter = reporter
        self.job: dict[str, Any] = json.loads((job_dir / "job.json").read_text(encoding="utf-8"))
        self.does: dict[str, Any] = {"steps": 12, "step_s": 0.01, **json.loads(os.environ.get("STAND_IN", "{}"))}
        self.is_terminated = False
        signal.signal(signal.SIGTERM, lambda number, frame: setattr(self, "is_terminated", True))

    def go(self) -> None:
        """Load, take the steps, publish."""
        self.reporter.event("phase", phase="load", step=0, total=0, eta_s=None)
        if self.does.get("die_loading"):
            os.kill(os.getpid(), signal.SIGKILL)
        saved = self.job_dir / "checkpoints" / "step.json"
        first = json.loads(saved.read_text())["step"] if self.job["resume"] and saved.exists() else 0
        rows = (Path(self.job["dataset_dir"]) / "train.jsonl").read_text(encoding="utf-8").splitlines()
        self.reporter.event("log", text=f"{len(rows)} rows, from step {first}")
        for step in range(first + 1, self.does["steps"] + 1):
            self._wait_while_asked()
            word = self.reporter.asked()
            if word == "cancel":
                self.reporter.event("cancelled")
                return
            if word == "stop" or self.is_terminated:
                self._save(step - 1)
                self.reporter.event("interrupted")
                return
            self._step(step)
        self._publish()

    def _step(self, step: int) -> None:
        if step == self.does.get("die_at"):
            os.kill(os.getpid(), signal.SIGKILL)
        if step == self.does.get("fail_at"):
            error = {"code": "error", "message": "No luck.", "key": "error.fault", "values": {"fault": "x"}}
            self.reporter.event("failed", error=error)
            sys.exit(1)
        time.sleep(self.does["step_s"])
        total = self.does["steps"]
        self.reporter.event("phase", phase="train", step=step, total=total, eta_s=(total - step) * self.does["step_s"])
        self.reporter.event("metrics", step=step, loss=1 / step)
        if step % SAVE_STEPS == 0:
            self._save(step)

    def _save(self, step: int) -> None:
        (self.job_dir / "checkpoints").mkdir(exist_ok=True)
        write_json(self.job_dir / "checkpoints" / "step.json", {"step": step})
        self.reporter.event("checkpoint", step=step, path=str(self.job_dir / "checkpoints"))

    def _wait_while_asked(self) -> None:
        if self.reporter.asked() != "wait":
            return
        self.reporter.event("waiting", on=True)
        while self.reporter.asked() == "wait" and not self.is_terminated:
            time.sleep(0.01)
        self.reporter.event("waiting", on=False)

    def _publish(self) -> None:
        target = Path(self.job["output_dir"])
        part = target.with_name(f".{target.name}.part")
        part.mkdir(parents=True, exist_ok=True)
        (part / WEIGHTS).write_bytes(b"weights of " + target.name.encode())
        (part / CONFIG).write_text("{}", encoding="utf-8")
        names = ("adapter_id", "run_id", "task", "base_model_id", "base_sha256", "recipe", "dataset_sha256", "settings")
        manifest = publish(part, target, {**{name: self.job[name] for name in names}, "metrics": {"held_out_accuracy": 0.75}})
        adapter = {"sha256": manifest.sha256, "size_bytes": manifest.size_bytes, "path": str(target)}
        self.reporter.event("done", adapter=adapter, metrics=dict(manifest.metrics), stopped_early=False)


if __name__ == "__main__":
    with ChildReporter(Path(sys.argv[1])) as told:
        StandIn(Path(sys.argv[1]), told).go()
