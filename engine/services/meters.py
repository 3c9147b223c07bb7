"""How busy the machine is while something trains: all its cores, its memory, its GPU's memory.

Knows psutil and the device's figures; the process that trains reports its own share (engine/training/monitor.py).
"""

from __future__ import annotations

from typing import Any

from engine.device import Device, memory


class Meters:
    """Reads the machine; `cpu_percent` is since the last reading."""

    def __init__(self, device: Device) -> None:
        self._device = device

    def read(self) -> dict[str, Any]:
        """{cpu_percent (100 = all cores), memory_bytes, memory_total_bytes}, with a GPU also {gpu_bytes, gpu_total_bytes}."""
        import psutil

        main = memory(Device("cpu", "float32", 1))
        figures: dict[str, Any] = {
            "cpu_percent": psutil.cpu_percent(),
            "memory_bytes": main.total_bytes - main.available_bytes,
            "memory_total_bytes": main.total_bytes,
        }
        if self._device.kind == "cuda":
            gpu = memory(self._device)
            figures |= {"gpu_bytes": gpu.total_bytes - gpu.available_bytes, "gpu_total_bytes": gpu.total_bytes}
        return figures
