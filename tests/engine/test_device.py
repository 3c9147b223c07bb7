"""Choosing a device and counting memory, on whatever machine the tests run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engine.device import Device, choose_device, free_memory, gpu_percent, hardware, memory, physical_cores
from engine.errors import BadOptionError, RefusedStartError

ROOT = Path(__file__).resolve().parent.parent.parent


def test_cpu_is_always_there() -> None:
    device = choose_device("cpu")
    assert (device.name, device.kind, device.dtype) == ("cpu", "cpu", "float32")
    assert device.threads == physical_cores() >= 1


def test_auto_gives_a_device_that_can_be_asked_for_by_name() -> None:
    device = choose_device("auto")
    assert choose_device(device.name) == device


@pytest.mark.parametrize("wanted", ["gpu", "", "cpu:1", "cuda:x", "CUDA", "mps:0", "auto:0"])
def test_other_words_are_refused(wanted: str) -> None:
    with pytest.raises(BadOptionError, match="is no device"):
        choose_device(wanted)


def test_a_device_that_is_missing_is_a_refused_start() -> None:
    with pytest.raises(RefusedStartError, match="has no device cuda:99"):
        choose_device("cuda:99")


def test_memory_figures_are_possible() -> None:
    device = choose_device("cpu")
    figures = memory(device)
    assert 0 < figures.available_bytes <= figures.total_bytes
    free_memory(device)
    about = hardware(device)
    assert about.cores >= 1 and about.cpu and about.ram_bytes == figures.total_bytes
    assert (about.gpu, about.gpu_bytes) == (None, None)


@pytest.mark.parametrize(
    ("answer", "percent"), [(37, 37.0), (ModuleNotFoundError("no library"), None), (Exception("the driver's own"), None)]
)
def test_a_gpu_says_how_busy_it_is_or_nothing(answer: object, percent: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def utilization() -> object:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(torch.cuda, "utilization", utilization)
    assert gpu_percent("cuda") == percent
    assert gpu_percent("cpu") is None


def test_kinds() -> None:
    assert [Device(name, "bfloat16", 1).kind for name in ("cuda:1", "mps", "cpu")] == ["cuda", "mps", "cpu"]


def test_asking_for_the_cpu_loads_no_torch() -> None:
    code = "import sys; from engine.device import *; hardware(choose_device('cpu')); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"
