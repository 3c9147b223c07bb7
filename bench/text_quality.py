"""What speed costs in quality: perplexity of each form of the starter text model on a fixed text, against float32.

    python -m bench.text_quality [--tokens 20480]

The text is the English half of the summary evaluation set, in windows of 256 tokens. Float32 reads each window at once, as it
reads prompts; the faster form reads it token by token, as it writes. Also how often both find the same token the likeliest.
"""

from __future__ import annotations

import argparse
import json
import math
import time

import torch

from bench.summary.evaluation_set import examples
from engine.device import Device, choose_device
from engine.models.catalog import STARTER_TEXT_ID
from engine.models.store import ModelStore
from engine.text.chat import ChatFormat
from engine.text.llama.backend import LlamaBackend, load_llama
from engine.text.llama.blocks import apply
from engine.text.llama.config import llama_config
from engine.text.llama.forms import FLOAT32
from tests.starter import starter_catalog, starter_models

WINDOW = 256
ROWS = 16


def read(backend: LlamaBackend, window: list[int]) -> torch.Tensor:
    """Log-probabilities [WINDOW - 1, vocabulary] in float32, all tokens in one pass."""
    with torch.inference_mode():
        cache = backend.new_cache(None, {"dtype": FLOAT32})
        plain = backend.float32()
        return apply(plain.weights.head, plain._read(cache, window[:-1])).log_softmax(-1)


def write(backend: LlamaBackend, form: str, windows: list[list[int]]) -> list[torch.Tensor]:
    """The same of several windows at once, token by token."""
    caches = [backend.new_cache(None, {"dtype": form}) for _ in windows]
    steps = [
        torch.from_numpy(backend.step_together(caches, column)).log_softmax(-1)
        for column in zip(*(w[:-1] for w in windows), strict=True)
    ]
    return list(torch.stack(steps).unbind(1))


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=80 * WINDOW)
    asked = parser.parse_args()
    threads = choose_device("cpu").threads
    spec, store = starter_catalog().get(STARTER_TEXT_ID), ModelStore(starter_models())
    folder = store.path(spec)
    config = llama_config(json.loads((folder / "config.json").read_text(encoding="utf-8")), Device("cpu", "float32", threads))
    assert config is not None
    backend = load_llama(folder, config, store.prepared_path(spec), threads)
    backend.use_threads(threads)
    backend.float32()
    text = "\n\n".join(example.text for example in (*examples("dev", "en"), *examples("test", "en")))
    ids = ChatFormat(folder).tokenizer.encode(text).ids[: asked.tokens]
    windows = [ids[first : first + WINDOW] for first in range(0, len(ids) - WINDOW + 1, WINDOW)]
    forms = [backend.new_cache().form.name]
    losses = dict.fromkeys([FLOAT32, *forms], 0.0)
    seconds, agreed, count = dict.fromkeys(forms, 0.0), dict.fromkeys(forms, 0), 0
    for first in range(0, len(windows), ROWS):
        part = windows[first : first + ROWS]
        truth = [read(backend, window) for window in part]
        targets = [torch.tensor(window[1:])[:, None] for window in part]
        count += sum(len(target) for target in targets)
        losses[FLOAT32] -= sum(float(rows.gather(1, target).sum()) for rows, target in zip(truth, targets, strict=True))
        for form in forms:
            start = time.perf_counter()
            ours = write(backend, form, part)
            seconds[form] += time.perf_counter() - start
            losses[form] -= sum(float(rows.gather(1, target).sum()) for rows, target in zip(ours, targets, strict=True))
            agreed[form] += sum(int((one.argmax(1) == other.argmax(1)).sum()) for one, other in zip(ours, truth, strict=True))
    base = math.exp(losses[FLOAT32] / count)
    print(f"{len(windows)} windows, {count} tokens; {FLOAT32}: perplexity {base:.3f}")
    for form in forms:
        value = math.exp(losses[form] / count)
        same, rate = agreed[form] / count, count / seconds[form]
        print(f"{form:16} {value:.3f} ({100 * (value / base - 1):+.2f} %), likeliest token the same {same:.1%}, {rate:.0f} tok/s")


if __name__ == "__main__":
    main()
