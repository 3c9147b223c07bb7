"""What recorded steps and fewer bits bring on a GPU: `python -m bench.text_gpu [--device cuda] [--model FOLDER] [--runs 5]`.

    steps        tokens/s of one chat and of eight together: recorded, and each alone
    generate     of one chat by transformers' own `generate`
    static       the same with its static cache, which it compiles
    bits         of one chat with weights of 8 and 4 bits, and what they hold

`--parts` names those that are wanted. The starter model, or any folder that the studio can load. On a device that records
nothing it shows only the steps alone.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from engine.device import Device, choose_device, free_memory
from engine.models.catalog import STARTER_TEXT_ID
from engine.models.store import ModelStore
from engine.text import transformers_backend
from engine.text.desk import recorder
from engine.text.transformers_backend import TransformersBackend
from tests.starter import starter_catalog, starter_models

PARTS = ("steps", "generate", "static", "bits")
CHATS = 8
PROMPT = list(range(100, 164))
WAYS: dict[str, Callable[[Device], object]] = {"recorded": recorder, "alone": lambda device: None}


def loaded(folder: Path, device: Device, way: str, bits: int | None = None) -> TransformersBackend:
    """A backend whose steps are computed in one of the ways."""
    transformers_backend.recorder = WAYS[way]  # type: ignore[assignment]
    return TransformersBackend(folder, device, lambda: 2**60, bits)


def chats_tokens_per_s(backend: TransformersBackend, chats: int, tokens: int) -> float:
    """Of all chats together, the likeliest token each time."""
    caches = [backend.new_cache() for _ in range(chats)]
    for cache in caches:
        backend.prefill(cache, PROMPT)
    last = [PROMPT[0]] * chats
    started = 0.0
    for number in range(tokens + 1):
        if number == 1:  # the first step may record
            started = time.perf_counter()
        if backend.is_row_by_row(caches[0]):
            last = backend.step_together(caches, last).argmax(-1).tolist()
        else:
            last = [int(backend.step(cache, token).argmax()) for cache, token in zip(caches, last, strict=True)]
    return chats * tokens / (time.perf_counter() - started)


def generate_tokens_per_s(folder: Path, device: Device, tokens: int, runs: int, cache: str | None) -> float:
    """transformers' `generate`, greedy, one row."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, device.dtype), device_map={"": device.name})
    ids = torch.tensor([PROMPT], device=device.name)
    options = {"do_sample": False, "min_new_tokens": tokens, "max_new_tokens": tokens, "pad_token_id": 0}
    options |= {} if cache is None else {"cache_implementation": cache}
    times = []
    for _ in range(runs + 2):  # two to compile
        started = time.perf_counter()
        model.generate(ids, attention_mask=torch.ones_like(ids), **options)
        times.append(time.perf_counter() - started)
    return tokens / statistics.median(times[2:])


def measure_steps(folder: Path, device: Device, tokens: int, runs: int) -> None:
    """Print what each way of computing a step brings."""
    for way in WAYS if recorder(device) else ("alone",):
        free_memory(device)
        backend = loaded(folder, device, way)
        said = backend.facts(backend.new_cache())["steps"]
        for chats in (1, CHATS):
            figures = [chats_tokens_per_s(backend, chats, tokens) for _ in range(runs)]
            print(f"{way} (steps {said}), {chats} chats: {statistics.median(figures):.1f} tok/s", flush=True)
        backend.close()


def measure_bits(folder: Path, device: Device, tokens: int, runs: int) -> None:
    """Print what fewer bits bring."""
    for bits in (8, 4):
        free_memory(device)
        backend = loaded(folder, device, "recorded", bits)
        figure = statistics.median(chats_tokens_per_s(backend, 1, tokens) for _ in range(runs))
        held, said = backend.size_bytes / 1e6, backend.facts(backend.new_cache())["steps"]
        print(f"{bits} bits: {held:.0f} MB, steps {said}, {figure:.1f} tok/s", flush=True)
        backend.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    asked = parser.parse_args()
    device = choose_device(asked.device)
    folder = asked.model or ModelStore(starter_models()).path(starter_catalog().get(STARTER_TEXT_ID))
    name = torch.cuda.get_device_name(device.name) if device.kind == "cuda" else device.name
    print(f"{folder.name} on {name}, {device.dtype}, torch {torch.__version__}")
    if "steps" in asked.parts:
        measure_steps(folder, device, asked.tokens, asked.runs)
    for part, cache in (("generate", None), ("static", "static")):
        if part in asked.parts and (cache is None or recorder(device)):
            figure = generate_tokens_per_s(folder, device, asked.tokens, asked.runs, cache)
            print(f"transformers, {cache or 'growing'} cache: {figure:.1f} tok/s", flush=True)
    if "bits" in asked.parts:
        measure_bits(folder, device, asked.tokens, asked.runs)


if __name__ == "__main__":
    main()
