"""step.c as a library: compiled for the very CPU that runs it, loaded, and called. The structures are those of step.c.

Knows bytes and addresses; knows no model's files and no caches.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

from engine.arrays import Floats

SOURCE: Final = Path(__file__).with_name("step.c")
COMPILERS: Final = ("gcc", "cc")
_FLAGS: Final = ("-O3", "-march=native", "-fopenmp", "-fPIC")
_COMPILE_S: Final = 120.0

Fields = list[tuple[str, Any]]


class CLinear(ctypes.Structure):
    """A linear layer's tiles."""

    _fields_: ClassVar[Fields] = [
        ("tiles", ctypes.c_void_p),
        ("outputs", ctypes.c_int32),
        ("inputs", ctypes.c_int32),
        ("bits", ctypes.c_int32),
        ("unused", ctypes.c_int32),
    ]


class CLayer(ctypes.Structure):
    """A block."""

    _fields_: ClassVar[Fields] = [
        ("attention_norm", ctypes.c_void_p),
        ("mlp_norm", ctypes.c_void_p),
        *((name, CLinear) for name in ("qkv", "attention_out", "gate_up", "down")),
        *((name, ctypes.c_void_p) for name in ("qkv_bias", "query_norm", "key_norm")),
        ("is_turned", ctypes.c_int64),
    ]


class CModel(ctypes.Structure):
    """A model, and the memory its passes work in."""

    _fields_: ClassVar[Fields] = [
        *((name, ctypes.c_void_p) for name in ("layers", "norm", "cosines", "sines")),
        ("embedding", CLinear),
        ("head", CLinear),
        *((name, ctypes.c_int32) for name in ("count", "hidden", "heads", "kv_heads", "width", "intermediate")),
        ("epsilon", ctypes.c_float),
        ("unused", ctypes.c_float),
        ("memory", ctypes.c_void_p),
        ("memory_size", ctypes.c_int64),
    ]


class CTerm(ctypes.Structure):
    """What an adapter adds to one linear layer; rank 0: nothing."""

    _fields_: ClassVar[Fields] = [("down", ctypes.c_void_p), ("up", ctypes.c_void_p), ("rank", ctypes.c_int64)]


class CSpan(ctypes.Structure):
    """Tokens that one row gets, one behind the other."""

    _fields_: ClassVar[Fields] = [
        *((name, ctypes.c_void_p) for name in ("ids", "keys", "values", "terms")),
        *((name, ctypes.c_int32) for name in ("capacity", "position", "count", "has_logits")),
    ]


class Library:
    """The compiled step.c."""

    def __init__(self, path: Path) -> None:
        """Load it. Raises OSError for a damaged file, and where there is no GNU OpenMP."""
        _share_openmp()
        library = ctypes.CDLL(str(path))  # all symbols are looked up at once
        self._pass = library.tastemaker_pass
        self._pass.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
        self._pass.restype = ctypes.c_int
        self._release = library.tastemaker_release
        self._release.argtypes = (ctypes.c_void_p,)
        self._release.restype = None

    def run(self, model: CModel, spans: Sequence[CSpan], logits: Floats, threads: int) -> None:
        """One pass. Raises MemoryError; nothing was computed then."""
        array = (CSpan * len(spans))(*spans)
        addresses = ctypes.addressof(model), ctypes.addressof(array)
        if self._pass(*addresses, len(spans), logits.ctypes.data, threads):
            raise MemoryError("no memory for a pass of the language model")

    def release(self, model: CModel) -> None:
        """Give back the memory that passes have kept."""
        self._release(ctypes.addressof(model))


def compile_library(to: Path) -> None:
    """Compile step.c for this CPU. Raises OSError, with what the compiler said, where there is none or where it fails.

    The two steps are two so that the library is linked with no OpenMP of its own: see `_share_openmp`.
    """
    compiler = shlex.split(os.environ.get("CC", "")) or [next(filter(shutil.which, COMPILERS), "")]
    if not shutil.which(compiler[0]):
        raise OSError("there is no C compiler")
    part = to.with_suffix(".o")
    try:
        for arguments in ((*_FLAGS, "-c", str(SOURCE), "-o", str(part)), ("-shared", str(part), "-o", str(to))):
            done = subprocess.run((*compiler, *arguments), capture_output=True, text=True, timeout=_COMPILE_S)
            if done.returncode:
                raise OSError(done.stderr.strip()[-2000:])
    except subprocess.TimeoutExpired as error:
        raise OSError(str(error)) from error
    finally:
        part.unlink(missing_ok=True)


def _share_openmp() -> None:
    """Bring torch's own OpenMP into the process, without torch: whichever of both computes, its threads are the same. Two teams
    on the same cores would wait for each other.
    """
    torch = importlib.util.find_spec("torch")
    places = [] if torch is None else [Path(place) / "lib" for place in torch.submodule_search_locations or ()]
    found = [str(path) for place in places for path in place.glob("libgomp*.so*")]
    ctypes.CDLL(found[0] if found else "libgomp.so.1", mode=ctypes.RTLD_GLOBAL)
