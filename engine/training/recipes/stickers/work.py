"""What the stages of the recipe share: where they work, on what, and whole files only.

Knows folders and devices; knows no model.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.device import training_dtype


@dataclass(slots=True)
class Work:
    """One training from nothing: its folder, its device, and a log that people can read while it goes on."""

    folder: Path
    device: torch.device
    started_s: float = field(default_factory=time.monotonic)

    def path(self, name: str) -> Path:
        """A file or folder of this training."""
        return self.folder / name

    def autocast(self) -> torch.autocast:
        """Products in bfloat16 where the device multiplies it itself: 1.8 times as fast on such a CPU."""
        kind = self.device.type
        return torch.autocast(kind, torch.bfloat16, enabled=training_dtype(kind) == "bfloat16")

    @property
    def breadth(self) -> int:
        """How many times as much is computed at once as on a CPU: what a GPU computes together costs it hardly more."""
        return 1 if self.device.type == "cpu" else 8

    def random_state(self) -> dict[str, Tensor]:
        """Where the generators stand that this training draws from."""
        found = {"cpu": torch.get_rng_state()}
        return found if self.device.type != "cuda" else found | {"cuda": torch.cuda.get_rng_state(self.device)}

    def set_random_state(self, state: Mapping[str, Tensor]) -> None:
        """Let them stand there again."""
        torch.set_rng_state(state["cpu"].cpu())
        if self.device.type == "cuda" and "cuda" in state:
            torch.cuda.set_rng_state(state["cuda"].cpu(), self.device)

    def log(self, stage: str, **figures: Any) -> None:
        """Print a line and keep it in log.jsonl."""
        row = {"stage": stage, "t_s": round(time.monotonic() - self.started_s, 1), **figures}
        with self.path("log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
        print(" ".join(f"{name} {value}" for name, value in row.items()), flush=True)  # noqa: T201  # a command's progress

    def whole(self, name: str, write: Callable[[Path], object]) -> Path:
        """Let `write` make a file or folder under another name, then put it in place: it is there whole or not at all."""
        path = self.path(name)
        part = path.with_name(f".{path.name}.part")
        write(part)
        if path.is_dir():
            old = path.with_name(f".{path.name}.old")
            path.rename(old)
            part.rename(path)
            shutil.rmtree(old)
        else:
            os.replace(part, path)
        return path


def rate_at(done: float, peak: float, warmup: float = 0.02, floor: float = 0.02) -> float:
    """Learning rate after the share `done` of the work: linear warm-up, even, then linear down over the last 30 %."""
    if done < warmup:
        return peak * max(0.01, done / warmup)
    return peak * max(floor, min(1.0, (1 - done) / 0.3))
