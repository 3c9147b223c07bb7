"""Brings a model into its faster form, once: a child process of low priority, while the model already writes in float32.

Where there is a C compiler and a CPU for it, that is the form in C, held to the logits of float32 before it is used; else
torch's own 4-bit form, where the weights allow it. Each form is measured, and the folder is put in place whole.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors.torch import save_file

from engine.arrays import Floats
from engine.device import Device
from engine.jobs.process import ChildReporter
from engine.models.folder import read_json
from engine.text.llama.backend import LlamaBackend
from engine.text.llama.config import LINEARS, LlamaConfig, llama_config
from engine.text.llama.forms import PACKED, Form
from engine.text.llama.native import weights as native_weights
from engine.text.llama.native.form import NativeForm
from engine.text.llama.native.library import Library, compile_library
from engine.text.llama.packed import pack4, pack8
from engine.text.llama.prepared import (
    FACTS,
    LIBRARY,
    WEIGHTS,
    fingerprint,
    key_of_machine,
    read_facts,
    read_packed,
    sha256_of_library,
)
from engine.text.llama.preparing import JOB
from engine.text.llama.torch_form import TorchForm
from engine.text.llama.weights import LlamaWeights, read_weights

PROBE_TOKENS: Final = 12
CLOSE: Final = 0.1
"""How far the logits of a form in C may lie from those of float32, as a share of their spread: a compiler's mistake gives others
altogether, rounding activations to 8 bits about a fiftieth.
"""

logger = logging.getLogger(__name__)


def prepare(folder: Path, prepared: Path, threads: int) -> dict[str, Any] | None:
    """Do it where it is not done yet; returns the facts, or None for a model that this does not compute. One at a time."""
    config = llama_config(read_json(folder / "config.json"), Device("cpu", "float32", threads))
    if config is None:
        return None
    prepared.mkdir(parents=True, exist_ok=True)
    known = read_facts(folder, prepared)
    if known is not None:
        return known
    part = prepared / f"{key_of_machine()}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    facts = _prepare(folder, part, config)
    (part / FACTS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    for old in prepared.iterdir():  # of other versions of torch or of the studio, and of other weights
        if old.name not in (part.name, JOB) and old.is_dir():
            shutil.rmtree(old)
    os.replace(part, prepared / key_of_machine())
    return facts


def _prepare(folder: Path, part: Path, config: LlamaConfig) -> dict[str, Any]:
    weights = read_weights(folder, config)
    facts: dict[str, Any] = {"weights": fingerprint(folder), "is_row_by_row": False}
    with torch.inference_mode():
        plain: Form = TorchForm(weights, config)
        form = _native(weights, part, config, plain) or _packed(weights, part, config)
        if form is not None:
            facts["is_row_by_row"] = _is_row_by_row(LlamaBackend(config, lambda: weights, form))
        forms = [plain] if form is None else [plain, form]
        facts["library"] = sha256_of_library(part)
        facts["tokens_per_s"] = _speeds([LlamaBackend(config, lambda: weights, one) for one in forms])
    return facts


def _native(weights: LlamaWeights, part: Path, config: LlamaConfig, plain: Form) -> Form | None:
    """The form in C, its library and its weights' file; None where it cannot be had."""
    if not native_weights.can_pack(config):
        return None
    try:
        compile_library(part / LIBRARY)
        form = NativeForm(Library(part / LIBRARY), native_weights.pack(weights), config, torch.get_num_threads())
    except OSError as error:
        logger.info("not in C: %s", error)
        return None
    native, torchs = (LlamaBackend(config, lambda: weights, one) for one in (form, plain))
    ours, theirs = _probe(native), _probe(torchs)
    if float(np.abs(ours - theirs).mean()) > CLOSE * float(theirs.std()) or not _is_row_by_row(native):
        logger.warning("the form in C computes something else: not used")
        return None
    native_weights.save(form.weights, part / WEIGHTS)
    return form


def _packed(weights: LlamaWeights, part: Path, config: LlamaConfig) -> Form | None:
    """Torch's 4-bit form and its weights' file; None when a layer cannot be packed."""
    tensors: dict[str, torch.Tensor] = {}
    for number, layer in enumerate(weights.layers):
        for name in LINEARS:
            found = pack4(getattr(layer, name))
            if found is None:
                logger.info("block %d's %s is not on a grid of 4 bits: the model stays in float32", number, name)
                return None
            tensors |= {f"{number}.{name}.weight": found.weight, f"{number}.{name}.scales": found.scales}
    head = pack8(weights.head)
    save_file({**tensors, "head.weight": head.weight, "head.scales": head.scales}, part / WEIGHTS)
    return TorchForm(weights, config, PACKED, read_packed(part / WEIGHTS, weights), is_row_by_row=True)


def _probe(backend: LlamaBackend) -> Floats:
    """Logits of a few tokens behind a few others."""
    ids = [(7 * number) % backend.vocabulary_size for number in range(24)]
    cache = backend.new_cache()
    backend.prefill(cache, ids[:16])
    return np.stack([backend.step(cache, token) for token in ids[16:]])


def _is_row_by_row(backend: LlamaBackend) -> bool:
    """Whether rows come out the same, bit by bit, alone and beside others; the kernels differ from CPU to CPU."""
    ids = [3, 1, 4, 1, 5]
    caches = [backend.new_cache() for _ in ids]
    together = backend.step_together(caches, ids)
    return all(np.array_equal(row, backend.step(backend.new_cache(), token)) for row, token in zip(together, ids, strict=True))


def _speeds(backends: Sequence[LlamaBackend]) -> dict[str, float]:
    """Tokens per second of each form, in turns, so that a busy machine slows all alike; the median of single steps."""
    caches = [backend.new_cache() for backend in backends]
    times: dict[str, list[float]] = {cache.form.name: [] for cache in caches}
    for number in range(PROBE_TOKENS):
        for backend, cache in zip(backends, caches, strict=True):
            start = time.perf_counter()
            backend.step(cache, number)
            times[cache.form.name].append(time.perf_counter() - start)
    return {name: round(1 / statistics.median(found[2:]), 1) for name, found in times.items()}


def main() -> None:
    """See the module's docstring."""
    logging.basicConfig(level=logging.INFO)
    job_dir = Path(sys.argv[1])
    job = json.loads((job_dir / "job.json").read_text(encoding="utf-8"))
    if hasattr(os, "nice"):
        os.nice(10)
    torch.set_num_threads(job["threads"])
    with ChildReporter(job_dir):
        prepare(Path(job["folder"]), Path(job["prepared"]), job["threads"])


if __name__ == "__main__":
    main()
