"""Who was promised how many bytes, and what is left: the figures behind the host's decisions.

    left = what the machine has free - what was promised and is not taken yet

A promise is what a holder takes at its most; what it takes already is missing from the machine's own figure. Knows bytes;
knows no model, no process and no reason to let go of anything.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from engine.device import Device, Memory

Place: TypeAlias = Literal["device", "main"]
"""The memory of the device, or the machine's own, which are the same one without a GPU of its own memory."""


@dataclass(eq=False, slots=True)
class Share:
    """What one holder was promised. A child process has a `name`."""

    need_bytes: int
    resident: Callable[[], int]
    """Bytes that it takes now."""
    place: Place = "device"
    name: str = ""
    give_way: Callable[[], None] | None = None
    """Ends it, where what it does can be done later."""

    @property
    def size_bytes(self) -> int:
        """What comes back when it is let go of: all that it was promised, and what it took beyond."""
        return max(self.need_bytes, self.resident())

    @property
    def unclaimed_bytes(self) -> int:
        """What it was promised and has not taken yet."""
        return max(0, self.need_bytes - self.resident())


class Ledger:
    """All shares. Thread-safe."""

    def __init__(self, device: Device, measure: Callable[[Device], Memory], limit_bytes: int | None = None) -> None:
        """`measure` says what a device's memory has free; `limit_bytes` bounds all shares of a place together."""
        self._device = device
        self._measure = measure
        self._limit_bytes = limit_bytes
        self._shares: list[Share] = []
        self._lock = threading.Lock()

    def add(self, share: Share) -> Share:
        """Count it from now on."""
        with self._lock:
            self._shares.append(share)
        return share

    def remove(self, share: Share) -> None:
        """Count it no more."""
        with self._lock:
            self._shares = [other for other in self._shares if other is not share]

    def shares(self, place: Place) -> list[Share]:
        """Those whose bytes are in that memory."""
        with self._lock:
            return [share for share in self._shares if self._place(share.place) == self._place(place)]

    def left_bytes(self, place: Place = "device") -> int:
        """What may be promised to somebody else; below 0 when too much was."""
        shares = self.shares(place)
        left = self.measured_bytes(place) - sum(share.unclaimed_bytes for share in shares)
        if self._limit_bytes is None:
            return left
        return min(left, self._limit_bytes - sum(share.size_bytes for share in shares))

    def most_bytes(self, place: Place = "device") -> int:
        """What would be left if everything was let go of."""
        return self.left_bytes(place) + sum(share.size_bytes for share in self.shares(place))

    def free_bytes(self) -> int:
        """What a loaded model may take of the device at this moment: free, and promised to no child."""
        children = [share for share in self.shares("device") if share.name]
        return self.measured_bytes("device") - sum(share.unclaimed_bytes for share in children)

    def measured_bytes(self, place: Place) -> int:
        """What the machine has free."""
        device = self._device if self._place(place) == "device" else Device("cpu", "float32", 1)
        return self._measure(device).available_bytes

    def _place(self, place: Place) -> Place:
        return place if self._device.kind == "cuda" else "device"
