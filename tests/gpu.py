"""What the tests that are run by name on a GPU share: the device, and what is held on it."""

from __future__ import annotations

import pytest
import torch

from engine.device import Device, choose_device, free_memory


@pytest.fixture(scope="module")
def device() -> Device:
    return choose_device("cuda")


def held(device: Device) -> int:
    """Bytes that tensors hold on the device."""
    free_memory(device)
    return torch.cuda.memory_allocated() if device.kind == "cuda" else 0
