"""Which device runs the models, with which number type, and how much memory there is.

The only file that asks torch for CUDA or MPS. Knows no model and no database. torch is imported inside functions, and not
at all where the machine can have no accelerator.
"""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import sys
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from engine.errors import BadOptionError, RefusedStartError

_ACCELERATOR_NODES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/kfd")


@dataclass(frozen=True, slots=True)
class Device:
    """Where models run. `dtype` is a torch type's name; `threads` counts CPU threads for one operation."""

    name: str
    """"cpu", "cuda:0", … or "mps"."""
    dtype: str
    threads: int

    @property
    def kind(self) -> str:
        """ "cpu", "cuda" or "mps"."""
        return self.name.partition(":")[0]


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of the memory that a device's models live in."""

    total_bytes: int
    available_bytes: int


@dataclass(frozen=True, slots=True)
class Hardware:
    """What the Models page says about the machine. The `gpu_` figures are None without an accelerator."""

    device: str
    cpu: str
    cores: int
    ram_bytes: int
    ram_available_bytes: int
    gpu: str | None
    gpu_bytes: int | None
    gpu_available_bytes: int | None


def choose_device(wanted: str = "auto") -> Device:
    """Return the device for "auto", "cpu", "cuda", "cuda:n" or "mps"; on "auto" the best there is.

    Raises BadOptionError for another word and RefusedStartError for a device that this machine lacks.
    """
    kind, _, number = wanted.partition(":")
    if kind not in ("auto", "cpu", "cuda", "mps") or (number and (kind != "cuda" or not number.isdigit())):
        text = f'"{wanted}" is no device: use auto, cpu, cuda, cuda:n or mps.'
        raise BadOptionError(text, key="error.device_unknown", device=wanted)
    threads = physical_cores()
    found = _accelerators() if kind != "cpu" else ()
    if kind == "auto":
        name = found[0] if found else "cpu"
    elif kind == "cpu":
        name = "cpu"
    else:
        name = f"cuda:{number or 0}" if kind == "cuda" else "mps"
        if name not in found:
            have = ", ".join(found) or "none"
            raise RefusedStartError(
                f"This machine has no device {name} (accelerators found: {have}). Start with --device auto or cpu.",
                key="error.device_missing",
                device=name,
                have=have,
            )
    return Device(name, {"cpu": "float32", "cuda": "bfloat16", "mps": "float16"}[name.partition(":")[0]], threads)


def training_dtype(kind: str) -> str:
    """The number type of frozen base weights in training on "cpu", "cuda" or "mps", as a torch type's name.

    A CPU that multiplies bfloat16 itself trains 1.4 times as fast with it as with float32; another one several times slower.
    """
    import torch

    if kind == "cuda":
        return "bfloat16"
    known = torch.cpu.get_capabilities() if kind == "cpu" else {}
    return "bfloat16" if known.get("avx512_bf16") or known.get("amx_bf16") else "float32"


@cache
def physical_cores() -> int:
    """Cores of the CPU, hyper-threads not counted, and no more than this process may use."""
    import psutil

    cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    return max(1, min(cores, allowed))


def memory(device: Device) -> Memory:
    """Total and free bytes of the memory that models on `device` use; a container's limit counts."""
    if device.kind == "cuda":
        import torch

        free, total = torch.cuda.mem_get_info(torch.device(device.name))
        cached = torch.cuda.memory_reserved(device.name) - torch.cuda.memory_allocated(device.name)
        return Memory(total, free + cached)
    return _main_memory()


def gpu_percent(device_kind: str) -> float | None:
    """How busy the GPU that this process uses is, 0 … 100; None without one, or where its driver does not say."""
    if device_kind != "cuda":
        return None
    import torch

    try:
        return float(torch.cuda.utilization())
    except Exception:  # noqa: BLE001  # no library to ask with, or a driver that refuses with errors of its own: only a figure is lost
        return None


def hardware(device: Device) -> Hardware:
    """Describe the machine for people."""
    main = _main_memory()
    gpu = gpu_bytes = gpu_available = None
    if device.kind == "cuda":
        import torch

        gpu = str(torch.cuda.get_device_name(device.name))
        figures = memory(device)
        gpu_bytes, gpu_available = figures.total_bytes, figures.available_bytes
    elif device.kind == "mps":
        gpu, gpu_bytes, gpu_available = "Apple GPU", main.total_bytes, main.available_bytes
    ram, free = main.total_bytes, main.available_bytes
    return Hardware(device.name, cpu_name(), physical_cores(), ram, free, gpu, gpu_bytes, gpu_available)


def free_memory(device: Device) -> None:
    """Hand back what dropped models occupied: collect cycles, empty the device's cache, trim the C heap."""
    gc.collect()
    if device.kind == "cuda":
        import torch

        torch.cuda.empty_cache()
    elif device.kind == "mps":
        import torch

        torch.mps.empty_cache()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch or Python ran out of memory (torch says it on the CPU only in the message)."""
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(word in str(error) for word in words))


@cache
def _accelerators() -> tuple[str, ...]:
    """Names of the accelerators torch can use. Importing torch costs a second, so it is asked only where one may exist."""
    if sys.platform == "linux" and not any(Path(node).exists() for node in _ACCELERATOR_NODES):
        return ()
    import torch

    if torch.cuda.is_available():
        return tuple(f"cuda:{number}" for number in range(torch.cuda.device_count()))
    return ("mps",) if torch.backends.mps.is_available() else ()


def _main_memory() -> Memory:
    import psutil

    figures = psutil.virtual_memory()
    total, available = int(figures.total), int(figures.available)
    group = Path("/sys/fs/cgroup")
    limit, used = _read_number(group / "memory.max"), _read_number(group / "memory.current")
    if limit is not None and used is not None and limit < total:
        total, available = limit, min(available, max(0, limit - used))
    return Memory(total, available)


def _read_number(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return int(text) if text.isdigit() else None


def use_threads(count: int) -> None:
    """Let this thread compute with so many of the CPU in torch from now on, whatever others set later."""
    import torch

    if torch.get_num_threads() != count:
        torch.set_num_threads(count)
        torch.get_num_threads()  # it is asked for lazily, and then stays this thread's own


@cache
def torch_version() -> str:
    """As it is installed; torch itself is not imported."""
    return metadata.version("torch")


@cache
def cpu_name() -> str:
    """The CPU's model as the system calls it."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def cpu_features() -> str:
    """What its instructions can do, as the system lists it; "" where it does not. A virtual machine may hide some."""
    return _cpuinfo("flags") or _cpuinfo("Features")


def _cpuinfo(key: str) -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(key):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return ""
