"""What the starter text model takes of memory, beside what the host counts on before it is loaded.

    python -m bench.residency [--plain] [--context 512] [--cache-mb 32]

Counts this process's own pages (RssAnon): files that are only mapped can be dropped by the system at any time. The model is
loaded with its packed forms, or without (--plain); caches of finished rows are filled to their bound; then one conversation of so
many tokens is read, an answer is scored, and the highest figure counts. Knows Linux's /proc.
"""

from __future__ import annotations

import argparse
import json
import threading
from pathlib import Path

from engine.device import Device, free_memory, physical_cores
from engine.jobs.job import CancelToken
from engine.models.catalog import STARTER_TEXT_ID
from engine.models.needs import text_need
from engine.models.store import ModelStore
from engine.text.local import LocalTextModel, load_local
from engine.text.model import GenerateRequest, Message, Sampling
from tests.starter import starter_catalog, starter_models

WORDS_TOKENS = 10
WORDS = "The quick brown fox jumps over the lazy dog."


def own_bytes() -> int:
    """Pages that belong to this process alone."""
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


class Highest:
    """The highest of `own_bytes` inside a `with` block."""

    def __enter__(self) -> Highest:
        self.bytes = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.005):
            self.bytes = max(self.bytes, own_bytes())


def read(model: LocalTextModel, tokens: int, number: int) -> None:
    """Let the model read a conversation of about so many tokens, unlike the others, and say two."""
    text = f"{number}: " + " ".join([WORDS] * max(1, (tokens - 40) // WORDS_TOKENS))
    request = GenerateRequest((Message("user", text),), Sampling(temperature=0.0, max_new_tokens=2))
    for _ in model.generate(request, CancelToken()):
        pass


def measure(*, plain: bool, context: int, cache_bytes: int) -> dict[str, int]:
    """Bytes, measured and estimated: when loaded, and at most."""
    device = Device("cpu", "float32", physical_cores())
    spec, store = starter_catalog().get(STARTER_TEXT_ID), ModelStore(starter_models())
    folder = store.path(spec)
    prepared = folder / "none" if plain else store.prepared_path(spec)
    need = text_need(folder, device, prepared, context)
    free_memory(device)
    before = own_bytes()
    model = load_local(spec, folder, device, None if plain else prepared, cache_bytes=cache_bytes)
    try:
        free_memory(device)
        loaded = own_bytes() - before
        for number in range(1 + cache_bytes // (5 * 2**20)):  # a cache of 200 tokens has at least 6 MB
            read(model, 200, number)
        with Highest() as highest:
            read(model, context, -1)
            model.score((Message("user", WORDS),), " ".join([WORDS] * (context // WORDS_TOKENS // 2)))
        counted = model.size_bytes
    finally:
        model.close()
        del model
    free_memory(device)
    return {
        "loaded": loaded,
        "weights_estimated": need.held_bytes,
        "highest": highest.bytes - before,
        "highest_estimated": need.least_bytes + cache_bytes,
        "counted_by_the_model": counted,
        "left_when_closed": own_bytes() - before,
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description="measured and estimated memory of the starter model")
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--cache-mb", type=int, default=32)
    asked = parser.parse_args()
    import torch

    torch.nn.functional.linear(torch.rand(64, 64), torch.rand(64, 64))  # what a first product takes is the library's
    print(json.dumps(measure(plain=asked.plain, context=asked.context, cache_bytes=asked.cache_mb * 2**20)))


if __name__ == "__main__":
    main()
