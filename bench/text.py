"""What the text engine costs and gains, on the real starter model: `python -m bench.text [--runs 5] [--tokens 64]`.

    decode      tokens/s of the bare backend loop, of TextModel.generate, and of two chats at once (together)
    turn 10     first token with and without what earlier turns computed
    cold        import, load and first token in a fresh process; the same of the published GGUF through transformers

Medians of the runs, which alternate, so that a busy machine hurts all alike: compare within one table only.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from bench.text_peers import gguf
from engine.jobs.job import CancelToken
from engine.text.local import LocalTextModel
from engine.text.model import GenerateRequest, Message, Sampling
from tests.starter import starter_text_model

PROMPT = "Write a long story about a lighthouse keeper and the winter storm that changed everything."
GREEDY = {"temperature": 0.0, "repetition_penalty": 1.0}
COLD = """
import json, time
start = time.monotonic()
from tests.starter import starter_text_model
from engine.text.model import GenerateRequest, Message, Sampling
from engine.jobs.job import CancelToken
model = starter_text_model()
loaded = time.monotonic()
next(model.generate(GenerateRequest((Message("user", "Hello"),), Sampling()), CancelToken()))
first = time.monotonic()
import psutil
print(json.dumps({"load_s": loaded - start, "first_token_s": first - start, "rss": psutil.Process().memory_info().rss}))
model.close()
"""

COLD_GGUF = """
import json, sys, time
start = time.monotonic()
from pathlib import Path
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
path = Path(sys.argv[1])
tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
loaded = time.monotonic()
hello = [{"role": "user", "content": "Hello"}]
given = tokenizer.apply_chat_template(hello, add_generation_prompt=True, return_tensors="pt", return_dict=True)
model.generate(**given, max_new_tokens=1, do_sample=False)
first = time.monotonic()
import psutil
print(json.dumps({"load_s": loaded - start, "first_token_s": first - start, "rss": psutil.Process().memory_info().rss}))
"""


def bare(model: LocalTextModel, tokens: int) -> float:
    """Tokens/s of a loop over the backend and nothing else (greedy), after the first token."""
    backend = model._scheduler._backend
    ids = model.chat.encode((Message("user", PROMPT),))
    cache = backend.new_cache()
    backend.prefill(cache, ids[:-1])
    token = int(backend.step(cache, ids[-1]).argmax())
    start = time.monotonic()
    for _ in range(tokens):
        token = int(backend.step(cache, token).argmax())
    return tokens / (time.monotonic() - start)


def generate(model: LocalTextModel, tokens: int, seed: int = 0, **sampling: float) -> float:
    """Tokens/s through TextModel.generate, after the first token. `sampling` as in Sampling; defaults otherwise."""
    stops, model.chat.stop_ids = model.chat.stop_ids, frozenset()
    try:
        settings = Sampling(max_new_tokens=tokens + 1, **sampling)  # type: ignore[arg-type]
        stream = model.generate(GenerateRequest((Message("user", PROMPT),), settings, (seed,)), CancelToken())
        next(stream)
        start = time.monotonic()
        for _ in stream:
            pass
        return tokens / (time.monotonic() - start)
    finally:
        model.chat.stop_ids = stops


def two_at_once(model: LocalTextModel, tokens: int) -> float:
    """Tokens/s of two chats together."""
    start = time.monotonic()
    threads = [threading.Thread(target=generate, args=(model, tokens, seed)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return 2 * tokens / (time.monotonic() - start)


def turn_ten(model: LocalTextModel, number: int) -> tuple[float, float, int]:
    """Seconds to the first token of a tenth turn, with and without reuse, and its prompt tokens."""
    story = f"Chapter {number}: the keeper counted the ships that passed and wrote each name into a blue book. " * 6
    messages: list[Message] = []
    for chapter in range(9):
        messages += [Message("user", f"{chapter}. {story}"), Message("assistant", "I have read it, please go on with the next.")]
    last = Message("user", "Now sum it up in one sentence.")
    list(model.generate(GenerateRequest(tuple(messages[:-1]), Sampling(max_new_tokens=1)), CancelToken()))
    request = GenerateRequest((*messages, last), Sampling(max_new_tokens=1))
    reused = list(model.generate(request, CancelToken()))[-1]
    schedule = {"segments": [["prefill", reused.prompt_tokens - 1], ["decode", 1]]}
    fresh = list(model.generate(GenerateRequest(request.messages, request.sampling, replay=schedule), CancelToken()))[-1]
    return reused.ttft_s or 0.0, fresh.ttft_s or 0.0, reused.prompt_tokens


def cold(script: str, *arguments: str) -> dict[str, float]:
    """Load and first token of a fresh process."""
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=64)
    arguments = parser.parse_args()
    file = str(gguf())
    colds: dict[str, list[dict[str, float]]] = {"ours": [], "GGUF through transformers": []}
    for _ in range(arguments.runs):
        colds["ours"].append(cold(COLD))
        colds["GGUF through transformers"].append(cold(COLD_GGUF, file))
    model = starter_text_model()
    ways: dict[str, Callable[[], float]] = {
        "bare backend": lambda: bare(model, arguments.tokens),
        "generate, greedy": lambda: generate(model, arguments.tokens, **GREEDY),
        "generate, defaults": lambda: generate(model, arguments.tokens),
        "two chats, together": lambda: two_at_once(model, arguments.tokens),
    }
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    turns = []
    bare(model, 8)
    for number in range(arguments.runs):
        for name, way in ways.items():
            speeds[name].append(way())
        turns.append(turn_ten(model, number))
    model.close()
    base = statistics.median(speeds["bare backend"])
    print(f"load average {os.getloadavg()[0]:.1f}, medians of {arguments.runs}")
    for name, values in speeds.items():
        ratios = [value / other for value, other in zip(values, speeds["bare backend"], strict=True)]
        middle = statistics.median(values)
        print(f"{name:20} {middle:6.1f} tok/s  {middle / base:.2f} of bare ({statistics.median(ratios):.2f} run by run)")
    reused, fresh = (statistics.median(turn[place] for turn in turns) for place in (0, 1))
    print(
        f"turn 10 ({turns[0][2]} tokens)  {reused:.3f} s to the first token, {fresh:.3f} s without reuse: {fresh / reused:.1f}x"
    )
    for name, rows in colds.items():
        load, first, rss = (statistics.median(row[key] for row in rows) for key in ("load_s", "first_token_s", "rss"))
        print(f"cold, {name}: loaded after {load:.2f} s, first token after {first:.2f} s, {rss / 1e6:.0f} MB resident")


if __name__ == "__main__":
    main()
