"""What whoever computes may ask about memory, and of whom: of the one that decides what is resident (engine/models/host.py).

Knows bytes; knows no model, no job and no process.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from engine.device import Device, free_memory, memory


class Arbiter(Protocol):
    """Decides what is resident. Safe to call from any thread."""

    def free_bytes(self) -> int:
        """Bytes of the device's memory that may still be taken: free, and promised to no child process."""

    def let_go(self) -> int:
        """Let go of every model that nobody uses and of work that can be done later; the free bytes afterwards."""

    def child(
        self,
        name: str,
        need_bytes: int,
        resident: Callable[[], int],
        *,
        is_running: bool = False,
        give_way: Callable[[], None] | None = None,
    ) -> AbstractContextManager[None]:
        """Count a child process for the length of a `with` block. `resident`: the bytes that it holds by now.

        `is_running`: it is there already, whatever there is. `give_way` ends it and returns when its memory is back: a child
        with it gets only what is free, and is ended when something else needs its place. For one without it idle models
        are let go of. Raises NoMemoryError.
        """


class Machine:
    """An Arbiter that has nobody to consider but the machine itself: for a model outside the studio."""

    def __init__(self, device: Device) -> None:
        self._device = device

    def free_bytes(self) -> int:
        """Free bytes of the device's memory."""
        return memory(self._device).available_bytes

    def let_go(self) -> int:
        """Hand back what was dropped; the free bytes afterwards."""
        free_memory(self._device)
        return self.free_bytes()

    def child(
        self,
        name: str,  # noqa: ARG002  # nobody else is counted either
        need_bytes: int,  # noqa: ARG002
        resident: Callable[[], int],  # noqa: ARG002
        *,
        is_running: bool = False,  # noqa: ARG002
        give_way: Callable[[], None] | None = None,  # noqa: ARG002
    ) -> AbstractContextManager[None]:
        """Nothing to count."""
        return nullcontext()
