"""Torch's number of threads, as one thread of the studio uses it."""

from __future__ import annotations

import torch


def use_threads(count: int) -> None:
    """Let this thread compute with so many from now on, whatever others set later."""
    if torch.get_num_threads() != count:
        torch.set_num_threads(count)
        torch.get_num_threads()  # it is asked for lazily, and then stays this thread's own
