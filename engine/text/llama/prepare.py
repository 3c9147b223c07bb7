"""Brings a model into the packed forms, once: a child process of low priority, while the model already writes in float32.

Packs what can be packed, compiles what lies between two attentions where there is a compiler, measures each form, and puts the
folder in place whole.
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

import torch
from safetensors.torch import save_file

from engine.device import Device
from engine.jobs.process import ChildReporter
from engine.models.folder import read_json
from engine.text.llama.backend import LlamaBackend
from engine.text.llama.blocks import LINEARS, Layer
from engine.text.llama.config import LlamaConfig, llama_config
from engine.text.llama.forms import (
    COMPILED,
    FACTS,
    PACKED,
    PIECES,
    WEIGHTS,
    BetweenPiece,
    Form,
    compiled,
    eager,
    fingerprint,
    float32_form,
    key_of_machine,
    load_piece,
    piece_weights,
    read_facts,
)
from engine.text.llama.packed import Packed4, Packed8, pack4, pack8
from engine.text.llama.preparing import JOB
from engine.text.llama.weights import MIN_RANK, LlamaWeights, linear_sizes, read_weights

PROBE_TOKENS: Final = 12
MOST_ROWS: Final = 64
CLOSE: Final = 0.05
"""How far a compiled piece's results may lie from the code's, where they are of the size of one: bfloat16's rounding twice."""

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
    facts: dict[str, Any] = {"weights": fingerprint(folder), "tokens_per_s": {}, "is_row_by_row": {}}
    weights = read_weights(folder, config)
    with torch.inference_mode():
        forms = [float32_form(weights, config)]
        packed = _pack(weights, part / WEIGHTS)
        if packed is not None:
            layers, head = packed
            forms.append(Form(PACKED, layers, head, eager(layers, config), is_row_by_row=True))
            if _compile(layers, part, config):
                forms.append(Form(COMPILED, layers, head, compiled(part, layers, config), is_row_by_row=True))
        for form in forms[1:]:
            facts["is_row_by_row"][form.name] = _is_row_by_row(LlamaBackend(weights, config, [form]))
        facts["tokens_per_s"] = _speeds(weights, forms, config)
    return facts


def _pack(weights: LlamaWeights, path: Path) -> tuple[tuple[Layer, ...], Packed8] | None:
    """Pack every layer and the head and write the file; None when a layer cannot be packed."""
    tensors: dict[str, torch.Tensor] = {}
    layers = []
    for number, layer in enumerate(weights.layers):
        packed: dict[str, Packed4] = {}
        for name in LINEARS:
            weight = getattr(layer, name)
            found = pack4(weight)
            if found is None:
                logger.info("block %d's %s is not on a grid of 4 bits: the model stays in float32", number, name)
                return None
            packed[name] = found
            tensors |= {f"{number}.{name}.weight": found.weight, f"{number}.{name}.scales": found.scales}
        layers.append(Layer(attention_norm=layer.attention_norm, mlp_norm=layer.mlp_norm, **packed))
    head = pack8(weights.head)
    save_file({**tensors, "head.weight": head.weight, "head.scales": head.scales}, path)
    return tuple(layers), head


def _compile(layers: Sequence[Layer], part: Path, config: LlamaConfig) -> bool:
    """Compile the three pieces and compare them with the code; whether all of them can be used."""
    if len(layers) < 2:
        return False
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(part / "cache")
    rows = torch.export.Dim("rows", min=2, max=MOST_ROWS)
    weights = piece_weights(layers[0], layers[1])
    several: tuple[Any, ...] = ({0: rows},) * 4 + (None,) * len(weights)
    ranks = [{0: torch.export.Dim(f"rank_{name}", min=MIN_RANK, max=4096)} for name in LINEARS]
    adapted: tuple[Any, ...] = (None,) * (4 + len(weights)) + tuple(rank for rank in ranks for _ in ("down", "up"))
    wanted = zip(PIECES, ((1, 0, None), (3, 0, several), (1, 4, adapted)), strict=True)
    try:
        for name, (count, terms, shapes) in wanted:
            example = _example(count, terms, config, weights)
            dynamic = None if shapes is None else (*shapes[:4], shapes[4:])
            with torch.no_grad():
                program = torch.export.export(BetweenPiece(config), example, dynamic_shapes=dynamic)
                torch._inductor.aoti_compile_and_package(program, package_path=str(part / f"{name}.pt2"))
        return _agree(part, config, weights)
    except Exception as error:  # noqa: BLE001  # no compiler, one that fails, or a torch that cannot: the uncompiled form stands
        logger.info("not compiled: %s", str(error).splitlines()[0][:300] if str(error) else type(error).__name__)
        return False
    finally:
        shutil.rmtree(part / "cache", ignore_errors=True)


def _example(rows: int, rank: int, config: LlamaConfig, weights: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """Inputs of a piece: states, what attention saw, turns, weights, and random terms of that rank."""
    generator = torch.Generator().manual_seed(rows)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    query = config.heads * config.head_dim
    states = draw(rows, config.hidden), draw(rows, query), draw(rows, config.head_dim), draw(rows, config.head_dim)
    terms = [draw(rank, size) * 0.05 for pair in linear_sizes(config) for size in pair] if rank else []
    return (*states, *(weight.clone() for weight in weights), *terms)


def _agree(part: Path, config: LlamaConfig, weights: Sequence[torch.Tensor]) -> bool:
    """Whether the pieces compute what the code does, on inputs of other sizes than they were compiled with."""
    code = BetweenPiece(config)
    for name, rows, rank in zip(PIECES, (1, 7, 1), (0, 0, 9), strict=True):
        example = _example(rows, rank, config, weights)
        for ours, theirs in zip(code(*example), load_piece(part / f"{name}.pt2").run(list(example)), strict=True):
            if not torch.allclose(ours, theirs, rtol=CLOSE, atol=CLOSE):
                logger.warning("the compiled piece %s computes something else: not used", name)
                return False
    return True


def _is_row_by_row(backend: LlamaBackend) -> bool:
    """Whether rows come out the same, bit by bit, alone and beside others; the kernels differ from CPU to CPU."""
    ids = [3, 1, 4, 1, 5]
    caches = [backend.new_cache() for _ in ids]
    together = backend.step_together(caches, ids)
    return all(torch.equal(row, backend.step(backend.new_cache(), token)) for row, token in zip(together, ids, strict=True))


def _speeds(weights: LlamaWeights, forms: Sequence[Form], config: LlamaConfig) -> dict[str, float]:
    """Tokens per second of each form, in turns, so that a busy machine slows all alike; the median of single steps."""
    backends = {form.name: LlamaBackend(weights, config, [form]) for form in forms}
    caches = {name: backend.new_cache() for name, backend in backends.items()}
    times: dict[str, list[float]] = {name: [] for name in backends}
    for number in range(PROBE_TOKENS):
        for name, backend in backends.items():
            start = time.perf_counter()
            backend.step(caches[name], number)
            times[name].append(time.perf_counter() - start)
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
