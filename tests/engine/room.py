"""An arbiter for tests of what happens when memory is short.

Knows bytes; knows no model.
"""

from __future__ import annotations

from engine.memory import Machine
from tests.tiny import CPU


class Room:
    """An arbiter with so much that is free, more once idle things were let go of."""

    def __init__(self, free_bytes: int = 10**12, idle_bytes: int = 0) -> None:
        self.free, self.idle, self.asked = free_bytes, idle_bytes, 0

    def free_bytes(self) -> int:
        return self.free

    def let_go(self) -> int:
        self.asked += 1
        self.free, self.idle = self.free + self.idle, 0
        return self.free

    child = Machine(CPU).child
